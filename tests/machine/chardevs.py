#!/usr/bin/env python3
"""Character devices by command: chardev-add, -change, -remove, ring buffers, logs, passed descriptors, breaks."""
import array
import json
import os
import shutil
import socket
import tempfile
import time
import unittest

from godwit import TIME_FACTOR, run
from qtest import Door

COM1 = 0x3f8


def backend(kind, **data):
    return {"type": kind, "data": {k.replace("_", "-"): v for k, v in data.items()}}


def unix(path, **more):
    return backend("socket", addr={"type": "unix", "data": {"path": path}}, **more)


class Chardevs(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="godwit-char-")
        self.addCleanup(shutil.rmtree, self.dir)

    def start(self, *args):
        self.door = Door("-nodefaults", *args, qmp=True)
        self.addCleanup(self.door.close)
        self.qmp = self.door.qmp

    def add(self, name, what, command="chardev-add"):
        return self.qmp.command(command, id=name, backend=what)

    def refused(self, name, what, command="chardev-add"):
        error = self.qmp.request(command, id=name, backend=what)["error"]
        self.assertEqual(error["class"], "GenericError")
        return error["desc"]

    def write(self, text):
        for c in text.encode():
            self.door.outb(COM1, c)

    def ring(self, name, size=1000):
        return self.qmp.command("ringbuf-read", device=name, size=size)

    def chardevs(self):
        return {c["label"]: (c["filename"], c["frontend-open"])
                for c in self.qmp.command("query-chardev")}

    def read_char(self):
        """What the guest finds at its serial port."""
        end = time.monotonic() + 20 * TIME_FACTOR
        while not self.door.inb(COM1 + 5) & 1:
            self.assertLess(time.monotonic(), end)
        return self.door.inb(COM1)


class Muxes(Chardevs):
    def test_mux(self):
        self.start("-chardev", "null,id=b")
        mux = {"type": "mux", "data": {"chardev": "b"}}
        self.add("m", mux)
        self.assertEqual(self.refused("m2", mux), "Failed to add chardev 'm2': Device 'b' is in use")
        self.assertEqual(self.refused("m2", {"type": "mux", "data": {"chardev": "x"}}),
                         "Failed to add chardev 'm2': mux: base chardev x not found")
        self.assertEqual(self.refused("b", mux, "chardev-change"), "Mux device hotswap not supported yet")
        self.assertEqual(self.qmp.request("chardev-remove", id="b")["error"]["desc"], "Chardev 'b' is busy")
        self.assertEqual((self.chardevs()["m"], self.chardevs()["b"]), (("mux", False), ("null", False)))
        self.qmp.command("chardev-remove", id="m")
        self.add("m", mux)
        self.add("mm", {"type": "mux", "data": {"chardev": "m"}})  # both are there when the machine ends


class Rings(Chardevs):
    def test_ring(self):
        self.start("-chardev", "ringbuf,id=r,size=16", "-device", "isa-serial,chardev=r")
        self.write("hello world 0123456789")
        self.assertEqual(self.ring("r", 5), "world")
        self.assertEqual(self.qmp.command("ringbuf-read", device="r", size=5, format="base64"),
                         "IDAxMjM=")
        self.assertEqual(self.ring("r", 50), "456789")
        self.assertEqual(self.ring("r"), "")
        self.qmp.command("ringbuf-write", device="r", data="aGVsbG8=", format="base64")
        self.qmp.command("ringbuf-write", device="r", data=", you")
        self.assertEqual(self.ring("r"), "hello, you")

    def test_errors(self):
        self.start("-chardev", "null,id=n")
        for command, arguments, text in (
                ("ringbuf-read", {"device": "n", "size": 1}, "n is not a ringbuf device"),
                ("ringbuf-read", {"device": "q", "size": 1}, "Device 'q' not found"),
                ("ringbuf-write", {"device": "q", "data": "1"}, "Device 'q' not found")):
            self.assertEqual(self.qmp.request(command, **arguments)["error"]["desc"], text)
        self.add("r", backend("ringbuf"))
        self.add("m", backend("memory", size=64))
        for size in 0, -1:
            self.assertEqual(self.qmp.request("ringbuf-read", device="r", size=size)["error"]["desc"],
                             "size must be greater than zero")
        for data in "***", "abc", "=":
            self.assertEqual(
                self.qmp.request("ringbuf-write", device="r", data=data, format="base64")
                ["error"]["desc"], "Base64 data contains invalid characters")
        self.assertEqual(self.refused("x", backend("ringbuf", size=15)),
                         "Failed to add chardev 'x': size of ringbuf chardev must be power of two")
        self.assertIn("at most", self.refused("x", backend("ringbuf", size=1 << 40)))
        self.assertIn("'wait' option is incompatible with socket in client connect mode",
                      self.refused("x", unix("/nonexistent", server=False, wait=False)))
        result = run("-chardev", "null,id=1", "-accel", "qtest", "-display", "none")
        self.assertEqual(result.returncode, 1)
        self.assertIn("Parameter 'id' expects an identifier, not '1'", result.stderr)
        self.assertEqual({k: v[0] for k, v in self.chardevs().items() if k in "rmn"},
                         {"r": "ringbuf", "m": "memory", "n": "null"})


class Commands(Chardevs):
    def test_add_and_remove(self):
        self.start()
        path = self.dir + "/sock"
        self.assertEqual(self.add("n", backend("null")), {})
        self.assertEqual(self.refused("n", backend("null")), "Chardev with id 'n' already exists")
        self.assertEqual(self.refused("compat_monitor0", backend("null")),
                         "Chardev with id 'compat_monitor0' already exists")
        self.assertEqual(self.refused("f", backend("file", out="/nonexistent/x")),
                         "Failed to add chardev 'f': Could not open '/nonexistent/x': "
                         "No such file or directory")
        pty = self.add("p", backend("pty"))["pty"]
        self.assertTrue(os.path.exists(pty))
        self.add("s", unix(path, wait=False))  # a server, unless told otherwise
        self.add("r", unix(self.dir + "/none", server=False, reconnect=1))
        self.assertIn("No such file", self.refused("x", unix(self.dir + "/none", server=False)))
        self.assertIn("incompatible", self.refused("x", unix(path, server=True, reconnect=1)))
        self.assertIn("'nope' has not been found", self.refused(
            "x", backend("socket", addr={"type": "fd", "data": {"str": "nope"}})))
        self.assertIn("Websocket client", self.refused(
            "x", unix(path, server=False, websocket=True)))
        have = self.chardevs()
        self.assertEqual(have["s"], (f"disconnected:unix:{path},server=on", False))
        self.assertEqual(have["r"][0], f"disconnected:unix:{self.dir}/none")
        self.assertEqual(have["p"][0], "pty:" + pty)
        self.assertIn({"name": "ringbuf"}, self.qmp.command("query-chardev-backends"))
        for name in "npsr":
            self.qmp.command("chardev-remove", id=name)
        self.assertFalse(os.path.exists(path))
        self.assertEqual(sorted(self.chardevs()), ["compat_monitor0", "qtest"])
        for name, text in (("n", "Chardev 'n' not found"),
                           ("compat_monitor0", "Chardev 'compat_monitor0' is busy")):
            self.assertEqual(self.qmp.request("chardev-remove", id=name)["error"]["desc"], text)

    def test_in_use(self):
        self.start("-chardev", "null,id=c", "-device", "isa-serial,chardev=c")
        self.assertEqual(self.qmp.request("chardev-remove", id="c")["error"]["desc"],
                         "Chardev 'c' is busy")
        self.assertEqual(self.qmp.request("chardev-send-break", id="q")["error"]["desc"],
                         "Chardev 'q' not found")
        self.qmp.command("chardev-send-break", id="c")
        self.assertEqual(self.door.inb(COM1 + 5) & 0x11, 0x11)  # break, and a character of it

    def test_reconnect(self):
        self.start()
        path = self.dir + "/late"
        self.add("r", unix(path, server=False, reconnect=1))
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path)
            server.listen(1)
            server.settimeout(20 * TIME_FACTOR)
            for _ in range(2):  # it comes, and comes again
                server.accept()[0].close()

    def test_change(self):
        """A serial port goes on with another back end."""
        self.start("-chardev", "ringbuf,id=c", "-device", "isa-serial,chardev=c", "-chardev",
                   "null,id=d", "-device", "isa-debugcon,chardev=d", "-chardev", "null,id=free")
        self.write("one")
        self.assertEqual(self.ring("c"), "one")
        path = self.dir + "/sock"
        self.assertIn("Could not open", self.refused("c", backend("file", out="/nonexistent/x"),
                                                     "chardev-change"))
        self.assertEqual(self.add("c", unix(path, wait=False), "chardev-change"), {})
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            client.settimeout(20 * TIME_FACTOR)
            client.sendall(b"in")
            self.assertEqual([self.read_char(), self.read_char()], list(b"in"))
            self.write("two")
            got = b""
            while got != b"two":
                got += client.recv(10)
        self.assertTrue(self.chardevs()["c"][1])
        self.add("c", backend("ringbuf"), "chardev-change")
        self.assertFalse(os.path.exists(path))
        self.write("three")
        self.assertEqual(self.ring("c"), "three")
        self.add("free", backend("ringbuf"), "chardev-change")
        self.assertEqual(self.chardevs()["free"], ("ringbuf", False))
        self.assertEqual(self.refused("d", backend("null"), "chardev-change"),
                         "Chardev user does not support chardev hotswap")
        self.assertEqual(self.refused("q", backend("null"), "chardev-change"),
                         "Chardev 'q' does not exist")

    def test_log(self):
        log = self.dir + "/log"
        with open(log, "w", encoding="ascii") as f:
            f.write("before ")
        self.start("-chardev", f"null,id=c,logfile={log},logappend=on", "-device",
                   "isa-serial,chardev=c")
        self.write("and after")
        self.add("c", backend("ringbuf", logfile=log), "chardev-change")
        with open(log, encoding="ascii") as f:
            self.assertEqual(f.read(), "")  # begun anew
        self.write("all of it")
        with open(log, encoding="ascii") as f:
            self.assertEqual(f.read(), "all of it")
        self.assertIn("Unable to open logfile",
                      self.refused("x", backend("null", logfile="/nonexistent/x")))

    def test_log_kept(self):
        log = self.dir + "/log"
        with open(log, "w", encoding="ascii") as f:
            f.write("before ")
        self.start("-chardev", f"null,id=c,logfile={log},logappend=on", "-device",
                   "isa-serial,chardev=c")
        self.write("and after")
        with open(log, encoding="ascii") as f:
            self.assertEqual(f.read(), "before and after")

    def pass_fd(self, sock, name):
        message = json.dumps({"execute": "getfd", "arguments": {"fdname": name}}).encode()
        self.qmp.sock.sendmsg([message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS,
                                           array.array("i", [sock.fileno()]))])
        self.assertEqual(self.qmp.read(), {"return": {}})

    def test_passed_descriptor(self):
        self.start("-chardev", "null,id=c", "-device", "isa-serial,chardev=c")
        mine, its = socket.socketpair()
        self.addCleanup(mine.close)
        with its:
            self.pass_fd(its, "cable")
        self.add("c", backend("socket", addr={"type": "fd", "data": {"str": "cable"}},
                              server=False), "chardev-change")
        mine.settimeout(20 * TIME_FACTOR)
        self.write("x")
        self.assertEqual(mine.recv(1), b"x")
        mine.sendall(b"y")
        self.assertEqual(self.read_char(), ord("y"))

    def test_netdev_of_passed_descriptor(self):
        self.start()
        mine, its = socket.socketpair()
        self.addCleanup(mine.close)
        with its:
            self.pass_fd(its, "cable")
        self.qmp.command("netdev_add", type="stream", id="n0",
                         addr={"type": "fd", "str": "cable"})
        self.assertEqual(self.qmp.event("NETDEV_STREAM_CONNECTED")["data"]["netdev-id"], "n0")
        self.qmp.command("netdev_del", id="n0")
        mine.settimeout(20 * TIME_FACTOR)
        self.assertEqual(mine.recv(1), b"")


def inet(port, host="127.0.0.1", **more):
    return {"type": "inet", "data": {"host": host, "port": str(port), **more}}


class Protocols(Chardevs):
    """What is spoken over a socket, and sockets of other kinds."""

    def port(self, name):
        """Where it listens, as query-chardev tells."""
        return int(self.chardevs()[name][0].split(",")[0].rsplit(":", 1)[1])

    def connect(self, name):
        client = socket.create_connection(("127.0.0.1", self.port(name)))
        client.settimeout(20 * TIME_FACTOR)
        self.addCleanup(client.close)
        return client

    def receive(self, client, n):
        got = b""
        while len(got) < n:
            piece = client.recv(n - len(got))
            self.assertTrue(piece, got)
            got += piece
        return got

    def guest_reads(self, text):
        self.assertEqual(bytes(self.read_char() for _ in text), text)

    def settled(self, name, text):
        end = time.monotonic() + 20 * TIME_FACTOR
        while not self.chardevs()[name][0].startswith(text):
            self.assertLess(time.monotonic(), end, self.chardevs())
            time.sleep(0.01)
        return self.chardevs()[name][0]

    def test_families(self):
        """All that a host's name stands for listens, at one port; what connected is told with both its ends."""
        if not self.has_ipv6():
            self.skipTest("this host has no IPv6")
        both, four, six = ("127.0.0.1", "::1"), ("127.0.0.1",), ("::1",)
        self.start("-serial", "tcp::0,server=on,wait=off")
        for more, hosts in (({}, both), ({"ipv4": True}, four), ({"ipv6": True}, six), ({"ipv4": False}, six),
                            ({"ipv6": False}, four), ({"host": "::"}, both), ({"host": "::1"}, six),
                            ({"host": "::", "ipv6": True}, six)):
            self.add("c", backend("socket", addr=inet(0, **{"host": "", **more}), wait=False))
            for host in both:
                with self.subTest(more=more, host=host):
                    if host in hosts:
                        socket.create_connection((host, self.port("c"))).close()
                    else:
                        self.assertRaises(ConnectionRefusedError, socket.create_connection, (host, self.port("c")))
            self.qmp.command("chardev-remove", id="c")
        self.refused("c", backend("socket", addr=inet(0, ipv4=False, ipv6=False)))
        for host in both:
            client = socket.create_connection((host, self.port("serial0")))
            here, there = ((f"[{e[0]}]:{e[1]}" if ":" in e[0] else f"{e[0]}:{e[1]}")
                           for e in (client.getpeername(), client.getsockname()))
            self.assertEqual(self.settled("serial0", "tcp:"), f"tcp:{here},server=on <-> {there}")
            client.close()
            self.settled("serial0", "disconnected:")

    @staticmethod
    def has_ipv6():
        with socket.socket(socket.AF_INET6) as s:
            try:
                s.bind(("::1", 0))
            except OSError:
                return False
        return True

    def test_telnet(self):
        self.start("-serial", "telnet:127.0.0.1:0,server=on,wait=off")
        self.assertTrue(self.settled("serial0", "disconnected:telnet:127.0.0.1:"))
        client = self.connect("serial0")
        # WILL ECHO, WILL SUPPRESS-GO-AHEAD, WILL BINARY, DO BINARY
        self.assertEqual(self.receive(client, 12).hex(), "fffb01fffb03fffb00fffd00")
        peer = "%s:%d" % client.getsockname()
        self.assertTrue(self.settled("serial0", "telnet:").endswith(f",server=on <-> {peer}"))
        # answers, a subnegotiation, a command, and a 255 that is data
        client.sendall(b"\xff\xfd\x01a\xff\xfa\x18\x00vt\xff\xf0b\xff\xf1c\xff\xffd\xff")
        self.guest_reads(b"abc\xffd")
        client.sendall(b"\xf3e")  # the second half of a break
        end = time.monotonic() + 20 * TIME_FACTOR
        while not self.door.inb(COM1 + 5) & 0x10:
            self.assertLess(time.monotonic(), end)
        self.assertEqual(self.read_char(), 0)  # a break's character
        self.guest_reads(b"e")
        for byte in b"x\xffy":
            self.door.outb(COM1, byte)
        self.assertEqual(self.receive(client, 4), b"x\xff\xffy")
        client.close()
        self.settled("serial0", "disconnected:telnet:")

    HANDSHAKE = (b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n"
                 b"connection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                 b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                 b"Sec-WebSocket-Protocol: binary\r\n\r\n")

    @staticmethod
    def frame(op, payload, mask=b"\x12\x34\x56\x78", fin=0x80):
        n = len(payload)
        length = bytes([0x80 | n]) if n < 126 else b"\xfe" + n.to_bytes(2, "big")
        return bytes([fin | op]) + length + mask + bytes(
            b ^ mask[i % 4] for i, b in enumerate(payload))

    def shake(self, client):
        for byte in self.HANDSHAKE:  # in pieces
            client.sendall(bytes([byte]))
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.receive(client, 1)
        self.assertTrue(head.startswith(b"HTTP/1.1 101 "), head)
        # the example of RFC 6455, 1.3
        self.assertIn(b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n", head)
        self.assertIn(b"Sec-WebSocket-Protocol: binary\r\n", head)

    def test_websocket(self):
        self.start("-chardev", "socket,id=c,host=127.0.0.1,port=0,server=on,wait=off,websocket=on",
                   "-device", "isa-serial,chardev=c")
        client = self.connect("c")
        self.write("nobody is there yet")
        self.shake(client)
        self.settled("c", "websocket:127.0.0.1:")
        self.write("hello")
        text = b""
        while len(text) < 5:
            op, n = self.receive(client, 2)
            self.assertEqual(op, 0x82)
            text += self.receive(client, n)
        self.assertEqual(text, b"hello")
        long = bytes(i % 251 for i in range(3000))
        client.sendall(self.frame(2, b"ab", fin=0) + self.frame(9, b"ping") +
                       self.frame(0, b"c") + self.frame(2, b"") + self.frame(2, long))
        self.assertEqual(self.receive(client, 6), b"\x8a\x04ping")
        self.guest_reads(b"abc" + long)
        client.sendall(self.frame(8, b""))
        self.assertEqual(self.receive(client, 4), b"\x88\x02\x03\xe8")
        self.assertEqual(client.recv(1), b"")
        self.settled("c", "disconnected:websocket:")

    def test_websocket_refusals(self):
        self.start()
        self.add("c", backend("socket", addr=inet(0), websocket=True))
        for request, answer in (
                (self.HANDSHAKE.replace(b"GET / ", b"GET /x "), b"HTTP/1.1 404 "),
                (self.HANDSHAKE.replace(b"Version: 13", b"Version: 12"), b"HTTP/1.1 400 "),
                (self.HANDSHAKE.replace(b"Protocol: binary", b"Protocol: text"), b"HTTP/1.1 400 "),
                (self.HANDSHAKE.replace(b"Host: h", b"X: h"), b"HTTP/1.1 400 "),
                (b"\r\n\r\n", b"HTTP/1.1 400 "), (b"x" * 5000, b"HTTP/1.1 400 ")):
            client = self.connect("c")
            client.sendall(request)
            self.assertEqual(self.receive(client, len(answer)), answer)
        for frame, code in ((self.frame(1, b"text"), 1003), (b"\x82\x01a", 1002),
                            (self.frame(9, b"x" * 126), 1002), (self.frame(9, b"", fin=0), 1002),
                            (self.frame(0x12, b"a"), 1002)):
            self.settled("c", "disconnected:")
            client = self.connect("c")
            self.shake(client)
            client.sendall(frame)
            self.assertEqual(self.receive(client, 4), b"\x88\x02" + code.to_bytes(2, "big"))
            client.close()

    def test_udp(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer, \
                socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            peer.bind(("127.0.0.1", 0))
            peer.settimeout(20 * TIME_FACTOR)
            free.bind(("127.0.0.1", 0))
            local = free.getsockname()[1]
            free.close()
            self.start("-serial", f"udp:127.0.0.1:{peer.getsockname()[1]}@127.0.0.1:{local}")
            self.assertEqual(self.chardevs()["serial0"][0], "udp")
            self.write("hi")
            self.assertEqual(peer.recv(10) + peer.recv(10), b"hi")
            peer.sendto(b"one", ("127.0.0.1", local))
            peer.sendto(b"two" * 20, ("127.0.0.1", local))
            self.guest_reads(b"one" + b"two" * 20)
            self.add("u", backend("udp", remote=inet(peer.getsockname()[1]),
                                  local=inet(0)))
            self.assertIn("unsupported for datagram", self.refused(
                "x", backend("udp", remote={"type": "unix", "data": {"path": "x"}})))
            self.assertEqual(self.chardevs()["u"], ("udp", False))

    def test_addresses(self):
        self.start()
        name = os.path.basename(self.dir)
        self.add("a", backend("socket", addr={
            "type": "unix", "data": {"path": name, "abstract": True}}))
        self.assertEqual(self.chardevs()["a"][0], f"disconnected:unix:{name},abstract=on,server=on")
        self.assertFalse(os.path.exists(name))
        with socket.socket(socket.AF_UNIX) as client:
            client.connect("\0" + name)
        self.add("b", backend("socket", addr={
            "type": "unix", "data": {"path": name, "abstract": True}}, server=False))
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen(1)
            port = taken.getsockname()[1]
            self.refused("t", backend("socket", addr=inet(port)))
            self.add("t", backend("socket", addr=inet(port, to=min(port + 100, 65535))))
            self.assertTrue(port < self.port("t") <= port + 100)


if __name__ == "__main__":
    unittest.main(verbosity=2)
