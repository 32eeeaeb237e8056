#!/bin/sh
# The first process of the virtual machine: mounts what the agent and its attackers need, and
# leaves the rest to the guest program. The kernel hands CT_WORK and CT_EXPECT over from its
# command line.
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t securityfs none /sys/kernel/security
mount -t tracefs none /sys/kernel/tracing
mount -t debugfs none /sys/kernel/debug
mount -t bpf none /sys/fs/bpf
mount -t cgroup2 none /sys/fs/cgroup
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
chmod 1777 /tmp
echo "@@KERNEL $(uname -r) lsm=$(cat /sys/kernel/security/lsm) preempt=$(cat /sys/kernel/debug/sched/preempt)"
ip link set lo up
# Disks in memory, where the kernel has no driver of the machine's built in.
[ ! -f /brd.ko ] || insmod /brd.ko rd_nr=2 rd_size=16384
[ ! -f /overlay.ko ] || insmod /overlay.ko
if [ -f /binfmt_misc.ko ]; then
	insmod /binfmt_misc.ko
	mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
fi
if [ "$CT_WORK" = demo ]; then
	CLOUDTASER_DEMO_C=/bin/app-c /bin/cloudtaser demo >/tmp/page 2>&1
	code=$?
	echo @@PAGE
	cat /tmp/page
	echo "@@RC $code"
elif [ "$CT_WORK" = measured ]; then
	export CLOUDTASER_WRAPPER=/bin/cloudtaser-wrapper CLOUDTASER_CLI=/bin/cloudtaser
	export CLOUDTASER_BRIDGE=/eu/cloudtaser-bridge CLOUDTASER_BEACON=/eu/cloudtaser-beacon
	CLOUDTASER_BAO=/eu/bao /bin/measured || echo "@@RC 99"
else
	/bin/guest "$CT_WORK" "$CT_EXPECT" || echo "@@RC 99"
fi
poweroff -f
