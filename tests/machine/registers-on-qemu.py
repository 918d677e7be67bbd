"""The same random register accesses on Godwit and on QEMU: answers and interrupts must agree.

    registers-on-qemu.py [--profile NAME]... [--seed N] [--sequences N] [--length N]

Both are driven by the qtest protocol. Debian's QEMU lacks the accelerator of that name, whose
clock moves when told to: there the machine, whose processor halts at once, goes on for a while and
is stopped again, and its HPET (or PM timer) tells how much time has passed; Godwit's clock is moved
by the same.

A profile says which accesses are made of a device and what of its answers is compared; what is not
compared is a deliberate difference, with the reason beside it. A sequence that differs is shortened
and printed.
"""
import argparse
import os
import random
import shutil
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import qtest  # noqa: E402

QEMU = os.environ.get("QEMU", "qemu-system-x86_64")
SIZES = {1: "b", 2: "w", 4: "l", 8: "q"}


def inp(port, size=1):
    return ("in", port, size)


def out(port, value, size=1):
    return ("out", port, size, value)


def read(addr, size=4):
    return ("read", addr, size)


def write(addr, value, size=4):
    return ("write", addr, size, value)


def step(ns):
    return ("step", ns)


def line(op):
    if op[0] == "step":
        return f"clock_step {op[1]}"
    text = f"{op[0]}{SIZES[op[2]]} 0x{op[1]:x}"
    return text + f" 0x{op[3]:x}" if len(op) > 3 else text


PMBASE = [out(0xcf8, 0x8000f840, 4), out(0xcfc, 0x601, 4), out(0xcf8, 0x8000f844, 4),
          out(0xcfc, 0x80)]


class Profile:
    """args: of the machine. setup: accesses made first."""

    args = ("-nodefaults",)
    machine = "q35"

    def setup(self):
        return []

    def now(self, door, last_ns):
        """Virtual time by QEMU's HPET."""
        if last_ns == 0:
            door.writel(0xfed00010, 1)
        return int(door.do("readq", 0xfed000f0), 0) * 10

    def ops(self, rng):
        """One or a few accesses that belong together."""
        raise NotImplementedError

    def agree(self, ops, at, ours, theirs):
        return ours == theirs


class Pit(Profile):
    """The gate stays open but for a moment: QEMU's counters do not stop when it is closed. Modes
    are those whose output QEMU has as the data sheet says; it does not know 6 and 7 as other names
    of 2 and 3."""
    modes = (0, 3)
    modes_by_gate = ()
    latch = 0x00, 0x10, 0x20, 0x30
    output = 0x20

    def setup(self):
        return [access for n in (1, 2) for access in
                (out(0x43, n << 6 | 0x36), out(0x40 + n, 0), out(0x40 + n, 0x10))] + [
            out(0x43, 0x26), out(0x40, 0x10), out(0x61, 1)]

    def byte(self, rng, channel):
        """Of a count. QEMU is busy with nothing else when channel 0, a timer, is fast."""
        return rng.choice((0, 1, 2, 3, 0x10, 0x99, rng.randrange(256)) if channel
                          else (0, rng.randrange(8, 256)))

    def ops(self, rng):
        channel = rng.randrange(3)
        kind = rng.randrange(10)
        if kind < 3:
            modes = self.modes + (self.modes_by_gate if channel == 2 else ())
            access = rng.randrange(1, 4) if channel else 2
            word = channel << 6 | access << 4 | rng.choice(modes) << 1
            counts = [self.byte(rng, channel) for _ in range(2 if access == 3 else 1)]
            trigger = [out(0x61, 0), out(0x61, 1)] if channel == 2 else []
            return [out(0x43, word)] + [out(0x40 + channel, c) for c in counts] + trigger
        if kind == 3:
            return [out(0x43, channel << 6)] + [inp(0x40 + channel)] * 2
        if kind == 4:
            word = 0xc0 | rng.choice(self.latch) | 2 << channel
            return [out(0x43, word)] + [inp(0x40 + channel)] * 4
        if kind == 5:
            return [inp(0x40 + channel)] * 2
        if kind == 6:
            return [out(0x61, rng.choice((0, 2))), out(0x61, rng.choice((1, 3))), inp(0x61)]
        if kind == 7:
            return [inp(0x61)]
        return [step(rng.randrange(60000000))]

    def agree(self, ops, at, ours, theirs):
        if ops[at][1] == 0x61:  # bit 4 toggles with time here, by reading there
            return not (ours ^ theirs) & (0x0f | self.output)
        return abs(ours - theirs) <= 2


class PitStrobe(Pit):
    """The other modes, and no look at outputs."""
    modes = (2, 4)
    modes_by_gate = (1, 5)
    latch = 0x10, 0x30
    output = 0


class Rtc(Profile):
    flags = 0x30
    args = ("-nodefaults", "-rtc", "base=2024-02-28T23:59:50,clock=vm")
    def ops(self, rng):
        def put(index, value):
            return [out(0x70, index), out(0x71, value)]

        def get(index):
            return [out(0x70, index), inp(0x71)]

        def number(top, low=0):
            n = rng.randrange(low, top)
            return n // 10 << 4 | n % 10

        kind = rng.randrange(12)
        if kind == 0:
            return put(0x0a, 0x20 | rng.choice((0, 3, 6, 8, 15)))
        if kind == 1:
            return put(0x0b, 0x02 | rng.choice((0, 0x10, 0x20, 0x40, 0x70, 0x50)))
        if kind == 2:
            return put(rng.choice((1, 3)), rng.choice((number(60), 0xc0)))
        if kind == 3:
            return put(5, rng.choice((number(24), 0xc0)))
        if kind == 4:
            values = (number(60), number(60), number(24), number(29, 1), number(13, 1), number(100))
            return (put(0x0b, 0x82) + [access for index, value in zip((0, 2, 4, 7, 8, 9), values)
                                       for access in put(index, value)] + put(0x0b, 0x02))
        if kind < 7:
            return [access for index in (0, 2, 4, 6, 7, 8, 9, 0x32) for access in get(index)]
        if kind < 9:
            return get(rng.choice((0x0a, 0x0b, 0x0c, 0x0d, 1, 3, 5)))
        return [step(rng.randrange(200000000))]

    def agree(self, ops, at, ours, theirs):
        if ops[at - 1] == out(0x70, 0x0c):  # QEMU's PF comes with its interrupt enabled only
            return not (ours ^ theirs) & self.flags
        return ours == theirs


class RtcPeriodic(Rtc):
    flags = 0xf0

    def setup(self):
        return [out(0x70, 0x0a), out(0x71, 0x2b), out(0x70, 0x0b), out(0x71, 0x42)]

    def ops(self, rng):
        if rng.randrange(2):
            return [out(0x70, 0x0c), inp(0x71)]
        return [step(rng.randrange(20000000))]


class Pic(Profile):
    def setup(self):
        return [out(0x43, 0x34), out(0x40, 0), out(0x40, 0x10)] + [
            out(base + at, value) for base in (0x20, 0xa0)
            for at, value in ((0, 0x11), (1, 0x20), (1, 4 if base == 0x20 else 2), (1, 1))]

    def ops(self, rng):
        base = rng.choice((0x20, 0xa0))
        kind = rng.randrange(10)
        if kind == 0:
            words = [out(base, 0x11), out(base + 1, rng.randrange(32) << 3),
                     out(base + 1, 4 if base == 0x20 else 2),
                     out(base + 1, rng.choice((1, 3, 0x11)))]
            return words
        if kind == 1:
            return [out(base + 1, rng.randrange(256)), inp(base + 1)]
        if kind < 4:
            return [out(base, 0x0a), inp(base), out(base, 0x0b), inp(base)]
        if kind == 4:
            return [out(base, rng.choice((0x20, 0x60, 0xa0, 0xc0, 0xe0, 0, 0x80, 0x40))
                        | rng.randrange(8))]
        if kind == 5:
            return [out(base, 0x0c), inp(base)]
        if kind == 6:
            return [out(base, rng.choice((0x48, 0x68)))]
        if kind == 7:
            return [out(rng.choice((0x4d0, 0x4d1)), rng.randrange(256)), inp(0x4d0), inp(0x4d1)]
        return [step(rng.randrange(1, 6000000))]


class IoApic(Profile):
    def ops(self, rng):
        index = rng.choice((0, 1, 2, 3, rng.randrange(0x10, 0x40), rng.randrange(256)))
        value = rng.getrandbits(32) & 0xff000000  # reserved bits are kept by QEMU
        if index >= 0x10 and not index & 1:
            value = rng.getrandbits(16) & 0xafff | 1 << 16  # masked: nobody takes interrupts
        kind = rng.randrange(4)
        if kind == 0:
            return [write(0xfec00000, index), write(0xfec00010, value), read(0xfec00010)]
        if kind == 1:
            return [read(0xfec00000)]
        return [write(0xfec00000, index), read(0xfec00010)]


class Hpet(Profile):
    base = 0xfed00000

    def ops(self, rng):
        kind = rng.randrange(12)
        # QEMU has registers of a fourth, which it does not announce. A change of route, trigger
        # mode or legacy replacement lets go of an interrupt here.
        n = rng.randrange(3)
        timer = self.base + 0x100 + 0x20 * n
        if kind == 0:
            return [write(self.base + 0x10, rng.randrange(2))]
        if kind < 3:
            config = (0x0000, 0x2002, 0x2802)[n] | rng.choice((0, 4, 0x4c, 0x104, 0x14c))
            return [write(timer, config), read(timer), read(timer + 4),
                    write(timer + 8, rng.randrange(1 << 16, 1 << 24))]
        if kind < 5:
            return [write(timer + 8, rng.randrange(1 << 16, 1 << 28)),
                    read(timer + 8), read(timer + 12)]
        if kind == 5:
            return [write(timer + 8, rng.randrange(1 << 16, 1 << 24), 8), read(timer + 8, 8)]
        if kind == 6:
            return [write(self.base + 0x20, rng.randrange(8)), read(self.base + 0x20)]
        if kind == 7:
            return [write(self.base + 0x10, 0), write(self.base + 0xf0, rng.randrange(1 << 20)),
                    write(self.base + 0xf4, 0), read(self.base + 0xf0)]
        if kind == 8:
            return [read(self.base + 0xf0), read(self.base + 0xf4), read(self.base + 0xf0, 8)]
        if kind == 9:
            return [read(self.base), read(self.base + 4), read(self.base + 0x10),
                    read(self.base + 0x20), read(self.base + rng.randrange(0, 0x200, 4))]
        return [step(rng.randrange(10000000))]

    def agree(self, ops, at, ours, theirs):
        counter = ops[at][1] == self.base + 0xf0  # we know the time to 280 ns
        if ops[at][1] == self.base + 0x20:  # QEMU's disabling clears it, against section 2.3.5
            return not theirs & ~ours
        if ops[at][1] & 0x11f == 0x10c or ops[at][2] == 8 and not counter:
            ours, theirs = ours & 0, theirs & 0  # QEMU keeps the upper halves of 32-bit comparators
        return abs(ours - theirs) <= (30 if counter else 0)

    def now(self, door, last_ns):
        """By the PM timer, which wraps every 4.7 s."""
        if last_ns == 0:
            for op in PMBASE:
                door.do(*line(op).split())
        ticks = last_ns * 3579545 // 10**9
        return (ticks + ((door.inl(0x608) - ticks) & 0xffffff)) * 10**9 // 3579545

    def setup(self):
        return PMBASE


class Pm(Profile):
    """QEMU's status begins with the timer's overflow noted."""

    def setup(self):
        return PMBASE + [out(0x600, 0xffff, 2), out(0x604, 1, 2)]

    def ops(self, rng):
        kind = rng.randrange(8)
        if kind == 0:
            return [inp(0x608, 4)]
        if kind == 1:
            return [out(0x600, rng.getrandbits(16), 2), inp(0x600, 2)]
        if kind == 2:
            return [out(0x602, rng.getrandbits(16) & 0x501, 2), inp(0x602, 2)]
        if kind == 3:
            return [out(0x604, rng.getrandbits(16) & 0x1c02 | 1, 2), inp(0x604, 2)]
        if kind == 4:
            at = rng.randrange(0x620, 0x630)
            return [out(at, rng.randrange(256)), inp(at)]
        if kind == 5:
            return [inp(rng.choice((0x600, 0x602, 0x604)), 2)]
        if kind == 6:
            return [out(0x630, rng.getrandbits(32), 4), inp(0x630, 4), inp(0x634, 4)]
        return [step(rng.randrange(100000000)), inp(0x600, 2), inp(0x608, 4)]

    def agree(self, ops, at, ours, theirs):
        if ops[at][1] == 0x608:
            return (ours - theirs + 1) & 0xffffff <= 2
        return ours == theirs


class I8042(Profile):
    """All that a command yields is read: the order of the sources is ours."""
    drain = [inp(0x60)] * 5 + [inp(0x64)]

    def setup(self):
        # Here it begins as firmware leaves it.
        return [out(0x64, 0xaa), inp(0x60), out(0x64, 0x60), out(0x60, 0x47), out(0x64, 0xd4),
                out(0x60, 0xff)] + self.drain

    def ops(self, rng):
        kind = rng.randrange(8)
        if kind == 0:
            return [out(0x64, rng.choice((0x20, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xad, 0xae, 0xd0,
                                          0xff)))] + self.drain
        if kind == 1:
            return [out(0x64, 0x60), out(0x60, rng.randrange(128) | 4),
                    out(0x64, 0x20)] + self.drain
        if kind == 4:
            return [out(0x64, rng.choice((0xd2, 0xd3))), out(0x60, rng.randrange(256))] + self.drain
        if kind == 2:
            return [out(0x60, rng.choice((0xed, 0xee, 0xf0, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xff,
                                          rng.randrange(1, 4),
                                          rng.randrange(1, 0xed))))] + self.drain
        if kind == 3:
            command = rng.choice((0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xeb, 0xee, 0xf0, 0xf2, 0xf3, 0xf4,
                                  0xf5, 0xf6, 0xff))
            parameter = {0xee: [rng.randrange(0xe0), 0xec],  # QEMU's reset does not end wrap mode
                         0xe8: [rng.randrange(4)], 0xf3: [rng.choice((10, 40, 80, 100, 200))]}
            return [access for byte in [command] + parameter.get(command, [])
                    for access in [out(0x64, 0xd4), out(0x60, byte)] + self.drain]
        if kind < 6:
            return [inp(0x64), inp(0x60)]
        if kind == 6:
            return [inp(0x60), inp(0x60), inp(0x64)]
        return [step(rng.randrange(1, 10000000))]


    def agree(self, ops, at, ours, theirs):
        if ops[at][1] == 0x64:  # QEMU's bit 3 does not tell what was written last
            return not (ours ^ theirs) & 0xf7
        return ours == theirs


class Uart(Profile):
    args = ("-nodefaults", "-serial", "null")

    def setup(self):
        return [out(0x3fc, 8)]
    def ops(self, rng):
        port = 0x3f8 + rng.randrange(8)
        kind = rng.randrange(6)
        if kind < 2:
            return [inp(port)]
        if kind == 2:
            return [inp(0x3fa), inp(0x3fd), inp(0x3fe)]
        if kind == 3:
            return [step(rng.randrange(10000000))]
        return [out(port, rng.randrange(256))]

    def agree(self, ops, at, ours, theirs):
        if ops[at][1] == 0x3fe:  # changes of the modem's lines by loopback are noted here
            return ours >> 4 == theirs >> 4
        if ops[at][1] == 0x3fa and (ours & 15 == 0 or (ours & 15, theirs & 15) == (1, 2)):
            return True  # nor does clearing the send buffer make an interrupt here
        if ops[at][1] == 0x3f8:  # an empty buffer reads as 0 here, as what was in it there
            return ours in (0, theirs)
        return ours == theirs


class Pci(Profile):
    """Configuration space of the chipset and of bridges. IDs, classes, BARs, capabilities."""
    args = ("-nodefaults", "-device", "pcie-root-port,id=r1,addr=4,chassis=1",
            "-device", "pcie-root-port,id=r2,addr=5,chassis=2", "-device", "virtio-rng-pci,addr=6",
            "-device", "virtio-rng-pci,bus=r1", "-device", "pcie-pci-bridge,id=b,addr=7",
            "-device", "pci-bridge,bus=b,addr=1,chassis_nr=5")
    slots = (0, 0x20, 0x28, 0x30, 0x38, 0xf8, 0xfa)

    def setup(self):
        return [access for slot in (0x20, 0x28, 0x38) for at in (0x1c, 0x20, 0x24, 0x28, 0x2c, 0x30)
                for access in (out(0xcf8, 0x80000000 | slot << 8 | at, 4), out(0xcfc, 0, 4))]

    def ops(self, rng):
        slot = rng.choice(self.slots)
        at = rng.choice([n for n in range(0, 0x40, 4) if n != 0x34])  # capabilities lie anywhere
        address = 0x80000000 | slot << 8 | at
        if rng.randrange(3) == 0 and slot not in (0, 0xf8, 0xfa):
            return [out(0xcf8, address, 4), out(0xcfc, rng.getrandbits(32), 4), inp(0xcfc, 4)]
        return [out(0xcf8, address, 4), inp(0xcfc, 4)]

    def agree(self, ops, at, ours, theirs):
        index = max(i for i in range(at) if ops[i][1] == 0xcf8)
        if ops[index][3] & 0xffff in (0x2018, 0x2818):  # no latency timer behind a port
            return not (ours ^ theirs) & 0xffffff
        if ops[index][3] & 0xff == 0x1c:  # the other side's status: 66 MHz and the like
            return not (ours ^ theirs) & 0xffff
        if ops[index][3] & 0xffff in (0xfa20, 0x2010, 0x2810, 0x3810, 0x3814):
            return True  # AHCI: no window to its registers by ports; bridges: no MSI-X, no SHPC
        if ops[index][3] & 0xff == 0x04:  # parity and system errors are never reported
            return not (ours ^ theirs) & 0xff5ffebf  # nor speed of the bus told
        if ops[index][3] & 0xff == 0x3c:  # no discard timer
            return not (ours ^ theirs) & 0xf07fffff
        if ops[index][3] & 0xff == 0x0c:  # conventional PCI's latency timer; functions but 0
            return not (ours ^ theirs) & 0x7f00ff  # do not say that there are others
        return ours == theirs


class Smbus(Profile):
    """The EEPROMs hold something else, so that only what was written is read."""
    base = 0x700

    def setup(self):
        return [access for at, value in ((0x20, self.base), (4, 1), (0x40, 1))
                for access in (out(0xcf8, 0x8000fb00 | at, 4), out(0xcfc, value, 4))]

    def transfer(self, address, command, at, *data):
        return ([out(self.base + 3, at), out(self.base + 4, address)]
                + [out(self.base + 5 + i, d) for i, d in enumerate(data)]
                + [out(self.base + 2, command << 2 | 0x40), inp(self.base), inp(self.base),
                   out(self.base, 0x9e)])

    def ops(self, rng):
        address = rng.randrange(0x50, 0x58) << 1
        at = rng.randrange(256)
        data = [rng.randrange(256), rng.randrange(256)]
        kind = rng.randrange(5)
        if kind == 0:
            return (self.transfer(address, 2, at, *data) + self.transfer(address | 1, 2, at)
                    + [inp(self.base + 5)])
        if kind == 1:
            return (self.transfer(address, 3, at, *data) + self.transfer(address | 1, 3, at)
                    + [inp(self.base + 5), inp(self.base + 6)])
        if kind == 2:
            return (self.transfer(address, 2, at, *data) + self.transfer(address, 1, at)
                    + self.transfer(address | 1, 1, 0) + [inp(self.base + 5)])
        if kind == 3:
            return self.transfer(rng.choice((0x20, 0x60, 0xfe)) | rng.randrange(2),
                                 rng.randrange(4), at, *data)
        return [inp(self.base + n) for n in (2, 3, 4, 5, 6)]

    def agree(self, ops, at, ours, theirs):
        if ops[at + 1:at + 2] == [inp(self.base)]:  # the transfer is over, there at the next look
            return True
        if ops[at][1] == self.base:  # QEMU has no semaphore, bit 6
            return not (ours ^ theirs) & 0x9f
        return ours == theirs


class SmbusPiix4(Smbus):
    machine = "pc"
    base = 0xb100

    def setup(self):
        return [out(0xcf8, 0x80000b04, 4), out(0xcfc, 1, 2), out(0xcf8, 0x80000bd0, 4),
                out(0xcfe, 1)]


PROFILES = {
    "pit": Pit, "pit-strobe": PitStrobe, "rtc": Rtc, "rtc-periodic": RtcPeriodic, "pic": Pic,
    "ioapic": IoApic, "hpet": Hpet, "pm": Pm, "i8042": I8042, "uart": Uart, "pci": Pci,
    "smbus": Smbus, "smbus-piix4": SmbusPiix4,
}


class Godwit:
    def __init__(self, profile):
        self.door = qtest.Door(*profile.args, machine=profile.machine)

    def step(self, ns):
        self.door.step(ns)


class Qemu:
    """Its firmware is HLT instructions, up to the reset vector."""

    def __init__(self, profile):
        self.folder = tempfile.TemporaryDirectory()
        bios = os.path.join(self.folder.name, "halt.bin")
        with open(bios, "wb") as file:
            file.write(b"\xf4" * 65536)
        emulator, qtest.GODWIT = qtest.GODWIT, QEMU
        try:
            self.door = qtest.Door("-S", "-bios", bios, *profile.args, machine=profile.machine,
                                   accel="tcg", qmp=True)
        finally:
            qtest.GODWIT = emulator
        self.now = profile.now(self.door, 0)

    def step(self, profile, ns):
        """Lets the machine go on for about ns; returns how long it was."""
        self.door.qmp.command("cont")
        time.sleep(ns / 1e9)
        self.door.qmp.command("stop")
        before, self.now = self.now, profile.now(self.door, self.now)
        return self.now - before


def play(machine, ops, steps):
    """-> for each access its answer, or the I/O APIC's lines after a step."""
    results = []
    at = 0
    while at < len(ops):
        end = at
        while end < len(ops) and ops[end][0] != "step":
            end += 1
        machine.door.sock.sendall("".join(line(op) + "\n" for op in ops[at:end]).encode())
        for op in ops[at:end]:
            text = machine.door.answer()
            results.append(int(text, 0) if op[0] in ("in", "read") else None)
        if end < len(ops):
            results.append(steps(ops[end][1]))
            end += 1
        at = end
    return results


def first_difference(profile, groups):
    """-> (index of the group, godwit's, qemu's) or None."""
    setup = profile.setup()
    ops = setup + [op for group in groups for op in group]
    qemu = Qemu(profile)
    try:
        theirs = play(qemu, ops, lambda ns: qemu.step(profile, ns))
    finally:
        qemu.door.close()
        qemu.folder.cleanup()
    godwit = Godwit(profile)
    try:
        passed = iter([r for op, r in zip(ops, theirs) if op[0] == "step"])
        ours = play(godwit, ops, lambda unused: godwit.step(next(passed)))
    finally:
        godwit.door.close()
    at = len(setup)
    for n, group in enumerate(groups):
        for _ in group:
            if ours[at] is not None and not profile.agree(ops, at, ours[at], theirs[at]):
                return n, ours[at], theirs[at]
            at += 1
    return None


def reproducible(profile, groups):
    """Whether they differ, time and again at the same place: what is due when QEMU's clock stops may
    have been done or not."""
    places = set()
    for _ in range(4):
        found = first_difference(profile, groups)
        places.add(found and found[0])
        if None in places or len(places) > 1:
            return False
    return True


def shorten(profile, groups):
    """The sequence without what is not needed for a difference."""
    at = first_difference(profile, groups)
    if not at:
        return groups, None
    groups = groups[:at[0] + 1]
    size = len(groups) // 2
    while size:
        i = 0
        while i < len(groups) - 1:
            fewer = groups[:i] + groups[i + size:]
            found = first_difference(profile, fewer) if fewer else None
            if found:
                groups, at = fewer[:found[0] + 1], found
            else:
                i += size
        size //= 2
    return groups, at


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--profile", action="append", choices=sorted(PROFILES))
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--sequences", type=int, default=10)
    parser.add_argument("--length", type=int, default=300)
    options = parser.parse_args()
    if not shutil.which(QEMU):
        print(f"{QEMU} is not installed: nothing to compare with")
        return 77
    failed = 0
    for name in options.profile or PROFILES:
        profile = PROFILES[name]()
        for n in range(options.sequences):
            rng = random.Random(f"{name} {options.seed} {n}")
            groups = [profile.ops(rng) for _ in range(options.length)]
            if reproducible(profile, groups):
                groups, at = shorten(profile, groups)
                print(f"FAIL {name}, seed {options.seed}, sequence {n}:")
                for group in groups:
                    print("    " + "; ".join(map(line, group)))
                print(f"  godwit {show(at and at[1])}, qemu {show(at and at[2])}", flush=True)
                failed += 1
                break
        else:
            print(f"PASS {name}: {options.sequences} sequences of {options.length}", flush=True)
    return 1 if failed else 0


def show(value):
    return "(not again)" if value is None else f"0x{value:x}"


sys.exit(main())
