"""Rows about sleep and wake-up, the clock, memory failures, crash registers, internal errors."""
import json

from rowtest import Row

DISK = "-blockdev driver=qcow2,node-name=d,file.driver=file,file.filename=DIR/d"


def human(line):
    return f'> human-monitor-command {json.dumps({"command-line": line})} : R=""'


ROWS = [
    # ---- S3
    Row("suspended: stop and cont change nothing, system_wakeup ends it", """
        > cont : RESUME R
        < SUSPEND
        = suspended
        > cont : R
        = suspended
        > stop : R
        = suspended
        > system_wakeup : WAKEUP R
        = running
        $ awake button
        > system_wakeup : !Unable to wake up: guest is not in suspended state
        """, does="s3"),
    Row("suspended: woken by the clock's alarm", """
        > cont : RESUME R
        < SUSPEND
        = suspended
        < WAKEUP
        = running
        $ awake alarm
        """, does="alarm 2 s3", within_a_second=True),
    Row("suspended: woken by the serial port", """
        > cont : RESUME R
        < SUSPEND
        = suspended
        type x
        < WAKEUP
        = running
        $ awake
        """, does="s3", args="-global isa-serial.wakeup=on"),
    Row("suspended: woken by a key that is typed", """
        > cont : RESUME R
        < SUSPEND
        >~ send-key {"keys": [{"type": "qcode", "data": "a"}]} : WAKEUP
        = running
        $ awake
        """, does="s3"),
    Row("suspended: woken by a key that goes down", """
        > cont : RESUME R
        < SUSPEND
        >~ input-send-event {"events": [{"type": "key", "data": {"down": true, "key": {"type": "qcode", "data": "b"}}}]} : WAKEUP
        = running
        $ awake
        > stop : STOP R
        > input-send-event {"events": []} : !VM not running
        """, does="s3"),
    Row("suspended: the serial port wakes only if it is told to", """
        > cont : RESUME R
        < SUSPEND
        type x
        quiet 0.5
        = suspended
        """, does="s3"),
    Row("suspended: the power button", """
        > cont : RESUME R
        < SUSPEND
        godwit| > system_powerdown : POWERDOWN WAKEUP R
        godwit| = running
        qemu| > system_powerdown : POWERDOWN R
        qemu| = suspended
        """, does="s3", differs="`system_powerdown` of a suspended machine"),
    Row("suspended: a reset leaves prelaunch", """
        > cont : RESUME R
        < SUSPEND
        > system_reset : RESET:host-qmp-system-reset R
        = prelaunch
        > system_wakeup : !Unable to wake up: guest is not in suspended state
        > cont : RESUME R
        = running
        godwit| $ again
        qemu| $ no WAK_STS
        """, does="once s3", differs="reset of a suspended machine"),
    Row("suspended: with -no-reboot a reset ends it", """
        > cont : RESUME R
        < SUSPEND
        > system_reset : SHUTDOWN:host-qmp-system-reset R
        . 0
        """, does="s3", args="-no-reboot"),
    Row("suspended: with -no-reboot -no-shutdown a reset changes nothing", """
        > cont : RESUME R
        < SUSPEND
        > system_reset : SHUTDOWN:host-qmp-system-reset R
        = suspended
        > system_wakeup : WAKEUP R
        = running
        $ awake
        """, does="s3", args="-no-reboot -no-shutdown"),
    Row("suspended: quit", """
        > cont : RESUME R
        < SUSPEND
        > quit : SHUTDOWN:host-qmp-quit R
        . 0
        """, does="s3"),
    Row("suspended: SIGTERM", """
        > cont : RESUME R
        < SUSPEND
        kill TERM
        < SHUTDOWN:host-signal
        . 0
        """, does="s3"),
    Row("suspended: an NMI does not wake", """
        > cont : RESUME R
        < SUSPEND
        > inject-nmi : R
        = suspended
        """, does="nmi s3"),
    Row("suspended twice", """
        > cont : RESUME R
        < SUSPEND
        > system_wakeup : WAKEUP R
        $ awake button
        < SUSPEND
        = suspended
        > system_wakeup : WAKEUP R
        $ awake button
        = running
        """, does="s3 s3"),
    Row("suspended: a snapshot of it is suspended", f"""
        > cont : RESUME R
        < SUSPEND
        {human("savevm one")}
        = suspended
        {human("loadvm one")}
        = suspended
        > cont : R
        > system_wakeup : WAKEUP R
        = running
        $ awake button
        """, does="s3", images={"d": "1M"}, args=DISK),
    Row("suspended: another guest's snapshot", f"""
        {human("savevm one")}
        > cont : RESUME R
        < SUSPEND
        {human("loadvm one")}
        godwit| = prelaunch
        godwit| > system_wakeup : !Unable to wake up: guest is not in suspended state
        godwit| > cont : RESUME R
        godwit| < SUSPEND
        = suspended
        """, does="s3", images={"d": "1M"}, args=DISK,
        differs="a snapshot loaded into or out of `suspended`"),
    Row("suspended: a snapshot that is loaded halfway cannot be woken", f"""
        > cont : RESUME R
        < SUSPEND
        {human("savevm one")}
        spoil d GODWITSN 68536
        > human-monitor-command {{"command-line": "loadvm one"}} : R...
        = prelaunch
        > system_wakeup : !Unable to wake up: guest is not in suspended state
        > cont : !Resetting the Virtual Machine is required
        > system_reset : RESET:host-qmp-system-reset R
        > cont : RESUME R
        < SUSPEND
        """, does="s3", images={"d": "1M"}, args=DISK, only="godwit",
        why_only="the image is in Godwit's format"),
    Row("suspend by the register works where tables hide it", """
        > cont : RESUME R
        < SUSPEND
        = suspended
        > system_wakeup : WAKEUP R
        """, does="s3", args="-global ICH9-LPC.disable_s3=1"),
    Row("disable_s3 changes nothing of what query-current-machine says", """
        ? query-current-machine => {"wakeup-suspend-support": true}
        """, args="-global ICH9-LPC.disable_s3=1"),
    Row("suspended with a waking vector of 0: the guest starts anew", """
        > cont : RESUME R
        < SUSPEND
        > system_wakeup : WAKEUP RESET:guest-reset R
        = running
        $ again
        """, does="once badwake", only="godwit",
        why_only="QEMU's firmware decides what it does then"),

    # ---- the clock
    Row("RTC_CHANGE: the guest sets the clock an hour ahead", """
        > cont : RESUME R
        godwit| < RTC_CHANGE{"offset": 3600, "qom-path": "/machine/unattached/device[4]"}
        qemu| < RTC_CHANGE...
        $ done
        """, does="clock", args="-rtc base=2020-05-17T10:20:30,clock=vm", differs="RTC_CHANGE"),
]

# ---- internal-error

ROWS.append(Row("internal-error: only a reset ends it", """
    > cont : RESUME R
    < STOP
    = internal-error
    > cont : !Resetting the Virtual Machine is required
    > stop : R
    > system_powerdown : POWERDOWN R
    > inject-nmi : R
    > system_wakeup : !Unable to wake up: guest is not in suspended state
    = internal-error
    > system_reset : RESET:host-qmp-system-reset R
    = prelaunch
    > cont : RESUME R
    < STOP
    = internal-error
    > quit : SHUTDOWN:host-qmp-quit R
    . 0
    """, kernel="hole", args="-cpu max,+vme", only="godwit",
                why_only="QEMU's software CPU has no such failure"))

# ---- crash registers

ARGUMENTS = [0x0020000000000001, 0xfedcba9876543211, 0x8000000000000003, 0xffffffffffffffff,
             0x7ffffffffffffff5]
INFO = {"type": "hyper-v", **{f"arg{i + 1}": n for i, n in enumerate(ARGUMENTS)}}
for options, panic_action, wire, end in (
        ("panic=pause", "pause", "STOP", "= guest-panicked\n> cont : RESUME R\n"
         "< SHUTDOWN:guest-shutdown\n. 0"),
        ("panic=shutdown,shutdown=pause", "pause", "STOP", "= guest-panicked"),
        ("panic=shutdown", "poweroff", "SHUTDOWN:guest-panic", ". 0"),
        ("panic=exit-failure", "poweroff", "SHUTDOWN:guest-panic", ". 1"),
        ("panic=exit-failure,shutdown=pause", "poweroff", "SHUTDOWN:guest-panic STOP",
         "= shutdown"),
        ("panic=none,shutdown=pause", "run", "SHUTDOWN:guest-shutdown STOP", "= shutdown")):
    data = json.dumps({"action": panic_action, "info": INFO})
    ROWS.append(Row(f"hyper-v crash registers, {options}", f"""
        > cont : RESUME R
        < GUEST_PANICKED{data} {wire}
        {end}
        """, kernel="hv-crash", args=f"-cpu max,hv-crash=on -action {options}", only="godwit",
                    why_only="QEMU has these registers under KVM only"))

# ---- machine checks

UC, AO = "0xbd80000000000134", "0xbd000000000000c0"


def mce(line, reply, events=""):
    return (f"> human-monitor-command {json.dumps({'command-line': 'mce ' + line})} : "
            f"{events} R={json.dumps(reply)}")


END = chr(13) + chr(10)
OFF = "CPU 0: MCE capability is not enabled, raising triple fault"
BUSY = "CPU 0: Previous MCE still in progress, raising triple fault"
ROWS += [
    Row("memory failure injected, action required", f"""
        > cont : RESUME R
        $ ready
        {mce(f"0 9 {UC} 5 0x1000 0x8c", "", "MEMORY_FAILURE:guest,inject,required,no")}
        $ mc mcg
        = running
        """, kernel="mce"),
    Row("memory failure injected, action optional", f"""
        > cont : RESUME R
        $ ready
        {mce(f"0 9 {AO} 5 0x1000 0x8c", "", "MEMORY_FAILURE:guest,inject,optional,no")}
        $ mc mcg
        = running
        """, kernel="mce"),
    Row("memory failure of a guest without machine checks", f"""
        > cont : RESUME R
        $ ready
        {mce(f"0 9 {AO} 5 0 0", OFF, "MEMORY_FAILURE:guest,reset,optional,no RESET:guest-reset")}
        = running
        $ ready
        """, kernel="mce", does="off"),
    Row("memory failure of a guest without machine checks, -no-reboot", f"""
        > cont : RESUME R
        $ ready
        {mce(f"0 9 {AO} 5 0 0", OFF, "MEMORY_FAILURE:guest,reset,optional,no SHUTDOWN:guest-reset")}
        . 0
        """, kernel="mce", does="off", args="-no-reboot"),
    Row("memory failure while one is handled", f"""
        > cont : RESUME R
        $ ready
        {mce(f"0 9 {UC} 5 0 0", "", "MEMORY_FAILURE:guest,inject,required,no")}
        $ mc mcg
        godwit| {mce(f"0 9 {AO} 5 0 0", "", "MEMORY_FAILURE:guest,ignore,optional,recursive")}
        qemu| {mce(f"0 9 {AO} 5 0 0", BUSY, "MEMORY_FAILURE:guest,reset,optional,recursive RESET:guest-reset")}
        = running
        godwit| {mce(f"0 9 {UC} 5 0 0", BUSY, "MEMORY_FAILURE:guest,reset,required,recursive RESET:guest-reset")}
        $ ready
        """, kernel="mce", does="busy", differs="`mce` of an action-optional error"),
    Row("machine checks that cannot be: the bank is looked at first, then the status", f"""
        > cont : RESUME R
        $ ready
        {mce("0 10 0x3d80000000000134 5 0 0", "Invalid MCE bank number" + END)}
        {mce("0 9 0x3d80000000000134 5 0 0", "Invalid MCE status code" + END)}
        {mce(f"-b 0 9 {UC} 5 0 0", "Guest CPU does not support MCA broadcast" + END)}
        = running
        """, kernel="mce", args="-cpu pentium3,+x2apic -smp 2"),
    Row("memory failure with reporting switched off", f"""
        > cont : RESUME R
        $ ready
        {mce(f"0 9 {UC} 5 0 0",
             "CPU 0: Uncorrected error reporting disabled for bank 9" + END, "")}
        = running
        """, kernel="mce", does="mute"),
]

# ---- the host fails

BEHIND = "-machine q35,memory-backend=m -object memory-backend-file,id=m,size=32M,mem-path=DIR/ram,share=on"
QEMU_DIES = "QEMU dies of the signal"
for options, after in (("", ". 1"), ("-no-shutdown", """< STOP
        = shutdown
        > cont : !Resetting the Virtual Machine is required
        > system_reset : RESET:host-qmp-system-reset R
        = prelaunch""")):
    ROWS.append(Row(f"host-error: the file behind memory is cut off {options}", f"""
        > cont : RESUME R
        $ ready
        cut ram 0x1a00000
        < SHUTDOWN:host-error
        {after}
        """, kernel="mce", does=f"touch {0x1a00000}", args=f"{BEHIND} {options}", only="godwit",
                    why_only=QEMU_DIES))
BY_SIGNAL = "the library that sends the signals is for Godwit's threads"
ROWS += [
    Row("memory of the program is broken: ignored until it is used", """
        > cont : RESUME R
        $ ready
        fail optional 0x1000
        < MEMORY_FAILURE:hypervisor,ignore,optional,no
        = running
        """, only="godwit", why_only=BY_SIGNAL),
    Row("memory of the program is broken and used", """
        > cont : RESUME R
        $ ready
        fail required 0x1000
        < MEMORY_FAILURE:hypervisor,fatal,required,no SHUTDOWN:host-error
        . 1
        """, only="godwit", why_only=BY_SIGNAL),
    Row("memory of the program is broken and used, -no-shutdown", """
        > cont : RESUME R
        $ ready
        fail required 0x1000
        < MEMORY_FAILURE:hypervisor,fatal,required,no SHUTDOWN:host-error STOP
        . 1
        """, args="-no-shutdown", only="godwit", why_only=BY_SIGNAL),
]
