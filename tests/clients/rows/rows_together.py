"""Rows about what comes together: requests that merge, rate limits, a debugger, what would kill QEMU."""
import json

from rowtest import IS_GODWIT, Row

NEEDS_RESET = "!Resetting the Virtual Machine is required"

# Register accesses by the qtest door, several before the machine looks at any request. 0x604 is the power
# management register, 0xcf9 the reset control.
S3, S4, S5 = "outw 0x604 0x2400", "outw 0x604 0x2800", "outw 0x604 0x2000"
RESET = "outb 0xcf9 6"

ROWS = [
    Row("power off twice is one SHUTDOWN", f"""
        > cont : RESUME R
        $ done
        door {S5}; {S5}
        < SHUTDOWN:guest-shutdown STOP
        = shutdown
        door {S5}
        < SHUTDOWN:guest-shutdown
        = shutdown
        """, args="-no-shutdown"),
    Row("a reset asked for twice is one", f"""
        > cont : RESUME R
        $ done
        door {RESET}; {RESET}
        < RESET:guest-reset
        = running
        """),
    Row("power off with a reset: both, ends in prelaunch", f"""
        > cont : RESUME R
        $ done
        door {RESET}; {S5}
        < SHUTDOWN:guest-shutdown STOP RESET:guest-reset
        = prelaunch
        > cont : RESUME R
        $ ready
        """, args="-no-shutdown"),
    Row("power off with a reset, without -no-shutdown", f"""
        > cont : RESUME R
        $ done
        door {RESET}; {S5}
        < SHUTDOWN:guest-shutdown
        . 0
        """),
    Row("power off, then a reset, with -no-reboot: the latest cause", f"""
        > cont : RESUME R
        $ done
        door {S5}; {RESET}
        < SHUTDOWN:guest-reset STOP
        = shutdown
        """, args="-no-reboot -no-shutdown"),
    Row("a reset, then power off, with -no-reboot: the latest cause", f"""
        > cont : RESUME R
        $ done
        door {RESET}; {S5}
        < SHUTDOWN:guest-shutdown STOP
        = shutdown
        """, args="-no-reboot -no-shutdown"),
    Row("suspend with a reset", f"""
        > cont : RESUME R
        $ done
        door {S3}; {RESET}
        < SUSPEND RESET:guest-reset
        = prelaunch
        """),
    Row("suspend with power off", f"""
        > cont : RESUME R
        $ done
        door {S5}; {S3}
        < SUSPEND SHUTDOWN:guest-shutdown
        = suspended
        > cont : R
        = suspended
        """, args="-no-shutdown"),
    Row("suspended is not suspended again", f"""
        > cont : RESUME R
        $ done
        door {S3}; {S3}
        < SUSPEND
        = suspended
        door {S3}
        = suspended
        """),
    Row("suspended, then a reset by a register", f"""
        > cont : RESUME R
        < SUSPEND
        door {RESET}
        < RESET:guest-reset
        = prelaunch
        """, does="s3"),
    Row("suspended, then power off by a register", f"""
        > cont : RESUME R
        < SUSPEND
        door {S5}
        < SHUTDOWN:guest-shutdown
        = suspended
        > system_wakeup : WAKEUP R
        = running
        """, does="s3", args="-no-shutdown"),
    Row("power off of a machine that is paused", f"""
        > cont : RESUME R
        $ done
        > stop : STOP R
        door {S5}
        < SHUTDOWN:guest-shutdown
        = paused
        > cont : RESUME R
        = running
        """, args="-no-shutdown"),
    Row("suspend to disk twice", f"""
        > cont : RESUME R
        $ done
        door {S4}; {S4}
        < SUSPEND_DISK SUSPEND_DISK SHUTDOWN:guest-shutdown STOP
        = shutdown
        """, args="-no-shutdown"),
    Row("crash loaded twice, in one go", """
        > cont : RESUME R
        $ done
        door outb 0x505 2; outb 0x505 2
        < GUEST_CRASHLOADED:run GUEST_CRASHLOADED:run
        = running
        """, args="-device pvpanic"),
]

# ---- transitions that QEMU's table lacks: there it aborts

KILLS = "QEMU aborts: its table of run states has no such transition"
for state, come, there in (("prelaunch", "", "prelaunch"), ("paused", "> stop : STOP R", "paused"),
                           ("shutdown", f"door {S5}\n< SHUTDOWN:guest-shutdown STOP", "shutdown")):
    ROWS.append(Row(f"suspend of a machine in {state}", f"""
        {"> cont : RESUME R" if come else ""}
        {"$ done" if come else ""}
        {come}
        = {there}
        door {S3}
        = {there}
        {f"> cont : {NEEDS_RESET}" if state == "shutdown" else "> cont : RESUME SUSPEND R"}
        {"= shutdown" if state == "shutdown" else "= suspended"}
        > system_reset : RESET:host-qmp-system-reset R
        = prelaunch
        > cont : RESUME R
        = running
        $ ready
        """, args="-no-shutdown", only="godwit", why_only=KILLS))
for state, word, options, there in (("watchdog", "ib700 15", "-device ib700 -watchdog-action pause", "watchdog"),
                                    ("guest-panicked", "panic 1", "-device pvpanic -action panic=pause",
                                     "guest-panicked")):
    event = "WATCHDOG" if state == "watchdog" else "GUEST_PANICKED"
    ROWS.append(Row(f"suspend of a machine in {state}", f"""
        > cont : RESUME R
        < {event}:pause STOP
        = {there}
        door {S3}
        = {there}
        > cont : RESUME SUSPEND R
        = suspended
        > stop : R
        > system_wakeup : WAKEUP RESET:guest-reset R
        = running
        """, does=f"once {word}", args=options, only="godwit", why_only=KILLS))
ROWS.append(Row("suspend of a machine with an internal error", f"""
    > cont : RESUME R
    < STOP
    = internal-error
    door {S3}
    = internal-error
    > system_reset : RESET:host-qmp-system-reset R
    = prelaunch
    """, kernel="hole", args="-cpu max,+vme", only="godwit", why_only=KILLS))

# ---- rate limits

ROWS += [
    Row("three expiries within a second: the first and the last are told, the last late", """
        > set-action {"watchdog": "none"} : R
        > cont : RESUME R
        $ up
        type w
        < WATCHDOG:none
        $ w
        > set-action {"watchdog": "debug"} : R
        type w
        $ w
        log watchdog: timer fired
        > set-action {"watchdog": "pause"} : R
        type w
        < STOP
        = watchdog
        < WATCHDOG:pause
        late
        > set-action {"watchdog": "none"} : R
        quiet 1.2
        """, does="say up orders", args="-device ib700",
        within_a_second=True),
    Row("the limit runs while the machine is stopped, and ends when nothing was held", """
        > set-action {"watchdog": "none"} : R
        > cont : RESUME R
        $ up
        type w
        < WATCHDOG:none
        > stop : STOP R
        quiet 1.3
        > cont : RESUME R
        type w
        < WATCHDOG:none
        > stop : STOP R
        = paused
        """, does="say up orders", args="-device ib700"),
    Row("a late event starts another second", """
        > set-action {"watchdog": "none"} : R
        > cont : RESUME R
        $ up
        type w
        $ w
        < WATCHDOG:none
        type w
        $ w
        < WATCHDOG:none
        > set-action {"watchdog": "pause"} : R
        type w
        < STOP WATCHDOG:pause
        late
        """, does="say up orders", args="-device ib700",
        within_a_second=True),
    Row("one limit for all watchdogs", """
        > set-action {"watchdog": "none"} : R
        > cont : RESUME R
        $ up
        type w
        $ w
        < WATCHDOG:none
        > set-action {"watchdog": "pause"} : R
        type e
        < STOP WATCHDOG:pause
        late
        """, does="say up orders", args="-device ib700 -device i6300esb",
        within_a_second=True),
    Row("clocks and watchdogs have limits of their own", """
        > cont : RESUME R
        < RTC_CHANGE... WATCHDOG:none
        $ done
        """, does="clock ib700 15", args="-device ib700 -watchdog-action none"),
    Row("RTC_CHANGE twice within a second: the second comes late", """
        > cont : RESUME R
        < RTC_CHANGE... GUEST_CRASHLOADED:run RTC_CHANGE...
        late
        $ done
        """, does="clock clock panic 2", args="-device pvpanic",
        within_a_second=True),
    Row("panics are not limited", f"""
        > cont : RESUME R
        < {"GUEST_PANICKED:run GUEST_CRASHLOADED:run " * 10}
        $ done
        """, does="panic 1 panic 2 " * 10, args="-device pvpanic -action panic=none"),
]

# ---- who has an event and asks gets the state that it led to

STATES = """
        > system_reset : RESET:host-qmp-system-reset R
        > cont : RESUME R
        $ up
        type p
        < GUEST_PANICKED:pause
        now guest-panicked STOP
        > system_reset : RESET:host-qmp-system-reset R
        > cont : RESUME R
        $ up
        type 5
        < SHUTDOWN:guest-shutdown
        now shutdown STOP
        > system_reset : RESET:host-qmp-system-reset R
        > cont : RESUME R
        $ up
        type 4
        < SUSPEND_DISK
        now shutdown SHUTDOWN:guest-shutdown STOP
        """
ROWS.append(Row("the state behind an event is the new one", STATES * 20, does="say up orders",
                args="-device pvpanic -no-shutdown -action panic=pause", only="godwit",
                why_only="QEMU's answers come from the thread that changes the state"))

# ---- a debugger

ROWS += [
    Row("debug: attach, break, step, interrupt, detach", """
        > cont : RESUME R
        $ up
        gdb attach
        < STOP
        = paused
        gdb break
        gdb send c
        < RESUME STOP
        = debug
        gdb answer
        > stop : R
        = debug
        gdb clear
        gdb send s
        < RESUME STOP
        = debug
        gdb answer
        gdb send c
        < RESUME
        = running
        gdb interrupt
        < STOP
        = paused
        gdb answer
        gdb send D
        < RESUME
        = running
        """, does="say up orders"),
    Row("debug: cont", """
        > cont : RESUME R
        $ up
        gdb attach
        < STOP
        gdb break
        gdb send c
        < RESUME STOP
        = debug
        gdb answer
        gdb clear
        > cont : RESUME R
        = running
        > stop : STOP R
        = paused
        """, does="say up orders"),
    Row("debug: reset", """
        > cont : RESUME R
        $ up
        gdb attach
        < STOP
        gdb break
        gdb send c
        < RESUME STOP
        = debug
        gdb answer
        gdb clear
        > system_reset : RESET:host-qmp-system-reset R
        = prelaunch
        """, does="say up orders"),
    Row("debug: kill", """
        > cont : RESUME R
        $ up
        gdb attach
        < STOP
        gdb send k
        godwit| < SHUTDOWN:host-ui
        . 0
        """, does="say up orders", differs="gdb `kill`"),
]

# What a guest does as soon as a command lets it comes after the command's reply. Many times, for it
# is a race that the reply has to win; once with QEMU, whose firmware would reset the machine as well.
TIMES = 30 if IS_GODWIT else 1
AND_AGAIN = """
        > set-action {"reboot": "reset"} : R
        > system_reset : RESET:host-qmp-system-reset R
        > set-action {"reboot": "shutdown"} : R
        """


def again(steps, between=""):
    return between.join([steps] * TIMES)


ROWS += [
    Row("cont of a guest that falls at once: RESUME, the reply, SHUTDOWN", again("""
        > cont : RESUME R
        < SHUTDOWN:guest-reset STOP
        """, AND_AGAIN), kernel="fall", does="now", args="-action reboot=shutdown,shutdown=pause"),
    Row("a guest that falls by an NMI: the reply, SHUTDOWN", again("""
        > cont : RESUME R
        $ ready
        > inject-nmi : R
        < SHUTDOWN:guest-reset STOP
        """, AND_AGAIN), kernel="fall", does="nmi", args="-action reboot=shutdown,shutdown=pause"),
    Row("system_reset of a guest that falls at once: RESET, the reply, RESET", """
        > cont : RESUME R
        """ + again("""
        $ ready
        > system_reset : RESET:host-qmp-system-reset R
        < RESET:guest-reset
        """), kernel="fall", does="odd", only="godwit", why_only="QEMU's firmware resets the machine too"),
]

# ---- restore-vm


def human(line, reply, events=""):
    return (f"> human-monitor-command {json.dumps({'command-line': line})} : "
            f"{events} R={json.dumps(reply)}")


ROWS.append(Row("restore-vm: a load that fails halfway", f"""
    > cont : RESUME R
    $ done
    {human("savevm one", "", "STOP RESUME")}
    # Godwit's machine is half loaded then, and nothing but a reset ends that.
    godwit| spoil d GODWITSN 68536
    godwit| > human-monitor-command {{"command-line": "loadvm one"}} : STOP R...
    godwit| = restore-vm
    godwit| > cont : !Resetting the Virtual Machine is required
    godwit| > stop : R
    godwit| > system_powerdown : POWERDOWN R
    godwit| > system_wakeup : !Unable to wake up: guest is not in suspended state
    godwit| = restore-vm
    # QEMU stays there whatever went wrong.
    qemu| > human-monitor-command {{"command-line": "loadvm nope"}} : STOP R...
    qemu| = restore-vm
    > system_reset : RESET:host-qmp-system-reset R
    = prelaunch
    > cont : RESUME R
    = running
    """, images={"d": "1M"}, args="-blockdev driver=qcow2,node-name=d,file.driver=file,file.filename=DIR/d",
    differs="a snapshot load that fails"))
ROWS.append(Row("restore-vm: no such snapshot", f"""
    > cont : RESUME R
    $ done
    godwit| > human-monitor-command {{"command-line": "loadvm nope"}} : STOP RESUME R...
    godwit| = running
    qemu| > human-monitor-command {{"command-line": "loadvm nope"}} : STOP R...
    qemu| = restore-vm
    qemu| > cont : RESUME R
    = running
    """, images={"d": "1M"}, args="-blockdev driver=qcow2,node-name=d,file.driver=file,file.filename=DIR/d",
    differs="a snapshot load that fails"))

# ---- memory that the guest keeps: _OST by the registers of memory slots

OST = {"info": {"device": "d", "source": 3, "status": 0x82, "slot": "0", "slot-type": "DIMM"}}
ROWS.append(Row("MEM_UNPLUG_ERROR: the guest refuses to give memory up", f"""
    > cont : RESUME R
    $ done
    > device_del {{"id": "d"}} : R
    door outl 0xa00 0; outl 0xa04 3; outl 0xa08 0x82
    < ACPI_DEVICE_OST{json.dumps(OST)}
    godwit| < MEM_UNPLUG_ERROR{{"device": "d", "msg": "the guest keeps it (_OST status 130)"}}
    godwit| < DEVICE_UNPLUG_GUEST_ERROR{{"device": "d", "path": "/machine/peripheral/d"}}
    quiet 0.2
    = running
    """, args="-machine pc -m 32,slots=2,maxmem=1G -object memory-backend-ram,id=m0,size=64M "
              "-device pc-dimm,id=d,memdev=m0", differs="pc-dimm"))
