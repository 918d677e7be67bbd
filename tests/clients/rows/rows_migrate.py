"""Rows about a guest that goes elsewhere, or comes from there: the run states on the way. (Two machines
are tests/machine/migrate.py's.)"""
from rowtest import Row

AWAY = '{"uri": "exec:cat >/dev/null"}'
EVENTS = ('migrate-set-capabilities {"capabilities": [{"capability": "events", "state": true}, '
          '{"capability": "pause-before-switchover", "state": true}]}')


def status(name):
    return f'MIGRATION{{"status": "{name}"}}'


ROWS = [
    Row("inmigrate: waits for a guest, whatever clients say", """
        = inmigrate
        > cont : R
        = inmigrate
        > stop : R
        = inmigrate
        > system_reset : RESET:host-qmp-system-reset R
        = inmigrate
        > migrate {"uri": "exec:cat >/dev/null"} : !Guest is waiting for an incoming migration
        ? query-migrate => {}
        """, start="-incoming defer", kernel="hello"),
    Row("inmigrate: the first status is told to who has not asked for events, too", f"""
        > migrate-incoming {{"uri": "bogus"}} : {status("setup")} !unknown migration protocol: bogus
        > migrate-incoming {{"uri": "unix:DIR/in"}} : {status("setup")} R
        = inmigrate
        > quit : SHUTDOWN:host-qmp-quit R
        . 0
        """, start="-incoming defer", kernel="hello"),
    Row("finish-migrate, postmigrate: a guest that runs goes into a command", f"""
        > cont : RESUME R
        > {EVENTS} : R
        > migrate {AWAY} : {status("setup")} R
        < MIGRATION_PASS{{"pass": 1}} {status("active")} STOP {status("pre-switchover")}
        = finish-migrate
        > cont : !Migration is not finalized yet
        >~ migrate-continue {{"state": "pre-switchover"}} : {status("device")} MIGRATION_PASS... {status("completed")}
        until postmigrate
        > migrate {AWAY} : !Can't migrate the vm that was paused due to previous migration
        > cont : RESUME R
        = running
        """, kernel="script", does="hang"),
    Row("finish-migrate: cancelled, the guest goes on", f"""
        > cont : RESUME R
        > {EVENTS} : R
        > migrate {AWAY} : {status("setup")} R
        < MIGRATION_PASS{{"pass": 1}} {status("active")} STOP {status("pre-switchover")}
        > migrate_cancel : {status("cancelling")} R
        < RESUME {status("cancelled")}
        = running
        ? query-migrate => {{"status": "cancelled"}}
        """, kernel="script", does="hang"),
    Row("finish-migrate: a reset is carried out at once, and goes with the guest", f"""
        > cont : RESUME R
        > {EVENTS} : R
        > migrate {AWAY} : {status("setup")} R
        < MIGRATION_PASS{{"pass": 1}} {status("active")} STOP {status("pre-switchover")}
        > system_reset : RESET:host-qmp-system-reset R
        = finish-migrate
        > stop : R
        > system_powerdown : POWERDOWN R
        > system_wakeup : !Unable to wake up: guest is not in suspended state
        = finish-migrate
        >~ migrate-continue {{"state": "pre-switchover"}} : {status("device")} MIGRATION_PASS... {status("completed")}
        until postmigrate
        """, kernel="script", does="hang"),
    Row("postmigrate: a guest that stands goes, a reset after it", f"""
        > {EVENTS} : R
        > migrate-set-capabilities {{"capabilities": [{{"capability": "pause-before-switchover", "state": false}}]}} : R
        > migrate {AWAY} : {status("setup")} R
        < MIGRATION_PASS{{"pass": 1}} {status("active")} MIGRATION_PASS... {status("completed")}
        until postmigrate
        > system_reset : RESET:host-qmp-system-reset R
        = prelaunch
        """, kernel="script", does="hang"),
    Row("a migration that fails leaves the guest running", f"""
        > cont : RESUME R
        > {EVENTS} : R
        > migrate {{"uri": "unix:DIR/nobody"}} : {status("setup")} R
        < {status("failed")}
        = running
        """, kernel="script", does="hang"),
]
