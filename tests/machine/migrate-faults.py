#!/usr/bin/env python3
"""Migrations that go wrong: the channel is cut at every kind of boundary, bits are flipped, the other
side dies or hangs, storage is full, machines differ, disks are somebody else's. The guest must be intact
on exactly one side; never on both."""
import fcntl
import os
import signal
import socket
import struct
import threading
import time
import unittest

from migrate import LIMIT, Migrating, Side

HEADER, CHECK = 12, 4
OFD_GETLK = 36


class Relay(threading.Thread):
    """Between two Unix sockets. to_cut: bytes of the stream after which it is cut; flip: the byte in which
    it turns a bit over; answers_cut, answers_flip: the same for what comes back. What went through is
    kept."""

    def __init__(self, listen, connect, cut=None, flip=None, answers_cut=None, answers_flip=None):
        super().__init__(daemon=True)
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(listen)
        self.server.listen(1)
        self.connect_to = connect
        self.cut, self.answers_cut = cut, answers_cut
        self.flip = {"stream": flip, "answers": answers_flip}
        self.stream = self.answers = b""
        self.start()

    def run(self):
        self.source, _ = self.server.accept()
        self.target = socket.socket(socket.AF_UNIX)
        end = time.monotonic() + LIMIT
        while True:
            try:
                self.target.connect(self.connect_to)
                break
            except (FileNotFoundError, ConnectionRefusedError):
                if time.monotonic() > end:
                    raise
                time.sleep(0.01)
        back = threading.Thread(target=self.answer, daemon=True)
        back.start()
        self.forward(self.source, self.target, "stream", self.cut)
        back.join(LIMIT)
        self.close()
        for sock in (self.source, self.target, self.server):
            sock.close()

    def answer(self):
        self.forward(self.target, self.source, "answers", self.answers_cut)

    def forward(self, a, b, name, cut):
        while True:
            try:
                data = a.recv(1 << 16)
            except OSError:
                data = b""
            at = len(getattr(self, name))
            data = data if cut is None else data[:cut - at]
            if self.flip[name] is not None and 0 <= self.flip[name] - at < len(data):
                i = self.flip[name] - at
                data = data[:i] + bytes([data[i] ^ 1 << self.flip[name] % 8]) + data[i + 1:]
            try:
                b.sendall(data)
            except OSError:
                data = b""
            setattr(self, name, getattr(self, name) + data)
            if not data or (cut is not None and at + len(data) >= cut):
                if cut is not None and at + len(data) >= cut:
                    self.close()
                    return
                try:
                    b.shutdown(socket.SHUT_WR)
                except OSError:
                    pass
                return

    def close(self):
        for sock in (self.source, self.target):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def records(stream):
    """Of each kind of record the last one: where it begins and ends."""
    found, at = {}, 0
    while at < len(stream):
        kind = stream[at:at + 4].decode()
        end = at + HEADER + struct.unpack_from("<I", stream, at + 8)[0] + CHECK
        found[kind] = (at, end)
        at = end
    assert at == len(stream), (at, len(stream))
    return found


def locked(path):
    """Whether somebody holds locks of an image."""
    with open(path, "r+b") as file:
        for byte in range(100, 212):
            lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
            if struct.unpack("hhqqi4x", fcntl.fcntl(file, OFD_GETLK, lock))[0] != fcntl.F_UNLCK:
                return True
    return False


class Faults(Migrating):
    ANSWERS = True

    def setUp(self):
        super().setUp()
        self.image = self.path("disk.raw")
        with open(self.image, "wb") as file:
            file.truncate(1 << 20)
        self.disk = ("-blockdev", f"driver=file,filename={self.image},node-name=d0",
                     "-device", "virtio-blk-pci,drive=d0")
        self.number = 0

    def start(self):
        source = self.side(*self.disk, append="40", ram="8")
        source.expect(r"r2\n")
        source.capabilities(return_path=self.ANSWERS)
        source.qmp.command("migrate-set-parameters", max_bandwidth=1 << 33)
        return source

    def attempt(self, source, **relay):
        """Starts a destination and a migration to it through a relay."""
        self.number += 1
        to = self.side("-incoming", f"unix:{self.path(f'd{self.number}')}", *self.disk, append="40",
                       ram="8", connect=False)
        between = Relay(self.path(f"s{self.number}"), self.path(f"d{self.number}"), **relay)
        source.qmp.command("migrate", uri=f"unix:{self.path(f's{self.number}')}")
        return to, between

    def ended(self, side):
        end = time.monotonic() + LIMIT
        while True:
            info = side.ask("query-migrate")
            if info.get("status") in ("completed", "failed", "cancelled"):
                return info
            self.assertLess(time.monotonic(), end, info)
            time.sleep(0.01)

    def stays(self, source, to):
        """The source has kept the guest and its disk, and the destination is gone."""
        info = self.ended(source)
        self.assertEqual(info["status"], "failed")
        self.assertIn("error-desc", info)
        self.assertEqual(to.wait(), 1)
        self.assertIn(b"load of migration failed", to.errors)
        self.assertEqual(source.status(), "running")
        self.assertTrue(locked(self.image))
        source.expect(r"r\d+\nr\d+\n")
        self.check_rounds(source)
        to.close()

    def measure(self):
        """How a stream is made up."""
        source = self.start()
        to, relay = self.attempt(source)
        source.until_migrated()
        self.finish(source, to)
        relay.join(LIMIT)
        return records(relay.stream), relay

    def test_cut(self):
        found, relay = self.measure()
        source = self.start()
        # The stream's head is the same in all; of what follows see test_cut_by_record.
        for kind in ("gdwt", "desc"):
            start, end = found[kind]
            for at in (start, start + 1, start + HEADER, (start + end) // 2, end - 1, end):
                with self.subTest(kind=kind, at=at - start):
                    to, between = self.attempt(source, cut=at)
                    self.stays(source, to)
        self.finish(source)

    def test_cut_by_record(self):
        """Cut within and after records whose place is known only when they come."""
        source = self.start()
        for kind in ("ram ", "mach", "vcpu", "devs", "ask "):
            for inside in (0, 5, HEADER, HEADER + 3, None):
                with self.subTest(kind=kind, inside=inside):
                    to, between = self.attempt_at(source, kind, inside)
                    self.stays(source, to)
        self.finish(source)

    def test_end_lost(self):
        """The very last record does not come: the source has let go, and can't know. Nobody runs the
        guest until somebody has the source go on."""
        source = self.start()
        for inside in (0, 5, HEADER + 3):
            to, between = self.attempt_at(source, "fin ", inside)
            info = self.ended(source)
            self.assertEqual((info["status"], source.status()), ("failed", "postmigrate"))
            self.assertIn("is not known", info["error-desc"])
            self.assertEqual(to.wait(), 1)
            self.assertFalse(locked(self.image))
            self.assertEqual(source.ask("cont"), {})
            self.assertTrue(locked(self.image))
            source.expect(r"r\d+\nr\d+\n")
        self.finish(source)

    def attempt_at(self, source, kind, inside, flip=False):
        """As attempt(), with a relay that looks at the records."""
        self.number += 1
        to = self.side("-incoming", f"unix:{self.path(f'd{self.number}')}", *self.disk, append="40",
                       ram="8", connect=False)
        between = RecordRelay(self.path(f"s{self.number}"), self.path(f"d{self.number}"), kind, inside,
                              flip)
        source.qmp.command("migrate", uri=f"unix:{self.path(f's{self.number}')}")
        return to, between

    def test_flip(self):
        """No bit is turned over unnoticed."""
        source = self.start()
        for kind in ("gdwt", "desc", "ram ", "mach", "vcpu", "devs", "ask ", "fin "):
            for inside in (2, 4, 9, HEADER, -1):
                with self.subTest(kind=kind, inside=inside):
                    to, between = self.attempt_at(source, kind, inside, flip=True)
                    self.stays(source, to)
        self.finish(source)

    def test_answers_lost(self):
        """The first answer is lost: the source goes on. The second: the guest is there, and the source
        does not run it."""
        source = self.start()
        for cut in (1, 8, 15):
            to, between = self.attempt(source, answers_cut=cut)
            self.stays(source, to)
        for flip in (2, 10):  # of a length, too: what does not come is not waited for
            to, between = self.attempt(source, answers_flip=flip)
            self.stays(source, to)
        to, between = self.attempt(source, answers_cut=HEADER + CHECK + 1)
        info = self.ended(source)
        self.assertEqual(info["status"], "failed")
        self.assertIn("is not known", info["error-desc"])
        self.assertEqual(source.status(), "postmigrate")
        to.expect(r"r\d+\nr\d+\n")
        self.assertIn("lock", source.ask("cont")["desc"])
        self.assertEqual(source.status(), "postmigrate")
        self.finish(source, to)

    def test_killed(self):
        source = self.start()
        source.qmp.command("migrate-set-parameters", max_bandwidth=65536,
                           downtime_limit=0)  # or it is all there before
        to, between = self.attempt(source)
        while len(between.stream) < 30000:
            time.sleep(0.01)
        to.process.kill()
        self.assertEqual(self.ended(source)["status"], "failed")
        self.assertEqual(source.status(), "running")
        self.assertTrue(locked(self.image))
        self.finish(source)

    def test_killed_between(self):
        """A source that may send next to nothing sees it without sending."""
        source = self.start()
        source.qmp.command("migrate-set-parameters", max_bandwidth=1)
        to = self.side("-incoming", f"unix:{self.path()}", *self.disk, append="40", ram="8")
        source.qmp.command("migrate", uri=f"unix:{self.path()}")
        to.until_migrated("active")
        to.process.kill()
        self.assertEqual(self.ended(source)["status"], "failed")
        self.assertEqual(source.status(), "running")
        self.finish(source)

    def test_hangs(self):
        """A destination that takes nothing more: cancelling does not wait for it."""
        source = self.start()
        to, between = self.attempt(source)
        to.process.send_signal(signal.SIGSTOP)
        time.sleep(0.05)
        source.qmp.command("migrate_cancel")
        status = self.ended(source)["status"]
        to.process.send_signal(signal.SIGCONT)
        if status == "cancelled":
            self.assertEqual(source.status(), "running")
            self.assertEqual(to.wait(), 1)
            self.finish(source)
        else:  # it was done before
            self.finish(source, to)

    def test_full(self):
        source = self.start()
        source.capabilities(return_path=False)
        for uri, text in (("file:/dev/full", "No space left on device"),
                          ("exec:cat >/dev/full", ""),
                          (f"exec:cat >{self.path('s')}; exit 7", "failed with status 7")):
            with self.subTest(uri=uri):
                source.qmp.command("migrate", uri=uri)
                info = self.ended(source)
                self.assertEqual(info["status"], "failed")
                self.assertIn(text, info["error-desc"])
                self.assertEqual(source.status(), "running")
                self.assertTrue(locked(self.image))
        self.finish(source)

    def test_commands_end(self):
        """A command goes with the migration that was cancelled, even one that does not want to, and nobody
        waits for it meanwhile."""
        source = self.start()
        source.capabilities(return_path=False)
        # All of it might fit into the pipe, and the migration wait for the command's end.
        source.qmp.command("migrate-set-parameters", **{"max-bandwidth": 10000})
        for text in ("exec sleep 9876", "trap '' TERM; sleep 9876; sleep 9876"):
            with self.subTest(text=text):
                source.qmp.command("migrate", uri=f"exec:echo $$ >{self.path('pid')}; {text}")
                end = time.monotonic() + LIMIT
                pid = ""
                while not pid.endswith("\n"):
                    self.assertLess(time.monotonic(), end)
                    if os.path.exists(self.path("pid")):
                        with open(self.path("pid")) as file:
                            pid = file.read()
                source.qmp.command("migrate_cancel")
                self.assertEqual(self.ended(source)["status"], "cancelled")
                while os.path.exists(f"/proc/{int(pid)}"):
                    self.assertLess(time.monotonic(), end)
                    self.assertEqual(source.status(), "running")
                os.unlink(self.path("pid"))
        self.finish(source)

    def test_reader_goes(self):
        """Without answers the source is done when the other side has read all. One that goes earlier,
        even with the last bytes in its buffer, has not got the guest."""
        source = self.start()
        source.capabilities(return_path=False)
        cases = [("exec:true", ""), ("exec:head -c 4000 >/dev/null", "")]
        for kind in ("pipe", "socket", "shut"):
            ours, theirs = os.pipe() if kind == "pipe" else [s.detach() for s in socket.socketpair()]
            self.send_fd(source, theirs, kind)
            cases.append((f"fd:{kind}", ours))
        for uri, ours in cases:
            with self.subTest(uri=uri):
                source.qmp.command("migrate", uri=uri)
                if ours != "":
                    self.read_but_last(source, ours, uri == "fd:shut")
                info = self.ended(source)
                self.assertEqual(info["status"], "failed", info)
                self.assertEqual(source.status(), "running")
                self.assertTrue(locked(self.image))
        self.finish(source)

    def send_fd(self, source, fd, name):
        """The other end goes to the source."""
        socket.send_fds(source.qmp.sock, [b'{"execute": "getfd", "arguments": {"fdname": "%s"}}' % name.encode()], [fd])
        self.assertEqual(source.qmp.read(), {"return": {}})
        os.close(fd)

    def read_but_last(self, source, fd, shut):
        """Takes records until the last, of which a byte is left. shut: the socket is not closed then."""
        def take(n):
            data = b""
            while len(data) < n:
                piece = os.read(fd, n - len(data))
                self.assertTrue(piece, source.errors)
                data += piece
            return data

        while True:
            header = take(HEADER)
            rest = struct.unpack_from("<I", header, 8)[0] + CHECK
            if header[:4] == b"fin ":
                take(rest - 1)
                self.assertIn(source.ask("query-migrate")["status"], ("active", "device"))
                if shut:
                    self.shut = socket.socket(fileno=fd)
                    self.addCleanup(self.shut.close)
                    self.shut.shutdown(socket.SHUT_RDWR)
                else:
                    os.close(fd)
                return
            take(rest)

    def test_not_done(self):
        """A command that has read all and does not end: who cancels now is told that it is not known
        who has the guest."""
        source = self.start()
        source.capabilities(return_path=False)
        ready = self.path("ready")
        source.qmp.command("migrate", uri=f"exec:cat >/dev/null; : >{ready}; exec sleep 1000")
        self.wait_for(ready)
        self.assertEqual(source.ask("query-migrate")["status"], "active")
        source.qmp.command("migrate_cancel")
        info = self.ended(source)
        self.assertEqual((info["status"], source.status()), ("failed", "postmigrate"))
        self.assertIn("is not known", info["error-desc"])
        self.assertEqual(source.ask("cont"), {})
        self.assertTrue(locked(self.image))
        self.finish(source)

    def test_different(self):
        """The destination is another machine: both sides' values are told."""
        source = self.start()
        for args, more, text in (
                ((), {"ram": "16"}, b"memory 'ram': 8388608 bytes in the stream, 16777216 in this machine"),
                ((), {"cpus": 2}, b"CPUs: 1 in the stream, 2 in this machine"),
                (("-device", "virtio-rng-pci,id=r"), {},
                 b"device '/r': none in the stream, a virtio-rng-pci in this machine")):
            with self.subTest(text=text):
                self.number += 1
                path = self.path(f"d{self.number}")
                to = self.side("-incoming", f"unix:{path}", *self.disk, *args, connect=False,
                               **{"append": "40", "ram": "8", **more})
                self.wait_for(path)
                source.qmp.command("migrate", uri=f"unix:{path}")
                self.stays(source, to)
                self.assertIn(text, to.errors)
        self.finish(source)

    def wait_for(self, path):
        end = time.monotonic() + LIMIT
        while not os.path.exists(path):
            self.assertLess(time.monotonic(), end)
            time.sleep(0.01)

    def test_disk_taken(self):
        """Somebody else locks the image while the guest is on its way: nobody may have it twice."""
        source = self.start()
        source.capabilities(pause_before_switchover=True)
        to, between = self.attempt(source)
        end = time.monotonic() + LIMIT
        while source.ask("query-migrate").get("status") != "pre-switchover":
            self.assertLess(time.monotonic(), end)
            time.sleep(0.01)
        with open(self.image, "r+b") as file:
            lock = struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 201, 1, 0)
            fcntl.fcntl(file, 37, lock)  # F_OFD_SETLK: no other writers
            source.qmp.command("migrate-continue", state="pre-switchover")
            info = self.ended(source)
            self.assertEqual(info["status"], "failed")
            self.assertIn("lock", info["error-desc"])
            self.assertEqual(to.wait(), 1)
            self.assertEqual(source.status(), "paused")
        self.assertEqual(source.ask("cont"), {})
        self.finish(source)


class RecordRelay(Relay):
    """Cuts the stream (or turns a bit over) in the first record of a kind, `inside` bytes after its
    beginning; None: after its end; -1: in its last byte."""

    def __init__(self, listen, connect, kind, inside, flip):
        self.kind, self.inside, self.turn = kind.encode(), inside, flip
        super().__init__(listen, connect)

    def take(self, a, n):
        data = b""
        while len(data) < n:
            piece = a.recv(n - len(data))
            if not piece:
                raise OSError("ended")
            data += piece
        return data

    def forward(self, a, b, name, cut):
        if name == "answers":
            super().forward(a, b, name, cut)
            return
        try:
            while True:
                header = self.take(a, HEADER)
                rest = self.take(a, struct.unpack_from("<I", header, 8)[0] + CHECK)
                record = header + rest
                if header[:4] != self.kind or self.kind == b"done":
                    b.sendall(record)
                    continue
                at = len(record) if self.inside is None else self.inside % len(record)
                if not self.turn:
                    b.sendall(record[:at])
                    break
                b.sendall(record[:at] + bytes([record[at] ^ 4]) + record[at + 1:])
                self.kind = b"done"
        except OSError:
            pass
        self.close()


if __name__ == "__main__":
    unittest.main(verbosity=2)
