/*
 * The small processes of the virtual machine: without a C library, so that ten thousand of them
 * fit, and so that each way to make a process is the kernel's own call. Compiled for 64 bits
 * and, without what needs `clone` by hand, for 32.
 */
#include <asm/unistd.h>
#include <linux/filter.h>
#include <linux/io_uring.h>
#include <linux/sched.h>
#include <linux/seccomp.h>

typedef unsigned long word;
typedef long number;

#define SIGKILL 9
#define SIGPIPE 13
#define SIGCHLD 17
#define EINTR 4
#define EBADF 9
#define PR_SET_NAME 15
#define PR_SET_CHILD_SUBREAPER 36
#define PTRACE_ATTACH 16

#ifdef __x86_64__
static number call(number n, word a, word b, word c, word d, word e, word f)
{
	register word r10 __asm__("r10") = d;
	register word r8 __asm__("r8") = e;
	register word r9 __asm__("r9") = f;
	number result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}
__asm__(".globl _start\n_start: mov %rsp, %rdi\n and $-16, %rsp\n call begin\n");
#else
/* The sixth goes into a register that the compiler does not lend. */
word sixth;

static number call(number n, word a, word b, word c, word d, word e, word f)
{
	number result;

	sixth = f;
	__asm__ volatile("push %%ebp\n mov sixth, %%ebp\n int $0x80\n pop %%ebp"
			 : "=a"(result)
			 : "a"(n), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e)
			 : "memory");
	return result;
}
__asm__(".globl _start\n_start: mov %esp, %eax\n and $-16, %esp\n sub $12, %esp\n push %eax\n"
	" call begin\n");
#endif

#define CALL(n, a, b, c) call(__NR_##n, (word)(a), (word)(b), (word)(c), 0, 0, 0)

static char **environment;

void *memset(void *to, int value, word len)
{
	for (word at = 0; at < len; at++)
		((char *)to)[at] = (char)value;
	return to;
}

static word len(const char *text)
{
	word at = 0;

	while (text[at])
		at++;
	return at;
}

static int same(const char *one, const char *other)
{
	while (*one && *one == *other)
		one++, other++;
	return *one == *other;
}

static number parse(const char *text)
{
	number value = 0;

	while (*text)
		value = value * 10 + (*text++ - '0');
	return value;
}

static void say(const char *text)
{
	CALL(write, 1, text, len(text));
}

static void say_number(number value)
{
	char text[24];
	word at = sizeof(text);
	number rest = value < 0 ? -value : value;

	text[--at] = '\n';
	do
		text[--at] = (char)('0' + rest % 10);
	while (rest /= 10);
	if (value < 0)
		text[--at] = '-';
	CALL(write, 1, text + at, sizeof(text) - at);
}

static void name(const char *text)
{
	CALL(prctl, PR_SET_NAME, text, 0);
}

static void rest(void)
{
	for (;;)
		CALL(pause, 0, 0, 0);
}

static number fork(void)
{
	return CALL(fork, 0, 0, 0);
}

/* Until whoever started this closes its input. */
static void until_over(void)
{
	char byte;
	number got;

	do
		got = CALL(read, 0, &byte, 1);
	while (got > 0 || got == -EINTR);
}

static int children[65536];

/* As many children as are asked for and allowed; says how many there are. */
static void crowd(number wanted)
{
	number made = 0;

	name("crowd");
	while (made < wanted && made < 65536) {
		number child = fork();

		if (child == 0)
			rest();
		if (child < 0)
			break;
		children[made++] = (int)child;
	}
	say_number(made);
	until_over();
	for (number at = 0; at < made; at++)
		CALL(kill, children[at], SIGKILL, 0);
	for (number at = 0; at < made; at++)
		call(__NR_wait4, (word)-1, 0, 0, 0, 0, 0);
}

/* Each makes more of itself, until it is ended from outside. */
static void bomb(void)
{
	name("bomb");
	for (;;)
		if (fork() < 0)
			CALL(poll, 0, 0, 3000); /* milliseconds: others want the processor too */
}

/* Numbers of processes, used up one after the other. */
static void churn(number turns)
{
	while (turns-- > 0) {
		number child = fork();

		if (child == 0)
			CALL(exit, 0, 0, 0);
		if (child > 0)
			call(__NR_wait4, child, 0, 0, 0, 0, 0);
	}
}

/*
 * What a killed process had by then: memory that it shares with the one that looks, and with
 * `relayed` a table of descriptors that it shares with a second one, which reads what the first
 * has opened.
 */
static number *shared_words(void)
{
#ifdef __x86_64__
	return (number *)call(__NR_mmap, 0, 65536, 3, 0x21, (word)-1, 0);
#else
	return (number *)call(__NR_mmap2, 0, 65536, 3, 0x21, (word)-1, 0);
#endif
}

/* Bytes that are not zero. */
static number filled(const char *bytes)
{
	number count = 0;

	for (word at = 0; at < 32768; at++)
		count += bytes[at] != 0;
	return count;
}

/* The signal that ended all of them, and how much is there. */
static void tell_shared(number *shared, number children)
{
	int all = 127, status = 0;

	while (children-- > 0) {
		call(__NR_wait4, (word)-1, (word)&status, 0, 0, 0, 0);
		all &= status;
	}
	say_number(all);
	say_number(filled((char *)(shared + 1024)));
	/* Compared by whoever asked. */
	CALL(write, 1, shared + 1024, 32768);
}

static void shared_attack(const char *path)
{
	number *shared = shared_words();

	if (fork() == 0) {
		number file = CALL(open, path, 0, 0);

		CALL(read, file, shared + 1024, 32768);
		CALL(exit_group, 0, 0, 0);
	}
	tell_shared(shared, 1);
}

static void shared_peek(number pid, word at)
{
	number *shared = shared_words();
	struct {
		void *at;
		word len;
	} here = { shared + 1024, 16384 }, there = { (void *)at, 16384 };

	if (fork() == 0) {
		call(__NR_process_vm_readv, (word)pid, (word)&here, 1, (word)&there, 1, 0);
		CALL(exit_group, 0, 0, 0);
	}
	tell_shared(shared, 1);
}

static void relayed(const char *path)
{
	number *shared = shared_words();
	number partner;

	/* What standard input was is closed: the next descriptor is 0 for both. */
	CALL(close, 0, 0, 0);
	CALL(prctl, PR_SET_CHILD_SUBREAPER, 1, 0);
	if (fork() == 0) {
		partner = call(__NR_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0, 0);
		if (partner == 0) {
			for (int turn = 0; turn < 1000000; turn++)
				if (CALL(read, 0, shared + 1024, 32768) != -EBADF)
					break;
			CALL(exit_group, 0, 0, 0);
		}
		CALL(open, path, 0, 0);
		CALL(exit_group, 0, 0, 0);
	}
	tell_shared(shared, 2);
}

/* Reads a file, or what another process has, by the calls of this machine word's own table. */
static void attack(const char *path)
{
	static char bytes[8192];
	number file = CALL(open, path, 0, 0);
	number got = file < 0 ? file : CALL(read, file, bytes, sizeof(bytes));

	say_number(got);
}

static void peek(number pid)
{
	static char byte;
	struct {
		void *at;
		word len;
	} here = { &byte, 1 }, there = { (void *)8, 1 };

	say_number(call(__NR_process_vm_readv, pid, (word)&here, 1, (word)&there, 1, 0));
	say_number(call(__NR_ptrace, PTRACE_ATTACH, pid, 0, 0, 0, 0));
}

#ifdef __x86_64__
#define STACK 4096
#define THREADS 64
static char stacks[THREADS][STACK] __attribute__((aligned(16)));
static volatile int alive[THREADS];

/* The child starts in `does`, on the stack that ends at `top`. */
number spawn(word flags, char *top, volatile int *cleared, void (*does)(const char *), const char *with);
__asm__("spawn:\n"
	" sub $16, %rsi\n mov %rcx, (%rsi)\n mov %r8, 8(%rsi)\n"
	" mov %rdx, %r10\n xor %edx, %edx\n xor %r8d, %r8d\n mov $56, %eax\n syscall\n"
	" test %eax, %eax\n jnz 1f\n"
	" xor %ebp, %ebp\n pop %rax\n pop %rdi\n call *%rax\n"
	" xor %edi, %edi\n mov $60, %eax\n syscall\n"
	"1: ret\n");

#define OF_A_THREAD                                                                      \
	(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | \
	 CLONE_CHILD_CLEARTID)

static void nothing(const char *with)
{
	(void)with;
}

static void threads(number turns)
{
	name("threads");
	for (number turn = 0; turn < turns; turn++) {
		int at = (int)(turn % THREADS);

		while (alive[at])
			CALL(sched_yield, 0, 0, 0);
		alive[at] = 1;
		if (spawn(OF_A_THREAD, stacks[at] + STACK, &alive[at], nothing, 0) < 0)
			alive[at] = 0;
	}
}

static void stay(const char *as)
{
	name(as);
	rest();
}

static void stay_as(const char *as, word flags)
{
	number child = call(__NR_clone, flags | SIGCHLD, 0, 0, 0, 0, 0);

	if (child == 0)
		stay(as);
	if (child < 0) {
		say(as);
		say_number(child);
	}
}

static void become(const char *as)
{
	char *arguments[] = { "/bin/small", "hold", (char *)as, 0 };

	CALL(execve, arguments[0], arguments, environment);
	say("not executed\n");
}

/* Under a number that this process chose. */
static void stay_numbered(const char *as, int wanted)
{
	struct clone_args how = { .exit_signal = SIGCHLD, .set_tid = (word)&wanted, .set_tid_size = 1 };
	number child = CALL(clone3, &how, sizeof(how), 0);

	if (child == 0)
		stay(as);
	if (child < 0) {
		say(as);
		say_number(child);
	}
}

static void put(const char *path, const char *text)
{
	number file = CALL(open, path, 1, 0);

	if (file < 0 || CALL(write, file, text, len(text)) < 0)
		say("no map of users\n");
	CALL(close, file, 0, 0);
}

/* Two user namespaces and two PID namespaces deep. */
static void stay_below(void)
{
	word deeper = CLONE_NEWUSER | CLONE_NEWPID | SIGCHLD;

	if (call(__NR_clone, deeper, 0, 0, 0, 0, 0) == 0) {
		put("/proc/self/uid_map", "0 0 1");
		put("/proc/self/setgroups", "deny");
		put("/proc/self/gid_map", "0 0 1");
		stay_as("odd-below", CLONE_NEWUSER | CLONE_NEWPID);
		stay("odd-namespace");
	}
}

/* A process by each way that the kernel has; all of them stay. */
static void odd(number chosen)
{
	static char own[16][STACK] __attribute__((aligned(16)));
	int at = 0;

	stay_as("odd-fork", 0);
	stay_as("odd-files", CLONE_FILES | CLONE_FS | CLONE_IO | CLONE_SYSVSEM);
	stay_as("odd-untraced", CLONE_UNTRACED);
	stay_as("odd-parent", CLONE_PARENT);
	stay_as("odd-newns", CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET);
	stay_as("odd-newpid", CLONE_NEWPID);
	stay_below();
	stay_numbered("odd-numbered", (int)chosen);
	spawn(CLONE_VM | SIGCHLD, own[at++] + STACK, 0, stay, "odd-vm");
	spawn(CLONE_VM | CLONE_SIGHAND | CLONE_FILES | SIGCHLD, own[at++] + STACK, 0, stay, "odd-sighand");
	if (fork() == 0) {
		name("odd-starter");
		spawn(OF_A_THREAD, own[at++] + STACK, &alive[0], become, "odd-exec");
		rest();
	}
	if (fork() == 0) {
		name("odd-waiting");
		spawn(CLONE_VM | CLONE_VFORK | SIGCHLD, own[at++] + STACK, 0, stay, "odd-vfork");
		rest();
	}
	if (fork() == 0) {
		name("odd-orphaned");
		stay_as("odd-orphan", 0);
		CALL(exit, 0, 0, 0);
	}
	name("odd-first");
	say("ready\n");
	rest();
}

struct ring {
	int file;
	char *rings;
	struct io_uring_sqe *entries;
	struct io_uring_params how;
};

static number map(int file, word size, word at)
{
	return call(__NR_mmap, 0, size, 3, 0x8001, (word)file, at); /* shared, populated */
}

static number open_ring(struct ring *ring, word flags)
{
	memset(ring, 0, sizeof(*ring));
	ring->how.flags = (unsigned)flags;
	ring->file = (int)CALL(io_uring_setup, 8, &ring->how, 0);
	if (ring->file < 0)
		return ring->file;
	ring->rings = (char *)map(ring->file, 8192, IORING_OFF_SQ_RING);
	ring->entries = (struct io_uring_sqe *)map(ring->file, 8 * sizeof(*ring->entries), IORING_OFF_SQES);
	return 0;
}

/* One request, carried out by a worker of the kernel's. */
static void submit(struct ring *ring, struct io_uring_sqe entry)
{
	volatile unsigned *tail = (void *)(ring->rings + ring->how.sq_off.tail);
	unsigned *array = (void *)(ring->rings + ring->how.sq_off.array);

	entry.flags |= IOSQE_ASYNC;
	ring->entries[*tail & 7] = entry;
	array[*tail & 7] = *tail & 7;
	*tail = *tail + 1;
}

static number outcome(struct ring *ring, struct io_uring_sqe entry)
{
	volatile unsigned *head = (void *)(ring->rings + ring->how.cq_off.head);
	volatile unsigned *tail = (void *)(ring->rings + ring->how.cq_off.tail);
	struct io_uring_cqe *done = (void *)(ring->rings + ring->how.cq_off.cqes);
	number result;

	submit(ring, entry);
	result = call(__NR_io_uring_enter, (word)ring->file, 1, 1, IORING_ENTER_GETEVENTS, 0, 0);
	if (result < 0)
		return result;
	while (*head == *tail)
		CALL(sched_yield, 0, 0, 0);
	result = done[*head & (ring->how.cq_entries - 1)].res;
	*head = *head + 1;
	return result;
}

/* A poller in the kernel and a worker that waits for a pipe: threads that no clone call made. */
static void ring(void)
{
	static char byte;
	struct ring polled, worked;
	int pipe[2];

	name("odd-ring");
	CALL(pipe, pipe, 0, 0);
	open_ring(&polled, IORING_SETUP_SQPOLL);
	open_ring(&worked, 0);
	submit(&worked, (struct io_uring_sqe){ .opcode = IORING_OP_READ, .fd = pipe[0],
					       .addr = (word)&byte, .len = 1 });
	call(__NR_io_uring_enter, (word)worked.file, 1, 0, 0, 0, 0);
	say("ready\n");
	rest();
}

/* The same as `attack`, with nothing but a ring. */
static void ring_attack(const char *path)
{
	static char bytes[8192];
	struct ring ring;
	number got = open_ring(&ring, 0);

	if (got == 0)
		got = outcome(&ring, (struct io_uring_sqe){ .opcode = IORING_OP_OPENAT, .fd = -100,
							    .addr = (word)path });
	if (got > 0)
		got = outcome(&ring, (struct io_uring_sqe){ .opcode = IORING_OP_READ, .fd = (int)got,
							    .addr = (word)bytes, .len = sizeof(bytes) });
	say_number(got);
}
#endif

#define PR_CAPBSET_DROP 24
#define PR_SET_SECCOMP 22
#define PR_SET_NO_NEW_PRIVS 38
#define CAP_SYS_ADMIN 21
#define CAP_PERFMON 38
#define CAP_BPF 39

/* Root as most containers have it: what is executed has none of these. */
static void drop_capabilities(void)
{
	CALL(prctl, PR_CAPBSET_DROP, CAP_SYS_ADMIN, 0);
	CALL(prctl, PR_CAPBSET_DROP, CAP_PERFMON, 0);
	CALL(prctl, PR_CAPBSET_DROP, CAP_BPF, 0);
}

/* As the default profiles of container runtimes have it: bpf(2) gives EPERM. */
static void forbid_bpf(void)
{
	static struct sock_filter program[] = {
		{ BPF_LD | BPF_W | BPF_ABS, 0, 0, 0 },
		{ BPF_JMP | BPF_JEQ | BPF_K, 0, 1, __NR_bpf },
		{ BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | 1 },
		{ BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW },
	};
	struct sock_fprog whole = { 4, program };

	call(__NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0);
	call(__NR_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, (word)&whole, 0, 0, 0);
}

/* What a tracer of strings is put at: a function that is given one. */
__attribute__((noinline)) void told(const char *text)
{
	__asm__ volatile("" : : "r"(text) : "memory");
}

/* Its first variable, again and again. */
static void tell(void)
{
	word moment[] = { 0, 10 * 1000 * 1000 };

	told(environment[0]);
	say("ready\n");
	for (;;) {
		told(environment[0]);
		CALL(nanosleep, moment, 0, 0);
	}
}

static void execute(char **command)
{
	CALL(execve, command[0], command, environment);
	say("not executed\n");
}

__attribute__((used)) void begin(word *stack)
{
	number count = (number)stack[0];
	char **arguments = (char **)(stack + 1);
	const char *verb = count > 1 ? arguments[1] : "";
	const char *with = count > 2 ? arguments[2] : "0";

	word ignored[] = { 1, 0, 0, 0, 0 };

	environment = arguments + count + 1;
	/* Whoever started this may hear no more than its first line. */
	call(__NR_rt_sigaction, SIGPIPE, (word)ignored, 0, 8, 0, 0);
	if (same(verb, "hold")) {
		name(with);
		say("ready\n");
		rest();
	} else if (same(verb, "tell")) {
		tell();
	} else if (same(verb, "crowd")) {
		crowd(parse(with));
	} else if (same(verb, "bomb")) {
		bomb();
	} else if (same(verb, "churn")) {
		churn(parse(with));
	} else if (same(verb, "attack")) {
		attack(with);
	} else if (same(verb, "peek")) {
		peek(parse(with));
	} else if (same(verb, "shared-attack")) {
		shared_attack(with);
	} else if (same(verb, "shared-peek")) {
		shared_peek(parse(with), (word)parse(arguments[3]));
	} else if (same(verb, "relayed")) {
		relayed(with);
	} else if (same(verb, "without-capabilities")) {
		drop_capabilities();
		execute(arguments + 2);
	} else if (same(verb, "without-bpf")) {
		forbid_bpf();
		execute(arguments + 2);
#ifdef __x86_64__
	} else if (same(verb, "threads")) {
		threads(parse(with));
	} else if (same(verb, "odd")) {
		odd(parse(with));
	} else if (same(verb, "ring")) {
		ring();
	} else if (same(verb, "ring-attack")) {
		ring_attack(with);
#endif
	}
	CALL(exit_group, 0, 0, 0);
}
