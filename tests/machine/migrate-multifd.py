#!/usr/bin/env python3
"""Memory that goes over several connections at a time (capability multifd): plain and compressed, and
what becomes of the guest when any of the connections breaks, hangs or lies."""
import contextlib
import os
import signal
import socket
import struct
import threading
import time
import unittest
import zlib

from migrate import LIMIT, Migrating

HEADER, CHECK = 12, 4
ID = 16


def crc32c(data):
    table = []
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ (0x82f63b78 if n & 1 else 0)
        table.append(n)
    crc = 0xffffffff
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xff]
    return crc ^ 0xffffffff


def record(kind, payload, version=1):
    head = kind.encode() + struct.pack("<HHI", version, 0, len(payload)) + payload
    return head + struct.pack("<I", crc32c(head))


class Relay(threading.Thread):
    """Between two Unix sockets, for any number of connections. cut: of connection `which`, after so many
    bytes all of it is closed; flip: the byte in which a bit is turned over. What each brought is kept."""

    def __init__(self, listen, connect, which=None, cut=None, flip=None):
        super().__init__(daemon=True)
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(listen)
        self.server.listen(16)
        self.connect_to = connect
        self.which, self.cut, self.flip = which, cut, flip
        self.over = False
        self.streams, self.socks, self.threads = [], [], []
        self.start()

    def run(self):
        while True:
            try:
                source, _ = self.server.accept()
            except OSError:
                return
            target = socket.socket(socket.AF_UNIX)
            end = time.monotonic() + LIMIT
            while target.connect_ex(self.connect_to):
                if time.monotonic() > end or self.over:
                    source.close()
                    target.close()
                    return
                time.sleep(0.01)
            self.streams.append(bytearray())
            self.socks += [source, target]
            for a, b, number in ((source, target, len(self.streams) - 1), (target, source, None)):
                self.threads.append(threading.Thread(target=self.forward, args=(a, b, number)))
                self.threads[-1].start()

    def forward(self, a, b, number):
        kept = bytearray() if number is None else self.streams[number]
        ours = number is not None and number == self.which
        while True:
            try:
                data = a.recv(1 << 16)
            except OSError:
                data = b""
            at = len(kept)
            kept += data
            if ours and self.flip is not None and at <= self.flip < at + len(data):
                i = self.flip - at
                data = data[:i] + bytes([data[i] ^ 4]) + data[i + 1:]
            over = ours and self.cut is not None and at + len(data) >= self.cut
            if over:
                data = data[:max(self.cut - at, 0)]
            try:
                b.sendall(data)
                if not data:
                    b.shutdown(socket.SHUT_WR)
            except OSError:
                over = True
            if over:
                self.hang_up(a, b)
            if over or not data:
                return

    def hang_up(self, *socks):
        for sock in socks:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.over = True
        self.hang_up(self.server, *self.socks)
        for thread in [self] + self.threads:
            thread.join(LIMIT)
        for sock in [self.server] + self.socks:
            sock.close()


class Multi(Migrating):
    def setUp(self):
        super().setUp()
        self.number = 0

    def start(self, channels=3, compression="none", **more):
        source = self.side(append="40", ram="8", **more)
        source.expect(r"r2\n")
        source.capabilities(multifd=True, return_path=True)
        source.qmp.command("migrate-set-parameters", **{
            "multifd-channels": channels, "multifd-compression": compression})
        return source

    def target(self, uri=None, multifd=True, ram="8"):
        self.number += 1
        to = self.side("-incoming", "defer", append="40", ram=ram)
        to.capabilities(multifd=multifd)
        to.qmp.command("migrate-incoming", uri=uri or f"unix:{self.path(f'd{self.number}')}")
        return to

    def attempt(self, source, **relay):
        to = self.target()
        between = Relay(self.path(f"s{self.number}"), self.path(f"d{self.number}"), **relay)
        self.addCleanup(between.close)
        source.qmp.command("migrate", uri=f"unix:{self.path(f's{self.number}')}")
        return to, between

    def ended(self, side):
        end = time.monotonic() + LIMIT
        while (info := side.ask("query-migrate")).get("status") not in ("completed", "failed",
                                                                        "cancelled"):
            self.assertLess(time.monotonic(), end, info)
            time.sleep(0.01)
        return info

    def stays(self, source, to, text=b""):
        info = self.ended(source)
        self.assertEqual(info["status"], "failed")
        self.assertEqual(to.wait(), 1)
        self.assertIn(b"load of migration failed", to.errors)
        self.assertIn(text, to.errors)
        self.assertEqual(source.status(), "running")
        to.close()


class Goes(Multi):
    def test_unix(self):
        for compression in ("none", "zlib", "zstd"):
            for answers in (True, False):
                for channels in (1, 4):
                    with self.subTest(compression=compression, answers=answers, channels=channels):
                        source = self.start(channels, compression)
                        source.capabilities(return_path=answers)
                        to = self.target()
                        source.qmp.command("migrate", uri=f"unix:{self.path(f'd{self.number}')}")
                        ram = source.until_migrated()["ram"]
                        self.assertGreater(ram["multifd-bytes"], 1000)
                        self.assertGreater(ram["transferred"], ram["multifd-bytes"])
                        self.assertGreater(ram["normal"], 40)
                        self.assertGreater(ram["duplicate"], 1000)
                        if compression != "none":
                            self.assertLess(ram["transferred"], ram["normal-bytes"])
                        self.finish(source, to)

    def test_tcp(self):
        source = self.start(2, "zstd")
        to = self.target(uri="tcp:127.0.0.1:0")
        at = to.ask("query-migrate")["socket-address"][0]
        source.qmp.command("migrate", uri=f"tcp:127.0.0.1:{at['port']}")
        source.until_migrated()
        self.finish(source, to)

    def test_slowly(self):
        """max-bandwidth holds for all together; what is cancelled ends at once."""
        source = self.start(4)
        to = self.target()
        source.qmp.command("migrate-set-parameters", **{"max-bandwidth": 20000})
        source.qmp.command("migrate", uri=f"unix:{self.path(f'd{self.number}')}")
        end = time.monotonic() + LIMIT
        while source.ask("query-migrate").get("ram", {}).get("multifd-bytes", 0) < 20000:
            self.assertLess(time.monotonic(), end)
            time.sleep(0.01)
        info = source.ask("query-migrate")
        self.assertLess(info["ram"]["transferred"],
                        20000 * (info["total-time"] / 1000 + 1) + 5 * 4096 + 16384)
        source.qmp.command("migrate_cancel")
        self.assertEqual(self.ended(source)["status"], "cancelled")
        self.assertEqual(to.wait(), 1)
        self.finish(source)

    def test_again(self):
        """Back and forth, while it writes."""
        here = self.start(2, "zstd", cpus=1)
        sides = [here]
        for turn in range(6):
            to = self.target()
            here.capabilities(multifd=True, return_path=True)
            here.qmp.command("migrate-set-parameters", **{
                "multifd-channels": turn % 3 + 1, "multifd-compression": ("zstd", "none", "zlib")[turn % 3]})
            here.qmp.command("migrate", uri=f"unix:{self.path(f'd{self.number}')}")
            here.until_migrated()
            to.until_status("running")
            to.expect(r"r\d+\n")
            sides.append(to)
            here = to
        self.finish(*sides)

    def test_refused(self):
        source = self.start()
        for uri in ("exec:cat >/dev/null", f"file:{self.path('f')}"):
            self.assertEqual(source.ask("migrate", uri=uri)["desc"],
                             "multifd is not supported by current protocol")
        for name, value, text in (("channels", 0, "1 and 255"), ("zlib-level", 10, "0 and 9"),
                                  ("zstd-level", 21, "0 and 20")):
            self.assertEqual(
                source.ask("migrate-set-parameters", **{"multifd-" + name: value})["desc"],
                f"Parameter 'multifd_{name.replace('-', '_')}' expects a value between {text}")
        self.assertIn("lzo", source.ask("migrate-set-parameters",
                                        **{"multifd-compression": "lzo"})["desc"])
        to = self.target(multifd=False)
        source.qmp.command("migrate", uri=f"unix:{self.path(f'd{self.number}')}")
        self.stays(source, to, b"the capability 'multifd' is off here")
        to = self.target(ram="16")
        source.qmp.command("migrate", uri=f"unix:{self.path(f'd{self.number}')}")
        self.stays(source, to, b"8388608 bytes in the stream, 16777216 in this machine")
        source.capabilities(multifd=False)
        to = self.target()  # one that would take more connections
        source.qmp.command("migrate", uri=f"unix:{self.path(f'd{self.number}')}")
        source.until_migrated()
        self.finish(source, to)


    def test_many(self):
        """More connections at once than anybody waits for."""
        source = self.start(255)
        to = self.target()
        source.qmp.command("migrate", uri=f"unix:{self.path('d1')}")
        source.until_migrated()
        self.finish(source, to)


    def test_nothing_left(self):
        """Threads and connections end with the migration, on both sides."""
        source = self.start()
        before = self.held(source)
        source.qmp.command("migrate-set-parameters", **{"max-bandwidth": 10000})
        to, between = self.attempt(source)
        self.until(lambda: source.ask("query-migrate").get("status") == "active")
        source.qmp.command("migrate_cancel")
        self.assertEqual(self.ended(source)["status"], "cancelled")
        self.until(lambda: self.held(source) == before)
        source.qmp.command("migrate-set-parameters", **{"max-bandwidth": 0})
        to = self.target()
        before_to = self.held(to) - 1  # a socket that listens
        source.qmp.command("migrate", uri=f"unix:{self.path(f'd{self.number}')}")
        source.until_migrated()
        self.until(lambda: (self.held(source), self.held(to)) == (before, before_to))
        self.finish(source, to)

    def held(self, side):
        """How many sockets, and threads for them."""
        proc = f"/proc/{side.process.pid}"
        n = 0
        for name in os.listdir(f"{proc}/fd"):
            with contextlib.suppress(FileNotFoundError):
                n += os.readlink(f"{proc}/fd/{name}").startswith("socket:")
        for name in os.listdir(f"{proc}/task"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                with open(f"{proc}/task/{name}/comm", encoding="ascii") as comm:
                    n += comm.read() == "multifd\n"
        return n

    def until(self, done):
        end = time.monotonic() + LIMIT
        while not done():
            self.assertLess(time.monotonic(), end)
            time.sleep(0.01)


class Breaks(Multi):
    def test_cut(self):
        """Each of the connections, at places that it has whoever sends how much."""
        source = self.start()
        for which in range(4):
            for cut in (0, 5, HEADER, 36, 40, 75, 100):
                with self.subTest(which=which, cut=cut):
                    to, between = self.attempt(source, which=which, cut=cut)
                    self.stays(source, to)
        self.finish(source)

    def test_flip(self):
        for compression in ("none", "zlib", "zstd"):
            source = self.start(compression=compression)
            for which in range(1, 4):
                for flip in (2, 4, 9, 20, 33, 37, 41):
                    with self.subTest(compression=compression, which=which, flip=flip):
                        to, between = self.attempt(source, which=which, flip=flip)
                        self.stays(source, to, b"stream:")
            self.finish(source)

    def test_hangs(self):
        source = self.start()
        to, between = self.attempt(source)
        to.process.send_signal(signal.SIGSTOP)
        source.qmp.command("migrate_cancel")
        status = self.ended(source)["status"]
        to.process.send_signal(signal.SIGCONT)
        self.assertIn(status, ("cancelled", "completed"))
        if status == "cancelled":
            self.assertEqual((to.wait(), source.status()), (1, "running"))
            self.finish(source)
        else:
            self.finish(source, to)

    def test_destination_quits(self):
        """While connections are missing."""
        source = self.start()
        source.qmp.command("migrate-set-parameters", **{"max-bandwidth": 20000})
        to, between = self.attempt(source)
        to.until_status("inmigrate")
        to.qmp.command("quit")
        self.assertEqual(to.wait(), 0)
        between.over = True  # it may still be looking for the one that is gone
        self.assertEqual(self.ended(source)["status"], "failed")
        source.qmp.command("migrate-set-parameters", **{"max-bandwidth": 0})
        self.finish(source)

    def recorded(self):
        """The first channel of a migration that went well, to begin others with, and a piece of memory."""
        source = self.start(2)
        to, between = self.attempt(source)
        source.until_migrated()
        self.finish(source, to)
        first, at = bytes(between.streams[0]), 0
        for _ in ("gdwt", "desc"):
            at += HEADER + struct.unpack_from("<I", first, at + 8)[0] + CHECK
        return first[:at], first[HEADER + 8:HEADER + 8 + ID]

    def test_lies(self):
        head, ident = self.recorded()
        chan = lambda n, i=ident: record("chan", i + struct.pack("<I", n))
        zeroes = struct.pack("<IIQII", 0, 1, 0, 1, 0)
        pages = lambda kind, n, data: struct.pack("<IIQII", 0, 1, 0, n, kind) + data
        small = lambda n, data: record("ramd", struct.pack("<I", n) + data)
        for text, one, two in (
                (b"channel of another migration", chan(0, bytes(ID)), b""),
                (b"channel 2 of 2", chan(2), b""),
                (b"or that comes twice", chan(1), chan(1)),
                (b"begins with record 'ram '", record("ram ", zeroes), b""),
                (b"'mach' on a channel for memory", chan(0) + record("mach", b""), b""),
                (b"pass 2 after 0", chan(0) + record("sync", struct.pack("<Q", 2)), b""),
                (b"'sync' of a wrong size", chan(0) + record("sync", b"1234"), b""),
                (b"expands to more", chan(0) + record("ramz", b"\xff\xff\xff\x7f1234"), b""),
                (b"does not expand", chan(0) + record("ramz", struct.pack("<I", 24) + b"rubbish"), b""),
                (b"expands to more", chan(0) + record("ramd", b"\xff\xff\xff\x7f1234"), b""),
                (b"does not expand: data error", chan(0) + small(24, b"rubbish"), b""),
                (b"it is of another length", chan(0) + small(24, zlib.compress(bytes(25))), b""),
                (b"it is of another length", chan(0) + small(24, zlib.compress(bytes(23))), b""),
                (b"it is of another length", chan(0) + small(24, zlib.compress(zeroes) + b"x"), b""),
                (b"it is of another length", chan(0) + small(24, zlib.compress(zeroes)[:-1]), b""),
                (b"within record 'ram '", chan(0) + record("ram ", zeroes)[:30], None),
                (b"'ram ' is damaged", chan(0) + record("ram ", zeroes)[:-1] + b"?", b""),
                (b"version 7", chan(0) + small(24, zlib.compress(zeroes)) + record("ramd", b"", 7), b""),
                (b"it has 2048", chan(0) + record("ram ", struct.pack("<IIQII", 0, 1, 2048, 1, 0)), b""),
                (b"version 3", chan(0) + record("ram ", zeroes, 3), b""),
                (b"no pages of kind 3", chan(0) + record("ram ", pages(3, 1, b""), 2), b""),
                (b"no pages of kind 2", chan(0) + record("ram ", pages(2, 1, bytes(128)), 1), b""),
                (b"lacks pages", chan(0) + record("ram ", pages(2, 2, bytes(255)), 2), b""),
                (b"lacks pages", chan(0) + record("ram ", pages(2, 1, b"\1" + bytes(130)), 2), b""),
                (b"or out of order", chan(0) + record("ram ", struct.pack("<IIQIIQII", 0, 2, 3, 2, 0, 4, 1, 0)), b""),
                (b"1 bytes too many", chan(0) + record("ram ", pages(2, 2, bytes(257)), 2), b""),
                (b"should have 7 records", chan(0) + record("fin ", struct.pack("<QI", 7, 0)), b"")):
            with self.subTest(text=text):
                to = self.target()
                socks = [socket.socket(socket.AF_UNIX) for _ in range(3)]
                for sock in socks:  # all of them before the first lie, at which it may end
                    sock.connect(self.path(f"d{self.number}"))
                for sock, data in zip(socks, (head, one, two)):
                    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                        sock.sendall(data or b"")
                if two is None:  # the other ends where it is
                    socks[1].shutdown(socket.SHUT_WR)
                self.assertEqual(to.wait(), 1)
                self.assertIn(text, to.errors)
                for sock in socks:
                    sock.close()
                to.close()

    def test_source_goes(self):
        """Before all of its connections are there."""
        head, ident = self.recorded()
        # Something unread may mean that the others are late: that is waited for, but not for ever.
        for connected, more in ((1, b""), (2, b""), (1, record("sync", struct.pack("<Q", 1)))):
            to = self.target()
            socks = [socket.socket(socket.AF_UNIX) for _ in range(connected)]
            for sock in socks:
                sock.connect(self.path(f"d{self.number}"))
            socks[0].sendall(head + more)
            to.until_status("inmigrate")
            socks[0].shutdown(socket.SHUT_WR)
            self.assertEqual(to.wait(), 1)
            self.assertIn(b"the source is gone before all its channels were there", to.errors)
            for sock in socks:
                sock.close()
            to.close()


if __name__ == "__main__":
    unittest.main(verbosity=2)
