"""The register door: a godwit without a CPU whose devices a test drives by the qtest protocol."""
import base64
import os
import shutil
import socket
import struct
import subprocess
import tempfile

from godwit import GODWIT, TIME_FACTOR, Qmp


class Refused(Exception):
    """The door answered FAIL."""


class Door:
    """`godwit -accel qtest`, connected as its own harnesses connect: it finds a listening socket."""

    def __init__(self, *args, qmp=False, machine="q35", accel="qtest"):
        self.dir = tempfile.mkdtemp(prefix="godwit-door-")
        path = os.path.join(self.dir, "qtest")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(1)
        listener.settimeout(20 * TIME_FACTOR)
        argv = [GODWIT, "-M", machine, "-m", "16", "-display", "none", "-qtest", f"unix:{path}",
                "-qtest-log", "/dev/null", "-accel", accel]
        if qmp:
            argv += ["-qmp", f"unix:{self.dir}/qmp,server=on,wait=off"]
        self.process = subprocess.Popen(argv + list(args), stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.qmp = None
        try:
            self.sock, _ = listener.accept()
            if qmp:
                self.qmp = Qmp(f"{self.dir}/qmp")
        except Exception:
            self.process.kill()
            print(self.process.communicate()[1].decode(errors="replace"))
            raise
        finally:
            listener.close()
        self.sock.settimeout(30 * TIME_FACTOR)
        self.file = self.sock.makefile("rb")
        self.irqs = []  # ("raise" or "lower", number), in order

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def close(self):
        if self.qmp:
            self.qmp.close()
        self.file.close()
        self.sock.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.stdout.close()
        self.process.stderr.close()
        self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    def wait(self, timeout=20):
        return self.process.wait(timeout * TIME_FACTOR)

    def answer(self):
        """What follows OK, as text."""
        while True:
            line = self.file.readline()
            if not line:
                raise EOFError("the door closed")
            word, _, rest = line.decode().rstrip("\n").partition(" ")
            if word == "OK":
                return rest
            if word == "FAIL":
                raise Refused(rest)
            if word != "IRQ":
                raise ValueError(line)
            what, number = rest.split()
            self.irqs.append((what, int(number)))

    def do(self, *words):
        line = " ".join(hex(w) if isinstance(w, int) else w for w in words)
        self.sock.sendall(line.encode() + b"\n")
        return self.answer()

    def inb(self, port):
        return int(self.do("inb", port), 0)

    def inw(self, port):
        return int(self.do("inw", port), 0)

    def inl(self, port):
        return int(self.do("inl", port), 0)

    def outb(self, port, value):
        self.do("outb", port, value)

    def outw(self, port, value):
        self.do("outw", port, value)

    def outl(self, port, value):
        self.do("outl", port, value)

    def readl(self, addr):
        return int(self.do("readl", addr), 0)

    def writel(self, addr, value):
        self.do("writel", addr, value)

    def read(self, addr, length):
        return bytes.fromhex(self.do("read", addr, length)[2:])

    def write(self, addr, data):
        self.do("write", addr, len(data), "0x" + data.hex())

    def b64read(self, addr, length):
        return base64.b64decode(self.do("b64read", addr, length))

    def step(self, ns=None):
        """Moves the clock on (without ns: to the next deadline); returns the time."""
        return int(self.do("clock_step") if ns is None else self.do("clock_step", str(ns)))

    def config(self, devfn, offset):
        self.outl(0xcf8, 0x80000000 | devfn << 8 | offset & 0xfc)
        return self.inl(0xcfc)

    def fw_cfg(self, key, length):
        self.outw(0x510, key)
        return bytes(self.inb(0x511) for _ in range(length))

    def fw_cfg_u16(self, key):
        return struct.unpack("<H", self.fw_cfg(key, 2))[0]
