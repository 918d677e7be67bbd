"""A client of the GDB remote serial protocol, for the stub that godwit and QEMU have.

Registers are found by the target description that the stub sends.
"""
import re
import socket
import time
import xml.etree.ElementTree as ElementTree

from godwit import TIME_FACTOR


def frame(body):
    """A packet of these bytes, as they are."""
    return b"$" + body + b"#%02x" % (sum(body) & 0xff)


def escape(data):
    """Binary data for the body of a packet."""
    return re.sub(rb"[#$}*]", lambda m: b"}" + bytes([m[0][0] ^ 0x20]), data)


class Rsp:
    def __init__(self, address, timeout=30):
        self.timeout = timeout * TIME_FACTOR
        end = time.monotonic() + self.timeout
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        while True:
            self.sock = socket.socket(family)
            try:
                self.sock.connect(address)
                break
            except (FileNotFoundError, ConnectionRefusedError):
                self.sock.close()
                if time.monotonic() > end:
                    raise
                time.sleep(0.01)
        self.sock.settimeout(self.timeout)
        self.input = b""
        self.no_ack = False
        self.console = b""
        self.layout = None

    # ---- packets

    def raw(self, data):
        self.sock.sendall(data)

    def fill(self):
        data = self.sock.recv(65536)
        if not data:
            raise EOFError("the stub closed the connection")
        self.input += data

    def byte(self):
        while not self.input:
            self.fill()
        first, self.input = self.input[:1], self.input[1:]
        return first

    def acknowledge(self, sign):
        try:
            self.raw(sign)
        except BrokenPipeError:
            pass  # that was the stub's last packet

    def receive(self):
        """The body of the next packet, escapes undone."""
        while True:
            while not (match := re.search(rb"\$([^#]*)#(..)", self.input, re.DOTALL)):
                self.fill()
            self.input = self.input[match.end():]
            good = int(match[2], 16) == sum(match[1]) & 0xff
            if not self.no_ack:
                self.acknowledge(b"+" if good else b"-")
            if good:
                return re.sub(rb"}(.)", lambda m: bytes([m[1][0] ^ 0x20]), match[1],
                              flags=re.DOTALL)

    def answer(self):
        """The next packet that is no console output; that is gathered in self.console."""
        while True:
            body = self.receive()
            if body[:1] == b"O" and body != b"OK":
                self.console += bytes.fromhex(body[1:].decode())
                continue
            return body.decode("latin-1")

    def send(self, body):
        self.raw(frame(body.encode("latin-1") if isinstance(body, str) else body))

    def ask(self, body):
        self.send(body)
        return self.answer()

    def expect(self, body, wanted="OK"):
        got = self.ask(body)
        assert got == wanted, f"{body!r}: {got!r}, not {wanted!r}"

    def start_no_ack(self):
        self.no_ack = self.ask("QStartNoAckMode") == "OK"
        return self.no_ack

    def interrupt(self):
        self.raw(b"\x03")

    def monitor(self, line):
        self.console = b""
        self.expect("qRcmd," + line.encode().hex())
        return self.console.decode()

    # ---- registers

    def transfer(self, name):
        text, at = "", 0
        while True:
            part = self.ask(f"qXfer:features:read:{name}:{at:x},ffb")
            assert part[:1] in ("m", "l"), part
            text += part[1:]
            at += len(part) - 1
            if part[0] == "l":
                return text

    def describe(self):
        """[(name, bytes)] by number."""
        if self.layout is None:
            registers, number = {}, 0
            for feature in self.features(self.transfer("target.xml")):
                for reg in feature.iter("reg"):
                    number = int(reg.get("regnum", number))
                    registers[number] = (reg.get("name"), int(reg.get("bitsize")) // 8)
                    number += 1
            self.layout = [registers[n] for n in sorted(registers)]
        return self.layout

    def features(self, text):
        root = ElementTree.fromstring(text.replace("<xi:include", "<include"))  # unbound prefix
        yield from root.iter("feature")
        for include in root.iter("include"):
            yield ElementTree.fromstring(self.transfer(include.get("href")))

    def registers(self):
        """{name: value} of the thread that Hg chose."""
        layout = self.describe()
        data = bytes.fromhex(self.ask("g").replace("x", "0"))
        values, at = {}, 0
        for name, size in layout:
            if at + size > len(data):
                break
            values[name] = int.from_bytes(data[at:at + size], "little")
            at += size
        return values

    def number(self, name):
        return [n for n, _ in self.describe()].index(name)

    def register(self, name):
        return int.from_bytes(bytes.fromhex(self.ask(f"p{self.number(name):x}")), "little")

    def set_register(self, name, value):
        number = self.number(name)
        size = self.describe()[number][1]
        return self.ask(f"P{number:x}=" + value.to_bytes(size, "little").hex())

    # ---- memory

    def read(self, addr, length):
        answer = self.ask(f"m{addr:x},{length:x}")
        if answer.startswith("E") and len(answer) == 3:
            raise LookupError(answer)
        return bytes.fromhex(answer)

    def write(self, addr, data):
        return self.ask(f"M{addr:x},{len(data):x}:{data.hex()}")

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()
