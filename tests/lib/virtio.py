"""A small virtio-pci driver on the register door: modern interface, split rings, polling."""
import struct
import time

from godwit import TIME_FACTOR

BAR, DESC, AVAIL, USED, DATA = 0xe0000000, 0x10000, 0x12000, 0x13000, 0x20000
NEXT, WRITE = 1, 2


class Device:
    """The device at devfn, with its registers behind BAR 4."""

    def __init__(self, door, slot, bar=BAR, bus=0):
        self.door, self.bar, self.devfn, self.memory = door, bar, bus << 8 | slot << 3, 0
        self.set_config(0x20, bar)
        self.set_config(0x24, 0)
        self.set_config(0x04, 6)

    def set_config(self, offset, value):
        self.door.outl(0xcf8, 0x80000000 | self.devfn << 8 | offset)
        self.door.outl(0xcfc, value)

    def get(self, at, size):
        return int.from_bytes(self.door.read(self.bar + at, size), "little")

    def put(self, at, value, size):
        self.door.do({1: "writeb", 2: "writew", 4: "writel", 8: "writeq"}[size], self.bar + at, value)

    @property
    def status(self):
        return self.get(0x14, 1)

    def start(self, features=0, queues=1, size=8, memory=0):
        """All the way up; rings of queue n from memory + n * 0x40000 on."""
        self.put(0x14, 0, 1)
        self.put(0x14, 3, 1)
        for half, bits in ((0, features & 0xffffffff), (1, 1 | features >> 32)):
            self.put(0x08, half, 4)
            self.put(0x0c, bits, 4)
        self.put(0x14, 11, 1)
        assert self.status == 11
        self.queues = [Queue(self, n, size, memory + n * 0x40000) for n in range(queues)]
        self.put(0x14, 15, 1)


class Queue:
    def __init__(self, device, number, size, memory):
        self.device, self.number, self.size, self.memory = device, number, size, memory
        self.avail = self.used = self.free = 0
        device.door.write(memory + DESC, bytes(0x4000))
        device.put(0x16, number, 2)
        device.put(0x18, size, 2)
        for at, where in ((0x20, DESC), (0x28, AVAIL), (0x30, USED)):
            device.put(at, memory + where, 8)
        device.put(0x1c, 1, 2)
        assert device.get(0x1c, 2) == 1

    def offer(self, out, into=()):
        """Makes a chain of byte strings to read and lengths to write available; returns its head."""
        door, head = self.device.door, self.free % self.size
        parts = [(data, len(data), 0) for data in out] + [(None, n, WRITE) for n in into]
        at = self.memory + DATA + head * 0x2000
        for i, (data, length, flags) in enumerate(parts):
            if data is not None:
                door.write(at, data)
            index = (head + i) % self.size
            flags |= NEXT if i + 1 < len(parts) else 0
            door.write(self.memory + DESC + 16 * index,
                       struct.pack("<QIHH", at, length, flags, (index + 1) % self.size))
            at += (length + 15) & ~15
        self.free += len(parts)
        door.write(self.memory + AVAIL + 4 + 2 * (self.avail % self.size), struct.pack("<H", head))
        self.avail += 1
        door.write(self.memory + AVAIL + 2, struct.pack("<H", self.avail & 0xffff))
        self.ring()
        return head

    def ring(self):
        self.device.put(0x3000 + 4 * self.number, self.number, 2)

    def done(self):
        """Whether there is a used entry that take() did not return."""
        index = struct.unpack("<H", self.device.door.read(self.memory + USED + 2, 2))[0]
        return index != self.used & 0xffff

    def take(self, timeout=20):
        """(head, bytes written) of the next used entry; waits for it."""
        end = time.monotonic() + timeout * TIME_FACTOR
        while not self.done():
            assert time.monotonic() < end, "no used entry"
            time.sleep(0.001)
        at = self.memory + USED + 4 + 8 * (self.used % self.size)
        self.used += 1
        return struct.unpack("<II", self.device.door.read(at, 8))

    def written(self, head, out, into):
        """What the device wrote into the second part of a chain that offer() made."""
        at, result = self.memory + DATA + head * 0x2000, []
        for n in out:
            at += (n + 15) & ~15
        for n in into:
            result.append(self.device.door.read(at, n))
            at += (n + 15) & ~15
        return result

    def request(self, out, into):
        """A whole request: what was written into the parts of `into`, and how much in all."""
        head = self.offer(out, into)
        got, length = self.take()
        assert got == head
        return self.written(head, [len(data) for data in out], into), length


class Disk(Device):
    def header(self, kind, sector):
        return struct.pack("<IIQ", kind, 0, sector)

    def read(self, sector, sectors):
        (data, status), _ = self.queues[0].request([self.header(0, sector)], [512 * sectors, 1])
        return status[0], data

    def write(self, sector, data):
        (status,), _ = self.queues[0].request([self.header(1, sector), data], [1])
        return status[0]

    def flush(self):
        (status,), _ = self.queues[0].request([self.header(4, 0)], [1])
        return status[0]
