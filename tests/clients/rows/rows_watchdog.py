"""Rows about watchdogs: seven actions on three devices, timing, disarming, what stops them."""
from rowtest import Row

DEVICES = {  # name: (options, word that lets it expire soon, word that gives it about 2 s, disarms)
    "ib700": ("-device ib700", "ib700 15", "ib700 14", "ib700off"),
    "i6300esb": ("-device i6300esb", "esb 100 100", "esb 1000000 1000000", "esboff"),
    "iTCO": ("-global ICH9-LPC.noreboot=off", "tco 2", "tco 2", "tcooff"),
}
ACTIONS = {  # action: what comes behind WATCHDOG, in both programs or (godwit, qemu)
    "reset": "< RESET:guest-reset\n= running\n$ again",
    "shutdown": "< POWERDOWN\n= running",
    "pause": "< STOP\n= watchdog\n> cont : RESUME R\n= running",
    "debug": "log watchdog: timer fired\n= running",
    "none": "= running",
    "inject-nmi": "$ nmi\n= running",
    "poweroff": "godwit| < SHUTDOWN:guest-shutdown\n. 0",
}

ROWS = []
for device, (options, soon, late, off) in DEVICES.items():
    for action, then in ACTIONS.items():
        differs = "watchdog action `poweroff`" if action == "poweroff" else None
        ROWS.append(Row(f"{device}, watchdog={action}", f"""
            > cont : RESUME R
            < WATCHDOG:{action}
            {then}
            """, does=f"once nmi {soon}", args=f"{options} -action watchdog={action}",
                        differs=differs))
    ROWS.append(Row(f"{device}, disarmed", """
        > cont : RESUME R
        $ done
        quiet 3
        = running
        """, does=f"{late} {off}", args=options, within_a_second=True))

for action in ACTIONS:
    differs = "watchdog action `poweroff`" if action == "poweroff" else None
    for how, set_it in (("-watchdog-action", None), ("set-action", "set-action {{\"watchdog\": \"{}\"}}"),
                        ("watchdog-set-action", "watchdog-set-action {{\"action\": \"{}\"}}")):
        ROWS.append(Row(f"{how} {action}", f"""
            {"> " + set_it.format(action) + " : R" if set_it else ""}
            > cont : RESUME R
            < WATCHDOG:{action}
            {ACTIONS[action]}
            """, does="once nmi ib700 15", differs=differs,
                        args="-device ib700" + ("" if set_it else f" -watchdog-action {action}")))

ROWS += [
    Row("watchdog by default", """
        > cont : RESUME R
        < WATCHDOG:reset RESET:guest-reset
        $ again
        """, does="once ib700 15", args="-device ib700"),
    Row("watchdog=reset with -no-reboot", """
        > cont : RESUME R
        < WATCHDOG:reset SHUTDOWN:guest-reset
        . 0
        """, does="ib700 15", args="-device ib700 -no-reboot"),
    Row("watchdog=reset with -no-reboot -no-shutdown", """
        > cont : RESUME R
        < WATCHDOG:reset SHUTDOWN:guest-reset STOP
        = shutdown
        """, does="ib700 15", args="-device ib700 -no-reboot -no-shutdown"),
    Row("watchdog=poweroff with -no-shutdown ends all the same", """
        > cont : RESUME R
        < WATCHDOG:poweroff
        godwit| < SHUTDOWN:guest-shutdown
        . 0
        """, does="ib700 15", args="-device ib700 -no-shutdown -watchdog-action poweroff",
        differs="watchdog action `poweroff`"),
    Row("watchdog=shutdown: a guest that heeds the button", """
        > cont : RESUME R
        < WATCHDOG:shutdown POWERDOWN SHUTDOWN:guest-shutdown
        . 0
        """, does="ib700 14 button s5", args="-device ib700 -watchdog-action shutdown"),
    Row("watchdog-set-action and set-action write the same: the last counts", """
        > set-action {"watchdog": "reset"} : R
        > watchdog-set-action {"action": "pause"} : R
        > cont : RESUME R
        < WATCHDOG:pause STOP
        = watchdog
        """, does="ib700 15", args="-device ib700 -watchdog-action none"),
    Row("watchdog=pause, then a reset disarms", """
        > cont : RESUME R
        < WATCHDOG:pause STOP
        = watchdog
        > stop : R
        = watchdog
        > system_reset : RESET:host-qmp-system-reset R
        = prelaunch
        > cont : RESUME R
        $ again
        = running
        """, does="once ib700 15", args="-device ib700 -watchdog-action pause"),
    Row("a stopped machine does not age its watchdog", """
        > cont : RESUME R
        $ done
        > stop : STOP R
        quiet 2.5
        = paused
        > cont : RESUME R
        = running
        < WATCHDOG:none
        """, does="ib700 14", args="-device ib700 -watchdog-action none", within_a_second=True),
    Row("a reset disarms the watchdog", """
        > cont : RESUME R
        $ done
        > system_reset : RESET:host-qmp-system-reset R
        $ again
        quiet 2.5
        = running
        """, does="once ib700 14", args="-device ib700", within_a_second=True),
    Row("the TCO watchdog with its strap set", """
        > cont : RESUME R
        $ done
        quiet 4
        = running
        """, does="tco 2"),
    Row("i6300esb without reboot enabled", """
        > cont : RESUME R
        $ done
        quiet 1
        = running
        """, does="esbmute 100 100", args="-device i6300esb"),
]
