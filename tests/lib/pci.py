"""PCI on the register door: configuration cycles, bridges, a port's slot."""

COMMAND, SECONDARY, CONTROL = 0x04, 0x18, 0x3e
LINK_ACTIVE, PRESENT = 0x2000, 0x40
BUTTON, PRESENCE, COMPLETED, LINK = 1, 8, 0x10, 0x100
POWER_OFF, ON, BLINK, OFF = 0x400, 0x100, 0x200, 0x300


class Function:
    """A device's configuration space, through ports 0xcf8 and 0xcfc."""

    def __init__(self, door, slot, function=0, bus=0):
        self.door, self.address = door, 0x80000000 | bus << 16 | slot << 11 | function << 8

    def get(self, offset, size=4):
        self.door.outl(0xcf8, self.address | offset & 0xfc)
        return {1: self.door.inb, 2: self.door.inw, 4: self.door.inl}[size](0xcfc + offset % 4)

    def put(self, offset, value, size=4):
        self.door.outl(0xcf8, self.address | offset & 0xfc)
        {1: self.door.outb, 2: self.door.outw, 4: self.door.outl}[size](0xcfc + offset % 4, value)

    @property
    def id(self):
        return self.get(0)

    def capability(self, number):
        at = self.get(0x34, 1)
        while at and self.get(at, 1) != number:
            at = self.get(at + 1, 1)
        return at


class Bridge(Function):
    def open(self, secondary, subordinate=None, memory=None, io=None):
        """Gives it bus numbers and windows: (first, last) of memory and I/O."""
        last = secondary if subordinate is None else subordinate
        self.put(SECONDARY, last << 16 | secondary << 8)
        if memory:
            self.put(0x20, (memory[1] >> 16 & 0xfff0) << 16 | memory[0] >> 16 & 0xfff0)
        if io:
            self.put(0x1c, (io[1] >> 8 & 0xf0) << 8 | io[0] >> 8 & 0xf0, 2)
        self.put(COMMAND, 7, 2)


class Port(Bridge):
    """A root port with a slot."""

    def __init__(self, *args, **more):
        super().__init__(*args, **more)
        self.express = self.capability(0x10)

    @property
    def control(self):
        return self.get(self.express + 0x18, 2)

    @control.setter
    def control(self, value):
        self.put(self.express + 0x18, value, 2)

    @property
    def status(self):
        return self.get(self.express + 0x1a, 2)

    def acknowledge(self):
        self.put(self.express + 0x1a, 0x11f, 2)

    @property
    def link_up(self):
        return bool(self.get(self.express + 0x12, 2) & LINK_ACTIVE)
