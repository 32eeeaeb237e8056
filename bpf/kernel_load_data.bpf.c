/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Denies kernel code from a caller's memory: init_module, kexec_load. Firmware stays allowed.
 */
CT_HOOK(kernel_load_data, int id)
{
	if (id == bpf_core_enum_value(enum kernel_load_data_id, LOADING_MODULE))
		return ct_deny_unless_node(CT_GRANT_KERNEL, CT_HOOK_KERNEL_LOAD_DATA);
	if (id == bpf_core_enum_value(enum kernel_load_data_id, LOADING_KEXEC_IMAGE) ||
	    id == bpf_core_enum_value(enum kernel_load_data_id, LOADING_KEXEC_INITRAMFS))
		return ct_deny(CT_HOOK_KERNEL_LOAD_DATA, 0);
	return 0;
}
