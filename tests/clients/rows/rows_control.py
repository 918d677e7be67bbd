"""Rows about what a client or the host does: run states, commands, what they refuse, ways to end."""
from rowtest import Row

NEEDS_RESET = "!Resetting the Virtual Machine is required"
NOT_ASLEEP = "!Unable to wake up: guest is not in suspended state"

ROWS = [
    Row("prelaunch, running, paused", """
        = prelaunch
        > stop : R
        = prelaunch
        > cont : RESUME R
        = running
        $ ready
        > cont : R
        = running
        > stop : STOP R
        = paused
        > stop : R
        = paused
        > cont : RESUME R
        = running
        """),
    Row("a machine that starts by itself", """
        = running
        $ ready
        > stop : STOP R
        = paused
        """, start=""),
    Row("reset while running", """
        > cont : RESUME R
        $ ready
        > system_reset : RESET:host-qmp-system-reset R
        = running
        $ ready
        """),
    Row("reset while paused leaves prelaunch", """
        > cont : RESUME R
        $ ready
        > stop : STOP R
        = paused
        > system_reset : RESET:host-qmp-system-reset R
        = prelaunch
        > system_reset : RESET:host-qmp-system-reset R
        = prelaunch
        > cont : RESUME R
        $ ready
        = running
        """),
    Row("reset before the first start", """
        > system_reset : RESET:host-qmp-system-reset R
        = prelaunch
        > cont : RESUME R
        $ ready
        """),
    Row("quit", "> quit : SHUTDOWN:host-qmp-quit R\n. 0"),
    Row("quit while running", """
        > cont : RESUME R
        $ ready
        > quit : SHUTDOWN:host-qmp-quit R
        . 0
        """),
    Row("quit with -no-shutdown", """
        > cont : RESUME R
        > quit : SHUTDOWN:host-qmp-quit R
        . 0
        """, args="-no-shutdown"),
    Row("quit with -no-shutdown in state shutdown", """
        > cont : RESUME R
        < SHUTDOWN:guest-shutdown STOP
        = shutdown
        > quit : SHUTDOWN:host-qmp-quit R
        . 0
        """, args="-no-shutdown", does="s5"),
    Row("powerdown", """
        > cont : RESUME R
        $ ready
        > system_powerdown : POWERDOWN R
        = running
        > stop : STOP R
        > system_powerdown : POWERDOWN R
        = paused
        """),
    Row("powerdown before the first start", """
        > system_powerdown : POWERDOWN R
        = prelaunch
        """),
    Row("powerdown of a machine without a power button", """
        > system_powerdown : POWERDOWN R
        = prelaunch
        """, args="-machine none", kernel=None),
    Row("the guest sees the power button", """
        > cont : RESUME R
        $ waiting
        > system_powerdown : POWERDOWN R
        $ button
        """, does="button"),
    Row("wake-up of a machine that is not asleep", f"""
        > system_wakeup : {NOT_ASLEEP}
        > cont : RESUME R
        > system_wakeup : {NOT_ASLEEP}
        > stop : STOP R
        > system_wakeup : {NOT_ASLEEP}
        = paused
        """),
    Row("wake-up of a machine that cannot sleep", """
        > system_wakeup : !wake-up from suspend is not supported by this guest
        ? query-current-machine => {"wakeup-suspend-support": false}
        """, args="-machine none", kernel=None),
    Row("query-current-machine", """
        ? query-current-machine => {"wakeup-suspend-support": true}
        """),
    Row("inject-nmi reaches the guest", """
        > cont : RESUME R
        $ waiting
        > inject-nmi : R
        $ nmi
        = running
        """, does="nmi say waiting"),
    Row("inject-nmi before the start and while paused", """
        > inject-nmi : R
        = prelaunch
        > cont : RESUME R
        $ waiting
        > stop : STOP R
        > inject-nmi : R
        = paused
        > cont : RESUME R
        $ nmi
        """, does="nmi say waiting"),
    Row("inject-nmi into a machine without vCPUs", """
        > inject-nmi : !this feature or command is not currently supported
        """, args="-machine none", kernel=None),
    Row("the human monitor's commands do the same", r"""
        > human-monitor-command {"command-line": "cont"} : RESUME R=""
        $ waiting
        > human-monitor-command {"command-line": "nmi"} : R=""
        $ nmi
        > human-monitor-command {"command-line": "stop"} : STOP R=""
        = paused
        > human-monitor-command {"command-line": "system_powerdown"} : POWERDOWN R=""
        > human-monitor-command {"command-line": "system_wakeup"} : R="Error: Unable to wake up: guest is not in suspended state\r\n"
        > human-monitor-command {"command-line": "system_reset"} : RESET:host-qmp-system-reset R=""
        = prelaunch
        > human-monitor-command {"command-line": "watchdog_action bad"} : R="Error: invalid parameter value: bad\r\n"
        > human-monitor-command {"command-line": "watchdog_action"} : R="watchdog_action: string expected\r\nTry \"help watchdog_action\" for more information\r\n"
        > human-monitor-command {"command-line": "info status"} : R="VM status: paused (prelaunch)\r\n"
        > human-monitor-command {"command-line": "quit"} : SHUTDOWN:host-qmp-quit R=""
        . 0
        """, does="nmi say waiting"),
    Row("the human monitor's watchdog_action", """
        > human-monitor-command {"command-line": "watchdog_action pause"} : R=""
        > cont : RESUME R
        < WATCHDOG:pause STOP
        = watchdog
        """, does="ib700 15", args="-device ib700"),
    Row("the human monitor's system_wakeup", """
        > cont : RESUME R
        < SUSPEND
        > human-monitor-command {"command-line": "system_wakeup"} : WAKEUP R=""
        = running
        """, does="s3"),
    Row("rtc-reset-reinjection", "> rtc-reset-reinjection : R"),
]

LATER = "!The command '{}' is permitted only after machine initialization has completed"
ROWS += [
    Row("preconfig: what is permitted; its end starts the machine", f"""
        = prelaunch
        > stop : {LATER.format("stop")}
        > cont : {LATER.format("cont")}
        > system_reset : {LATER.format("system_reset")}
        > inject-nmi : {LATER.format("inject-nmi")}
        > watchdog-set-action {{"action": "none"}} : {LATER.format("watchdog-set-action")}
        > watchdog-set-action {{"x": 1}} : {LATER.format("watchdog-set-action")}
        > set-action {{"reboot": "bad"}} : !Parameter 'reboot' does not accept value 'bad'
        > set-action {{"reboot": "shutdown", "shutdown": "pause"}} : R
        = prelaunch
        > x-exit-preconfig {{"x": 1}} : !Parameter 'x' is unexpected
        > x-exit-preconfig : RESUME R
        = running
        > x-exit-preconfig : !The command is permitted only before machine initialization
        $ up
        type r
        < SHUTDOWN:guest-reset STOP
        = shutdown
        """, start="--preconfig", does="say up orders"),
    Row("preconfig with -S: its end starts nothing", f"""
        > x-exit-preconfig : R
        = prelaunch
        > watchdog-set-action {{"action": "none"}} : R
        > cont : RESUME R
        $ ready
        """, start="--preconfig -S"),
    Row("preconfig: quit", """
        > quit : SHUTDOWN:host-qmp-quit R
        . 0
        """, start="--preconfig"),
    Row("preconfig: a signal", """
        kill TERM
        < SHUTDOWN:host-signal
        . 0
        """, start="--preconfig"),
    Row("faults in arguments are told before the state's refusal", f"""
        > cont : RESUME R
        < SHUTDOWN:guest-shutdown STOP
        = shutdown
        > cont {{"x": 1}} : !Parameter 'x' is unexpected
        > cont : {NEEDS_RESET}
        """, does="s5", args="-no-shutdown"),
]

for sig in "TERM", "INT", "HUP":
    for options in "", "-no-shutdown":
        ROWS.append(Row(f"SIG{sig} {options}", f"""
            > cont : RESUME R
            $ ready
            kill {sig}
            < SHUTDOWN:host-signal
            . 0
            """, args=options))
ROWS += [
    Row("a signal in state shutdown", """
        > cont : RESUME R
        < SHUTDOWN:guest-shutdown STOP
        = shutdown
        kill TERM
        < SHUTDOWN:host-signal
        . 0
        """, args="-no-shutdown", does="s5"),
    Row("a signal before the start", "kill TERM\n< SHUTDOWN:host-signal\n. 0"),
    Row("reset with -no-reboot ends the machine", """
        > cont : RESUME R
        > system_reset : SHUTDOWN:host-qmp-system-reset R
        . 0
        """, args="-no-reboot"),
    Row("reset with -no-reboot before the start", """
        > system_reset : SHUTDOWN:host-qmp-system-reset R
        . 0
        """, args="-no-reboot"),
    Row("reset with -no-reboot and -no-shutdown", f"""
        > cont : RESUME R
        > system_reset : SHUTDOWN:host-qmp-system-reset STOP R
        = shutdown
        > system_reset : SHUTDOWN:host-qmp-system-reset R
        = shutdown
        > cont : {NEEDS_RESET}
        > stop : R
        = shutdown
        > set-action {{"reboot": "reset"}} : R
        > system_reset : RESET:host-qmp-system-reset R
        = prelaunch
        > cont : RESUME R
        = running
        """, args="-no-reboot -no-shutdown"),
    Row("reset with -no-reboot and -no-shutdown while stopped", """
        > cont : RESUME R
        > stop : STOP R
        > system_reset : SHUTDOWN:host-qmp-system-reset R
        = paused
        > cont : RESUME R
        = running
        """, args="-no-reboot -no-shutdown"),
    Row("reset with -no-reboot and -no-shutdown before the start", """
        > system_reset : SHUTDOWN:host-qmp-system-reset R
        = prelaunch
        > cont : RESUME R
        """, args="-no-reboot -no-shutdown"),
    Row("quit ends a machine whose actions say otherwise for good", """
        > set-action {"shutdown": "pause", "reboot": "shutdown"} : R
        > cont : RESUME R
        > quit : SHUTDOWN:host-qmp-quit R
        . 0
        """),
    Row("Ctrl-A x at the terminal", """
        > cont : RESUME R
        $ ready
        type \x01x
        godwit| < SHUTDOWN:host-ui
        qemu| < SHUTDOWN:host-qmp-quit
        . 0
        """, args="-nographic -serial mon:stdio", start="-S -display none", differs="`Ctrl-A x`"),
    Row("what runs is told by every state's query", """
        ? query-status => {"status": "prelaunch", "running": false, "singlestep": false}
        > cont : RESUME R
        ? query-status => {"status": "running", "running": true, "singlestep": false}
        """),
    Row("single steps: one instruction at a time, a mode of the software CPU", r"""
        ? query-status => {"status": "prelaunch", "running": false, "singlestep": true}
        > cont : RESUME R
        $ done
        ? query-status => {"status": "running", "running": true, "singlestep": true}
        > human-monitor-command {"command-line": "info status"} : R="VM status: running (single step mode)\r\n"
        > human-monitor-command {"command-line": "singlestep off"} : R=""
        ? query-status => {"status": "running", "running": true, "singlestep": false}
        > human-monitor-command {"command-line": "singlestep x"} : R="unexpected option x\r\n"
        > human-monitor-command {"command-line": "singlestep"} : R=""
        > stop : STOP R
        ? query-status => {"status": "paused", "running": false, "singlestep": true}
        > human-monitor-command {"command-line": "info status"} : R="VM status: paused (single step mode)\r\n"
        > human-monitor-command {"command-line": "singlestep off"} : R=""
        = paused
        """, args="-singlestep", does="delay 1 panic 0", accel="tcg"),
]
