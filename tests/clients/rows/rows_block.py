"""Rows about disks and ports: I/O errors and what the policy makes of them, votes of a quorum, ports.

The guest reads and writes single sectors, by IDE's ports or a virtio queue.
"""
from rowtest import Row


def broken(*rules, image="file,file.image.filename=DIR/disk"):
    """A node d0 whose requests fail by these rules of blkdebug, in its key=value text."""
    text = "".join(f",file.{rule}" for rule in rules)
    return f"-blockdev raw,node-name=d0,file.driver=blkdebug,file.image.driver={image}{text}"


def once(event, errno=5, n=0):
    """One request fails, of sector 8 where it has one: QEMU's firmware reads the first sectors."""
    rule = f"inject-error.{n}"
    sector = "" if event == "flush_to_disk" else f",file.{rule}.sector=8"
    return f"{rule}.event={event},file.{rule}.errno={errno},file.{rule}.once=on{sector}"


def always(event, errno=5):
    return f"inject-error.0.event={event},file.inject-error.0.errno={errno}"


def error(operation, action, nospace=False, reason="Input/output error", device="", node="d0"):
    tracked = "" if nospace is None else f', "nospace": {str(nospace).lower()}'
    return (f'BLOCK_IO_ERROR{{"device": "{device}", "node-name": "{node}", "operation": "{operation}", '
            f'"action": "{action}"{tracked}, "reason": "{reason}"}}')


FULL = "No space left on device"
DISKS = {
    "blk": ("", "-device virtio-blk-pci,drive=d0"),
    "ata": ("-machine pc", "-device ide-hd,bus=ide.0,drive=d0"),
}
DISK = {"disk": 1 << 20}
ROWS = []
for word, (board, device) in DISKS.items():
    for op in "write", "read", "flush":
        event = {"write": "write_aio", "read": "read_aio", "flush": "flush_to_disk"}[op]
        policy = "rerror=stop" if op == "read" else "werror=stop"
        said = "read" if op == "read" else "write"
        ROWS.append(Row(f"io-error: {word} {op}, cont does it again", f"""
            > cont : RESUME R
            $ write ok
            type x
            < {error(said, "stop")} STOP
            = io-error
            > stop : R
            = io-error
            > cont : RESUME R
            $ {op} ok
            = running
            """, kernel="disk", does=f"{word} write 0 wait {word} {op} 8", files=DISK,
                        args=f"{board} {broken(once(event))} {device},{policy}"))
    ROWS += [
        Row(f"io-error: {word}, the error lasts", f"""
            > cont : RESUME R
            $ ready
            type x
            < {error("write", "stop")} STOP
            = io-error
            >~ cont : RESUME {error("write", "stop")} STOP
            = io-error
            >~ cont : RESUME {error("write", "stop")} STOP
            = io-error
            """, kernel="disk", does=f"wait {word} write 8", files=DISK,
            args=f"{board} {broken(always('write_aio'))} {device},werror=stop"),
        Row(f"io-error: {word}, reset", f"""
            > cont : RESUME R
            $ ready
            type x
            < {error("write", "stop")} STOP
            = io-error
            > system_reset : RESET:host-qmp-system-reset R
            = prelaunch
            > cont : RESUME R
            $ ready
            type x
            $ write ok
            = running
            """, kernel="disk", does=f"wait {word} write 8", files=DISK,
            args=f"{board} {broken(once('write_aio'))} {device},werror=stop"),
        Row(f"{word}: an error by the policy report", f"""
            > cont : RESUME R
            $ ready
            type x
            < {error("write", "report", None)} {error("read", "report", None)}
            $ write error
            $ read error
            = running
            """, kernel="disk", does=f"wait {word} write 8 {word} read 8", files=DISK,
            args=f"{board} {broken(always('write_aio'), once('read_aio', n=1))} "
                 f"{device},werror=report,rerror=report"),
        Row(f"{word}: an error by the policy ignore", f"""
            > cont : RESUME R
            $ ready
            type x
            < {error("write", "ignore", None)} {error("read", "ignore", None)}
            $ write ok
            $ read ok
            = running
            """, kernel="disk", does=f"wait {word} write 8 {word} read 8", files=DISK,
            args=f"{board} {broken(always('write_aio'), once('read_aio', n=1))} "
                 f"{device},werror=ignore,rerror=ignore"),
        Row(f"{word}: by default no space stops the machine, other errors are the guest's", f"""
            > cont : RESUME R
            $ ready
            type x
            < {error("write", "stop", True, FULL)} STOP
            = io-error
            > cont : RESUME R
            $ write ok
            type x
            < {error("read", "report")}
            $ read error
            = running
            """, kernel="disk", does=f"wait {word} write 8 wait {word} read 8", files=DISK,
            args=f"{board} {broken(once('write_aio', 28), once('read_aio', n=1))} {device}"),
    ]
ROWS += [
    Row("io-error: the host's file system is full", f"""
        > cont : RESUME R
        $ ready
        type x
        < {error("write", "stop", True, FULL)} STOP
        = io-error
        grow 4m
        > cont : RESUME R
        $ done
        = running
        """, kernel="disk", does="wait blk write 8 blk write 16 blk write 24 blk write 32 blk write 40",
        tmpfs="16k", files={"small/disk": 1 << 20},
        args="-blockdev raw,node-name=d0,file.driver=file,file.filename=DIR/small/disk "
             "-device virtio-blk-pci,drive=d0"),
]
for word, board, interface, device in (("blk", "", "none", "-device virtio-blk-pci,drive=hd"),
                                       ("ata", "-machine pc", "ide", "")):
    ROWS.append(Row(f"io-error: {word}, the policy and the name of a drive", f"""
        > cont : RESUME R
        $ ready
        type x
        < {error("write", "stop", device="hd", node="n0")} STOP
        = io-error
        > cont : RESUME R
        $ write ok
        """, kernel="disk", does=f"wait {word} write 8", files=DISK,
                    args=f"{board} -drive if={interface},id=hd,node-name=n0,driver=raw,file.driver=blkdebug,"
                         "file.image.driver=file,file.image.filename=DIR/disk,"
                         f"file.{once('write_aio')},werror=stop {device}"))

# ---- quorum

CHILDREN = {f"c{n}": 64 << 10 for n in range(3)}
QUORUM = (" ".join(f"-blockdev raw,node-name=c{n},file.driver=file,file.filename=DIR/c{n}" for n in range(3))
          + " -blockdev quorum,node-name=d0,vote-threshold=2,children.0=c0,children.1=c1,children.2=c2"
          " -device virtio-blk-pci,drive=d0")
BAD = 'QUORUM_REPORT_BAD{{"type": "read", "node-name": "{}", "sector-num": 8, "sectors-count": 1}}'
ROWS += [
    Row("quorum: one copy differs", f"""
        > cont : RESUME R
        $ write ok
        poke c1 4096 BBBB
        type x
        < {BAD.format("c1")}
        $ read ok
        """, kernel="disk", does="blk write 8 wait blk read 8", files=CHILDREN, args=QUORUM),
    Row("quorum: each child has a limit of its own", f"""
        > cont : RESUME R
        $ write ok
        poke c1 4096 BBBB
        type x
        < {BAD.format("c1")}
        $ read ok
        poke c1 4096 AAAA
        poke c2 4096 BBBB
        type x
        < {BAD.format("c2")}
        $ read ok
        type x
        < {BAD.format("c2")}
        """, kernel="disk", does="blk write 8 wait blk read 8 wait blk read 8 wait blk read 8",
        files=CHILDREN, args=QUORUM),
    Row("quorum: no majority", f"""
        > cont : RESUME R
        $ write ok
        poke c1 4096 BBBB
        poke c2 4096 CCCC
        type x
        < QUORUM_FAILURE{{"reference": "d0", "sector-num": 8, "sectors-count": 1}} {error("read", "report")}
        $ read error
        = running
        """, kernel="disk", does="blk write 8 wait blk read 8", files=CHILDREN, args=QUORUM),
    Row("quorum: no majority, the machine waits for a repair", f"""
        > cont : RESUME R
        $ write ok
        poke c1 4096 BBBB
        poke c2 4096 CCCC
        type x
        < QUORUM_FAILURE{{"reference": "d0", "sector-num": 8, "sectors-count": 1}} {error("read", "stop")} STOP
        = io-error
        poke c2 4096 AAAA
        >~ cont : RESUME {BAD.format("c1")}
        $ read ok
        """, kernel="disk", does="blk write 8 wait blk read 8", files=CHILDREN, args=QUORUM + ",rerror=stop"),
]
for op, event, data in (("write", "write_aio", '"sector-num": 8, "sectors-count": 1'),
                        ("flush", "flush_to_disk", '"sector-num": 0, "sectors-count": 0'),
                        ("read", "read_aio", '"sector-num": 8, "sectors-count": 1')):
    ROWS.append(Row(f"quorum: a child fails to {op}", f"""
        > cont : RESUME R
        $ write ok
        type x
        < QUORUM_REPORT_BAD{{"type": "{op}", "error": "Input/output error", "node-name": "c1", {data}}}
        $ {op} ok
        = running
        """, kernel="disk", does=f"blk write 0 wait blk {op} 8", files=CHILDREN,
                    args=QUORUM.replace("raw,node-name=c1,file.driver=file,file.filename=DIR/c1",
                                        "raw,node-name=c1,file.driver=blkdebug,file.image.driver=file,"
                                        f"file.image.filename=DIR/c1,file.{once(event)}")))

# ---- ports

PORT = "-chardev null,id=c -device virtio-serial-pci -device virtserialport,chardev=c,nr=1,id=channel0"
OPEN, CLOSED = ('VSERPORT_CHANGE{"id": "channel0", "open": %s}' % word for word in ("true", "false"))
ROWS += [
    Row("a port is opened and closed", f"""
        > cont : RESUME R
        $ ready
        type x
        < {OPEN}
        $ open ok
        quiet 1.3
        type x
        < {CLOSED}
        $ close ok
        """, kernel="disk", does="wait open 1 wait close 1", args=PORT),
    Row("a port's changes within a second: the first and the last", f"""
        > cont : RESUME R
        $ done
        < {OPEN} {CLOSED}
        """, kernel="disk", does="open 1 close 1 open 1 close 1", args=PORT, within_a_second=True),
    Row("an open port is closed by a reset", f"""
        > cont : RESUME R
        < {OPEN}
        quiet 1.3
        $ open ok
        > system_reset : {CLOSED} RESET:host-qmp-system-reset R
        """, kernel="disk", does="open 1 wait", args=PORT),
    Row("ports have limits of their own", f"""
        > cont : RESUME R
        < {OPEN} {OPEN.replace("channel0", "channel1")}
        $ done
        """, kernel="disk", does="open 1 open 2",
        args=PORT + " -chardev null,id=d -device virtserialport,chardev=d,nr=2,id=channel1"),
]
