"""Rows about dumps of guest memory: what the machine does meanwhile, and what is told of the end."""
from rowtest import Row

PAGE = '"begin": 0, "length": 4096'
DONE = '{"result": {"status": "completed", "completed": 4096, "total": 4096}}'
FULL = "dump: failed to write elf header: No space left on device"
FAILED = '{"result": {"status": "failed", "completed": 0, "total": 4096}, "error": "%s"}' % FULL
BUSY = "!There is a dump in process, please wait."


def dump(more="", to="file:DIR/dump"):
    return 'dump-guest-memory {"paging": false, "protocol": "%s"%s}' % (to, ", " + more if more else "")


ROWS = [
    Row("dump of a machine that stands", f"""
        ? query-dump => {{"status": "none", "completed": 0, "total": 0}}
        > {dump(PAGE)} : DUMP_COMPLETED{DONE} R
        = prelaunch
        ? query-dump => {{"status": "completed", "completed": 4096, "total": 4096}}
        """),
    Row("dump of a machine that runs", f"""
        > cont : RESUME R
        $ ready
        > {dump(PAGE)} : STOP DUMP_COMPLETED{DONE} RESUME R
        = running
        > {dump('"format": "kdump-zlib"')} : STOP DUMP_COMPLETED... RESUME R
        > {dump('"detach": false, "format": "elf"')} : STOP DUMP_COMPLETED... RESUME R
        > dump-guest-memory {{"paging": true, "protocol": "file:DIR/dump"}} : STOP DUMP_COMPLETED... RESUME R
        = running
        """),
    Row("dump that finds no space", f"""
        > {dump(PAGE, "file:/dev/full")} : DUMP_COMPLETED{FAILED} !{FULL}
        = prelaunch
        > cont : RESUME R
        > {dump(PAGE, "file:/dev/full")} : STOP DUMP_COMPLETED{FAILED} RESUME !{FULL}
        = running
        $ ready
        ? query-dump => {{"status": "failed", "completed": 0, "total": 4096}}
        """),
    Row("dump that cannot begin", f"""
        > cont : RESUME R
        > {dump(to="nowhere:x")} : !Invalid parameter 'protocol'
        > {dump(to="file:/no/such/dir")} : !Could not open '/no/such/dir': No such file or directory
        > {dump(to="fd:none")} : !File descriptor named 'none' has not been found
        > {dump('"begin": 0')} : !Parameter 'length' is missing
        > {dump('"length": 0')} : !Parameter 'begin' is missing
        > {dump('"format": "kdump-zlib", ' + PAGE)} : !kdump-compressed format doesn't support paging or filter
        > {dump('"format": "no"')} : !Parameter 'format' does not accept value 'no'
        ? query-dump => {{"status": "none", "completed": 0, "total": 0}}
        > {dump('"begin": 0, "length": 0')} : STOP RESUME !Invalid parameter 'length'
        > {dump('"begin": 1099511627776, "length": 1')} : STOP RESUME !dump: no guest memory to dump
        ? query-dump => {{"status": "failed", "completed": 0, "total": 0}}
        = running
        """),
    Row("dump in the background", f"""
        fifo pipe
        > cont : RESUME R
        $ ready
        > {dump('"detach": true', "file:DIR/pipe")} : STOP R
        = save-vm
        ? query-dump => ...
        > stop : {BUSY}
        > cont : {BUSY}
        > {dump(PAGE)} : {BUSY}
        > system_powerdown : POWERDOWN R
        = save-vm
        drain pipe
        < DUMP_COMPLETED... RESUME
        = running
        > stop : STOP R
        """),
    Row("dump in the background of a machine that stands", f"""
        fifo pipe
        > cont : RESUME R
        $ ready
        > stop : STOP R
        > {dump('"detach": true, "format": "kdump-zlib"', "file:DIR/pipe")} : R
        = paused
        > cont : {BUSY}
        drain pipe
        < DUMP_COMPLETED...
        = paused
        > cont : RESUME R
        """),
    Row("the reader of a dump goes away", f"""
        fifo pipe
        > cont : RESUME R
        $ ready
        > {dump('"detach": true', "file:DIR/pipe")} : STOP R
        = save-vm
        hang pipe
        < DUMP_COMPLETED... RESUME
        = running
        """),
    Row("reset during a dump in the background", f"""
        fifo pipe
        > cont : RESUME R
        $ ready
        > {dump('"detach": true', "file:DIR/pipe")} : STOP R
        > system_reset : R
        = save-vm
        drain pipe
        < DUMP_COMPLETED... RESET:host-qmp-system-reset RESUME
        = running
        $ ready
        """, only="godwit", why_only="QEMU aborts"),
    Row("reset during a dump of a machine that stands", f"""
        fifo pipe
        > cont : RESUME R
        $ ready
        > stop : STOP R
        > {dump('"detach": true', "file:DIR/pipe")} : R
        > system_reset : R
        = paused
        drain pipe
        < DUMP_COMPLETED... RESET:host-qmp-system-reset
        = prelaunch
        > cont : RESUME R
        $ ready
        """, only="godwit", why_only="QEMU resets at once, the dump is of both"),
    Row("quit during a dump in the background", f"""
        fifo pipe
        > cont : RESUME R
        > {dump('"detach": true', "file:DIR/pipe")} : STOP R
        > quit : SHUTDOWN:host-qmp-quit R
        . 0
        """, only="godwit", why_only="QEMU waits for the reader"),
]
