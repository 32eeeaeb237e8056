/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Denies kernel code from a file: finit_module, kexec_file_load. This includes modules that the
 * kernel asks for by itself: a node must have loaded its modules before.
 */
CT_HOOK(kernel_read_file, struct file *file, int id)
{
	if (id == bpf_core_enum_value(enum kernel_read_file_id, READING_MODULE))
		return ct_deny_unless_node(CT_GRANT_KERNEL, CT_HOOK_KERNEL_READ_FILE);
	if (id == bpf_core_enum_value(enum kernel_read_file_id, READING_KEXEC_IMAGE) ||
	    id == bpf_core_enum_value(enum kernel_read_file_id, READING_KEXEC_INITRAMFS))
		return ct_deny(CT_HOOK_KERNEL_READ_FILE, 0);
	return 0;
}
