"""What the schema declares and no row brings about, each with the reason."""

COLO = "checkpointing of two machines in step does not exist yet"
S390 = "needs a guest of that architecture"

ABSENT = {
    "RunState.colo": COLO,
    "ShutdownCause.none": "never on the wire: no request is pending",
    "ShutdownCause.snapshot-load": "never on the wire",
    "ShutdownCause.subsystem-reset": "never on the wire; " + S390,
    "GUEST_CRASHLOADED.info": "only the panic device reports it, and its register has no room for any: QEMU's "
                              "is as bare",
    "GuestPanicInformation.s390": S390,
    "GuestPanicInformationS390.core": S390,
    "GuestPanicInformationS390.psw-addr": S390,
    "GuestPanicInformationS390.psw-mask": S390,
    "GuestPanicInformationS390.reason": S390,
    "GuestPanicInformationType.s390": S390,
    **{f"S390CrashReason.{reason}": S390 for reason in (
        "disabled-wait", "extint-loop", "opint-loop", "pgmint-loop", "unknown")},
}

# Events of other modules that rows bring about, with all their members and the values of these.
OTHER_EVENTS = ("MEM_UNPLUG_ERROR", "MIGRATION_PASS", "BLOCK_IO_ERROR", "DUMP_COMPLETED", "QUORUM_FAILURE", "QUORUM_REPORT_BAD", "RTC_CHANGE", "VSERPORT_CHANGE")
