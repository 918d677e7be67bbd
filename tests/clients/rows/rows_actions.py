"""Rows about what a guest's events do: -no-reboot, -no-shutdown, -action, set-action and all between."""
from rowtest import Row

NEEDS_RESET = "!Resetting the Virtual Machine is required"

ROWS = []

# Each way of a guest to reset the machine, by each combination of the two actions.
for how in "cf9", "acpi", "8042", "port92", "triple":
    ROWS += [
        Row(f"guest reset by {how}", """
            > cont : RESUME R
            $ ready
            < RESET:guest-reset
            = running
            $ again
            """, does=f"once {how}"),
        Row(f"guest reset by {how}, -no-reboot", """
            > cont : RESUME R
            < SHUTDOWN:guest-reset
            . 0
            """, does=f"once {how}", args="-no-reboot"),
        Row(f"guest reset by {how}, -no-reboot -no-shutdown", f"""
            > cont : RESUME R
            < SHUTDOWN:guest-reset STOP
            = shutdown
            > cont : {NEEDS_RESET}
            = shutdown
            """, does=f"once {how}", args="-no-reboot -no-shutdown"),
    ]

ROWS += [
    Row("guest reset with shutdown=pause alone is a reset", """
        > cont : RESUME R
        < RESET:guest-reset
        = running
        $ again
        """, does="once cf9", args="-no-shutdown"),
    Row("power off", """
        > cont : RESUME R
        < SHUTDOWN:guest-shutdown
        . 0
        """, does="s5"),
    Row("power off, -no-shutdown", f"""
        > cont : RESUME R
        < SHUTDOWN:guest-shutdown STOP
        = shutdown
        > cont : {NEEDS_RESET}
        = shutdown
        > stop : R
        = shutdown
        > system_powerdown : POWERDOWN R
        = shutdown
        > system_reset : RESET:host-qmp-system-reset R
        = prelaunch
        > cont : RESUME R
        < SHUTDOWN:guest-shutdown STOP
        = shutdown
        """, does="s5", args="-no-shutdown"),
    Row("power off, the action changed in time", """
        > set-action {"shutdown": "pause"} : R
        > cont : RESUME R
        < SHUTDOWN:guest-shutdown STOP
        = shutdown
        > set-action {"shutdown": "poweroff"} : R
        = shutdown
        > system_reset : RESET:host-qmp-system-reset R
        > cont : RESUME R
        < SHUTDOWN:guest-shutdown
        . 0
        """, does="s5"),
    Row("suspend to disk", """
        > cont : RESUME R
        < SUSPEND_DISK SHUTDOWN:guest-shutdown
        . 0
        """, does="s4"),
    Row("suspend to disk, -no-shutdown", f"""
        > cont : RESUME R
        < SUSPEND_DISK SHUTDOWN:guest-shutdown STOP
        = shutdown
        > cont : {NEEDS_RESET}
        """, does="s4", args="-no-shutdown"),
    Row("suspend to disk by the register works where tables hide it", """
        > cont : RESUME R
        < SUSPEND_DISK SHUTDOWN:guest-shutdown
        . 0
        """, does="s4", args="-global ICH9-LPC.disable_s4=1"),
]

# ---- the options, what they set, and which of several counts: the end shows it

REBOOT = {"reset": "< RESET:guest-reset\n= running",
          "poweroff": "< SHUTDOWN:guest-reset\n. 0",
          "pause": "< SHUTDOWN:guest-reset STOP\n= shutdown"}
for options, end in (("-action reboot=shutdown", "poweroff"), ("-action reboot=reset", "reset"),
                     ("-no-reboot -action reboot=reset", "reset"),
                     ("-action reboot=reset -no-reboot", "poweroff"),
                     ("-action reboot=shutdown,shutdown=pause", "pause"),
                     ("-action shutdown=pause -action reboot=shutdown", "pause"),
                     ("-no-shutdown -action shutdown=poweroff -no-reboot", "poweroff"),
                     ("-action shutdown=poweroff -no-shutdown -no-reboot", "pause"),
                     ("-action reboot=shutdown,reboot=reset", "reset"),
                     ("-action panic=none -no-reboot -watchdog-action none", "poweroff")):
    ROWS.append(Row(f"guest reset with {options}", f"> cont : RESUME R\n{REBOOT[end]}",
                    does="once cf9", args=options))

# ---- panic: each action with each shutdown action, on each bus

PANIC = [  # panic, shutdown, what comes, how it ends
    ("pause", "poweroff", "GUEST_PANICKED:pause STOP", "= guest-panicked"),
    ("pause", "pause", "GUEST_PANICKED:pause STOP", "= guest-panicked"),
    ("shutdown", "pause", "GUEST_PANICKED:pause STOP", "= guest-panicked"),
    ("shutdown", "poweroff", "GUEST_PANICKED:poweroff SHUTDOWN:guest-panic", ". 0"),
    ("exit-failure", "poweroff", "GUEST_PANICKED:poweroff SHUTDOWN:guest-panic", ". 1"),
    ("exit-failure", "pause", "GUEST_PANICKED:poweroff SHUTDOWN:guest-panic STOP", "= shutdown"),
    ("none", "poweroff", "GUEST_PANICKED:run", "$ done\n= running"),
    ("none", "pause", "GUEST_PANICKED:run", "$ done\n= running"),
]
for device, word in ("pvpanic", "panic"), ("pvpanic-pci", "pcipanic"):
    for panic, shutdown, wire, end in PANIC:
        steps = f"> cont : RESUME R\n< {wire}\n{end}\n"
        ROWS.append(Row(f"panic={panic},shutdown={shutdown} by {device}", steps, does=f"{word} 1",
                        args=f"-device {device} -action panic={panic},shutdown={shutdown}"))
        ROWS.append(Row(f"set-action panic={panic},shutdown={shutdown} by {device}", f"""
            > set-action {{"panic": "{panic}", "shutdown": "{shutdown}"}} : R
            {steps}""", does=f"{word} 1", args=f"-device {device}"))
    ROWS += [
        Row(f"crash loaded, {device}", """
            > cont : RESUME R
            < GUEST_CRASHLOADED:run
            $ done
            = running
            """, does=f"{word} 2", args=f"-device {device} -action panic=pause"),
        Row(f"crash loaded, then panic, {device}", """
            > cont : RESUME R
            < GUEST_CRASHLOADED:run GUEST_PANICKED:pause STOP
            = guest-panicked
            """, does=f"{word} 2 {word} 1", args=f"-device {device} -action panic=pause"),
        Row(f"both bits are a panic, {device}", """
            > cont : RESUME R
            < GUEST_PANICKED:pause STOP
            = guest-panicked
            """, does=f"{word} 3", args=f"-device {device} -action panic=pause"),
        Row(f"unknown bits are nothing, {device}", """
            > cont : RESUME R
            $ done
            = running
            """, does=f"{word} 16", args=f"-device {device} -action panic=pause"),
        Row(f"a read tells whatever events= says, {device}", """
            ? qom-get {"path": "/machine/peripheral/p", "property": "events"} => 201
            > cont : RESUME R
            < GUEST_PANICKED:pause STOP
            = guest-panicked
            """, does=f"{word} 1", args=f"-device {device},events=201,id=p -action panic=pause"),
        Row(f"a write is not filtered by what a read tells, {device}", """
            > cont : RESUME R
            < GUEST_CRASHLOADED:run GUEST_PANICKED:pause STOP
            = guest-panicked
            """, does=f"{word} 2 {word} 1", args=f"-device {device},events=0 -action panic=pause"),
    ]

ROWS += [
    Row("panic by default", """
        > cont : RESUME R
        < GUEST_PANICKED:poweroff SHUTDOWN:guest-panic
        . 0
        """, does="panic 1", args="-device pvpanic"),
    Row("panic, then on", """
        > cont : RESUME R
        < GUEST_PANICKED:pause STOP
        = guest-panicked
        > stop : R
        = guest-panicked
        > cont : RESUME R
        $ done
        = running
        """, does="panic 1", args="-device pvpanic -no-shutdown"),
    Row("panic, then a reset", """
        > cont : RESUME R
        < GUEST_PANICKED:pause STOP
        = guest-panicked
        > system_reset : RESET:host-qmp-system-reset R
        = prelaunch
        > cont : RESUME R
        < GUEST_PANICKED:pause STOP
        = guest-panicked
        """, does="panic 1", args="-device pvpanic -no-shutdown"),
    Row("panic, then the power button and an NMI", """
        > cont : RESUME R
        < GUEST_PANICKED:pause STOP
        > system_powerdown : POWERDOWN R
        > inject-nmi : R
        = guest-panicked
        """, does="panic 1", args="-device pvpanic -no-shutdown"),
    Row("two panics in a row, panic=none", """
        > cont : RESUME R
        < GUEST_PANICKED:run GUEST_PANICKED:run GUEST_PANICKED:run
        $ done
        """, does="panic 1 panic 1 panic 1", args="-device pvpanic -action panic=none"),
    Row("panic with exit-failure pausing, then a reset", f"""
        > cont : RESUME R
        < GUEST_PANICKED:poweroff SHUTDOWN:guest-panic STOP
        = shutdown
        > cont : {NEEDS_RESET}
        > system_reset : RESET:host-qmp-system-reset R
        = prelaunch
        """, does="panic 1", args="-device pvpanic -action panic=exit-failure -no-shutdown"),
    Row("power off with panic=exit-failure is no failure", """
        > cont : RESUME R
        < SHUTDOWN:guest-shutdown
        . 0
        """, does="s5", args="-action panic=exit-failure"),
]

# ---- set-action

ROWS += [
    Row("set-action: any subset, none", """
        > set-action {} : R
        > set-action : R
        > set-action {"reboot": "shutdown"} : R
        > set-action {"shutdown": "pause", "watchdog": "none"} : R
        > set-action {"reboot": "reset", "shutdown": "poweroff", "panic": "shutdown", "watchdog": "reset"} : R
        = prelaunch
        """),
    Row("set-action: a bad value leaves all as it was", """
        > set-action {"reboot": "shutdown", "watchdog": "bad"} : !Parameter 'watchdog' does not accept value 'bad'
        > set-action {"reboot": "shutdown", "panic": "run"} : !Parameter 'panic' does not accept value 'run'
        > set-action {"reboot": "bad"} : !Parameter 'reboot' does not accept value 'bad'
        > set-action {"reboot": 1} : !Invalid parameter type for 'reboot', expected: string
        > set-action {"reboot": "shutdown", "x": 1} : !Parameter 'x' is unexpected
        > cont : RESUME R
        < RESET:guest-reset
        $ again
        """, does="once cf9"),
    Row("watchdog-set-action: what it wants", """
        > watchdog-set-action : !Parameter 'action' is missing
        > watchdog-set-action {"action": "bad"} : !Parameter 'action' does not accept value 'bad'
        > watchdog-set-action {"action": 5} : !Invalid parameter type for 'action', expected: string
        > watchdog-set-action {"action": "none"} : R
        """),
    Row("set-action while the guest runs", """
        > cont : RESUME R
        $ ready
        > set-action {"reboot": "shutdown", "shutdown": "pause"} : R
        > system_reset : SHUTDOWN:host-qmp-system-reset STOP R
        = shutdown
        > set-action {"reboot": "reset"} : R
        > system_reset : RESET:host-qmp-system-reset R
        = prelaunch
        """),
    Row("godwit-query-actions: defaults, options, commands", """
        ? godwit-query-actions => {"reboot": "reset", "shutdown": "poweroff", "panic": "shutdown", "watchdog": "reset"}
        > set-action {"reboot": "shutdown", "panic": "exit-failure"} : R
        ? godwit-query-actions => {"reboot": "shutdown", "shutdown": "poweroff", "panic": "exit-failure", "watchdog": "reset"}
        > watchdog-set-action {"action": "debug"} : R
        ? godwit-query-actions => {"reboot": "shutdown", "shutdown": "poweroff", "panic": "exit-failure", "watchdog": "debug"}
        > set-action {"watchdog": "poweroff"} : R
        ? godwit-query-actions => {"reboot": "shutdown", "shutdown": "poweroff", "panic": "exit-failure", "watchdog": "poweroff"}
        > set-action {"reboot": "reset", "panic": "bad"} : !Parameter 'panic' does not accept value 'bad'
        ? godwit-query-actions => {"reboot": "shutdown", "shutdown": "poweroff", "panic": "exit-failure", "watchdog": "poweroff"}
        """, only="godwit", why_only="QEMU has no way to ask"),
]
for options, values in (
        ("-no-reboot -no-shutdown -watchdog-action pause", ("shutdown", "pause", "shutdown", "pause")),
        ("-action panic=none,watchdog=inject-nmi", ("reset", "poweroff", "none", "inject-nmi")),
        ("-watchdog-action pause -action watchdog=none", ("reset", "poweroff", "shutdown", "none")),
        ("-action watchdog=none -watchdog-action pause", ("reset", "poweroff", "shutdown", "pause")),
        ("-action panic=exit-failure -action panic=pause", ("reset", "poweroff", "pause", "reset"))):
    reboot, shutdown, panic, watchdog = values
    ROWS.append(Row(f"godwit-query-actions with {options}", f"""
        ? godwit-query-actions => {{"reboot": "{reboot}", "shutdown": "{shutdown}", "panic": "{panic}", "watchdog": "{watchdog}"}}
        """, args=options, only="godwit", why_only="QEMU has no way to ask"))
