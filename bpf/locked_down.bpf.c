/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Denies to root what the kernel itself denies to root when it is locked down: ports, machine
 * registers, PCI, ACPI tables, hibernation and their like, each of which is a road to all memory.
 * It is the second door behind /dev/mem and /proc/kcore.
 *
 * Not among them, though lockdown has them: files of debugfs and unsigned modules (modules are
 * judged as such). What tracing needs stays open to listed loaders.
 */
#define CT_IS_REASON(what, name) ((what) == bpf_core_enum_value(enum lockdown_reason, LOCKDOWN_##name))

static __always_inline bool ct_is_hardware(int what)
{
	return CT_IS_REASON(what, DEV_MEM) || CT_IS_REASON(what, EFI_TEST) ||
	       CT_IS_REASON(what, HIBERNATION) || CT_IS_REASON(what, PCI_ACCESS) ||
	       CT_IS_REASON(what, IOPORT) || CT_IS_REASON(what, MSR) ||
	       CT_IS_REASON(what, ACPI_TABLES) || CT_IS_REASON(what, PCMCIA_CIS) ||
	       CT_IS_REASON(what, TIOCSSERIAL) || CT_IS_REASON(what, MODULE_PARAMETERS) ||
	       CT_IS_REASON(what, MMIOTRACE) || CT_IS_REASON(what, XMON_WR) ||
	       CT_IS_REASON(what, XMON_RW) || CT_IS_REASON(what, DBG_WRITE_KERNEL) ||
	       CT_IS_REASON(what, DBG_READ_KERNEL) || CT_IS_REASON(what, KCORE);
}

static __always_inline bool ct_is_tracing(int what)
{
	return CT_IS_REASON(what, KPROBES) || CT_IS_REASON(what, BPF_READ_KERNEL) ||
	       CT_IS_REASON(what, BPF_WRITE_USER);
}

CT_HOOK(locked_down, int what)
{
	bool tracing = ct_is_tracing(what);

	if (!tracing && !ct_is_hardware(what))
		return 0;
	if (ct_is_agent() || (tracing && ct_is_loader()))
		return 0;
	return ct_deny_unless_node(tracing ? CT_GRANT_TRACING : CT_GRANT_KERNEL, CT_HOOK_LOCKED_DOWN);
}
