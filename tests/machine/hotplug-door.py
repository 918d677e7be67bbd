#!/usr/bin/env python3
"""Bridges and hot plug through the register door: a test in place of firmware and guest, good ones
and bad ones."""
import sys
import unittest

import pci
from godwit import run
from pci import Bridge, Function, Port
from qtest import Door
from virtio import Device, Disk

RNG_PORT, RNG = 0x10441af4, 0x10051af4  # modern in a port, transitional elsewhere


class Case(unittest.TestCase):
    def door(self, *args, machine="q35"):
        door = Door(*args, qmp=True, machine=machine)
        self.addCleanup(door.close)
        return door

    def refused(self, door, command, text, kind="GenericError", **arguments):
        with self.assertRaises(RuntimeError) as caught:
            door.qmp.command(command, **arguments)
        self.assertIn(text, str(caught.exception))
        self.assertIn(kind, str(caught.exception))

    def deleted(self, door, device, virtio=True):
        path = f"/machine/peripheral/{device}"
        if virtio:
            self.assertEqual(door.qmp.event("DEVICE_DELETED")["data"],
                             {"path": path + "/virtio-backend"})
        self.assertEqual(door.qmp.event("DEVICE_DELETED")["data"], {"device": device, "path": path})
        names = [p["name"] for p in door.qmp.command("qom-list", path="/machine/peripheral")]
        self.assertNotIn(device, names)


class Drives(Case):
    def test_drive_goes_with_its_device(self):
        door = self.door("-drive", "if=none,id=d0,file=null-co://,format=raw", "-device",
                         "virtio-blk-pci,drive=d0,id=disk", "-blockdev", "null-co,node-name=n",
                         "-device", "virtio-blk-pci,drive=n,id=other", machine="pc")
        for device in "disk", "other":
            door.qmp.command("device_del", id=device)
            door.qmp.command("system_reset")
            self.deleted(door, device)
        self.assertNotIn("d0", [b["device"] for b in door.qmp.command("query-block")])
        self.assertEqual([n["node-name"] for n in door.qmp.command("query-named-block-nodes")],
                         ["n"])
        door.qmp.command("human-monitor-command",
                         **{"command-line": "drive_add 0 if=none,id=d0,file=null-co://,format=raw"})
        self.refused(door, "device_add", "Bus 'none'", driver="virtio-blk-pci", drive="d0", bus="none")
        door.qmp.command("device_add", driver="virtio-blk-pci", drive="d0", id="disk")

    def test_drive_is_taken_from_its_device(self):
        door = self.door("-drive", "if=none,id=d0,file=null-co://,format=raw,werror=stop", "-device",
                         "virtio-blk-pci,drive=d0,id=disk,addr=5", machine="pc")
        disk = Disk(door, 5)
        disk.start(size=128)
        self.assertEqual(disk.read(0, 1)[0], 0)
        door.qmp.command("human-monitor-command", **{"command-line": "drive_del d0"})
        self.assertEqual(disk.read(0, 1)[0], 1)
        self.assertEqual(door.qmp.command("query-status")["status"], "running")
        self.assertEqual([b["device"] for b in door.qmp.command("query-block")], [""])
        self.assertEqual(door.qmp.command("query-named-block-nodes"), [])
        door.qmp.command("device_del", id="disk")
        door.qmp.command("system_reset")
        self.deleted(door, "disk")
        self.assertEqual(door.qmp.command("query-block"), [])


class Bridges(Case):
    def test_numbers_and_windows(self):
        """What is behind two bridges answers where they pass cycles on, and only there."""
        door = self.door("-device", "pcie-root-port,id=rp,addr=3", "-device",
                         "pcie-pci-bridge,id=br,bus=rp", "-device", "i6300esb,id=wd,bus=br,addr=2")
        port, bridge = Port(door, 3), Bridge(door, 0, bus=5)
        self.assertEqual(port.get(0x0e, 1) & 0x7f, 1)
        self.assertEqual(bridge.id, 0xffffffff)
        port.open(5, 7, memory=(0xe0000000, 0xe02fffff))
        self.assertEqual(bridge.id, 0x000e1b36)
        bridge.open(6, memory=(0xe0100000, 0xe01fffff))
        dog = Function(door, 2, bus=6)
        self.assertEqual(dog.id, 0x25ab8086)
        self.assertEqual(door.readl(0xb0000000 + (6 << 20 | 2 << 15)), 0x25ab8086)  # ECAM
        self.assertEqual(Function(door, 2, bus=7).id, 0xffffffff)
        dog.put(0x04, 2, 2)
        for addr, through in ((0xe0100000, True), (0xe0000000, False), (0xe0200000, False)):
            dog.put(0x10, addr)
            bars = door.qmp.command("query-pci")[0]["devices"]
            found = [d for d in bars if d["slot"] == 3][0]["pci_bridge"]["devices"][0]
            found = found["pci_bridge"]["devices"][0]
            self.assertEqual((found["bus"], found["slot"], found["qdev_id"]), (6, 2, "wd"))
            self.assertEqual([r["address"] for r in found["regions"]], [addr])
            self.assertEqual(door.readl(addr), 0xfffff if through else 0xffffffff)
        dog.put(0x10, 0xe0100000)
        self.assertEqual(door.readl(0xe0100000), 0xfffff)  # its first preload
        bridge.put(pci.COMMAND, 0, 2)
        self.assertEqual(door.readl(0xe0100000), 0xffffffff)
        bridge.put(pci.COMMAND, 2, 2)
        self.assertEqual(door.readl(0xe0100000), 0xfffff)  # its first preload
        bridge.put(pci.CONTROL, 0x40, 2)  # secondary bus reset
        self.assertEqual(dog.get(0x10), 0)
        self.assertEqual(door.readl(0xe0100000), 0xffffffff)

    def test_interrupt_turns(self):
        """INTA of slot 2 behind a bridge in slot 3 is the bridge's INTC, and that PIRQF."""
        door = self.door("-device", "pci-bridge,id=br,addr=3", "-device",
                         "virtio-rng-pci,bus=br,addr=2,vectors=0,id=r")
        bridge = Bridge(door, 3)
        bridge.open(1, memory=(0xe0000000, 0xe03fffff))
        door.do("irq_intercept_in", "ioapic")
        rng = Device(door, 2, bar=0xe0000000, bus=1)
        rng.start()
        rng.queues[0].offer([], [64])
        rng.queues[0].ring()
        wanted = 16 + 4 + (3 + 2) % 4
        while ("raise", wanted) not in door.irqs:
            door.step(1000000)
        self.assertEqual({n for _, n in door.irqs if n >= 16}, {wanted})
        rng.get(0x1000, 1)  # ISR
        door.step(1000000)
        self.assertIn(("lower", wanted), door.irqs)

    def test_errors(self):
        for args, text in (
                (["pcie-root-port,id=a,addr=2", "virtio-rng-pci,bus=a,addr=1"], "only allows"),
                (["pcie-root-port,id=a", "pcie-root-port,bus=a"], "root complex"),
                (["pci-bridge,id=a", "pcie-pci-bridge,bus=a"], "not PCI Express"),
                (["virtio-rng-pci,bus=nowhere"], "Bus 'nowhere' not found"),
                (["pcie-root-port,id=a", "virtio-rng-pci,bus=a", "virtio-rng-pci,bus=a"], "free"),
                (["pcie-root-port,id=pcie.0"], "already"),
                (["pcie-root-port,slot=9000"], "8191"),
                (["virtio-balloon-pci", "virtio-balloon-pci"], "Only one balloon device")):
            result = run("-M", "q35", "-accel", "qtest", "-display", "none",
                         *[x for a in args for x in ("-device", a)])
            self.assertNotEqual(result.returncode, 0)
            self.assertIn(text, result.stderr)


class Native(Case):
    """The slot of a PCI Express root port."""

    def port(self, *args):
        door = self.door("-device", '{"driver":"pcie-root-port","id":"rp","port":8,"chassis":1,'
                         '"slot":7,"multifunction":true,"addr":"0x3"}', *args)
        port = Port(door, 3)
        port.open(1, memory=(0xe0000000, 0xe03fffff))
        return door, port

    def power_on(self, port):
        port.control = 0x31 | pci.ON
        port.acknowledge()

    def power_off(self, port):
        port.control = 0x31 | pci.BLINK
        port.control = 0x31 | pci.BLINK | pci.POWER_OFF
        port.control = 0x31 | pci.OFF | pci.POWER_OFF

    def test_plug_and_unplug(self):
        door, port = self.port()
        self.assertEqual(port.get(port.express + 0x14) >> 19, 7)
        self.assertEqual(port.get(0x0e, 1), 0x81)
        port.control = 0x31 | pci.OFF | pci.POWER_OFF
        port.acknowledge()
        rng = Function(door, 0, bus=1)
        for _ in range(3):
            door.qmp.command("device_add", driver="virtio-rng-pci", id="r", bus="rp", addr="0x0")
            self.assertEqual(port.status, pci.BUTTON | pci.PRESENCE | pci.PRESENT)
            self.assertFalse(port.link_up)
            self.assertEqual(rng.id, 0xffffffff)
            self.power_on(port)
            self.assertTrue(port.link_up)
            self.assertEqual(rng.id, RNG_PORT)
            door.qmp.command("device_del", id="r")
            self.assertEqual(port.status, pci.BUTTON | pci.PRESENT)
            self.refused(door, "device_del", "already in the process of unplug", id="r")
            self.power_off(port)
            self.deleted(door, "r")
            self.assertEqual(rng.id, 0xffffffff)
            self.assertEqual(port.status & (pci.PRESENT | pci.PRESENCE), pci.PRESENCE)
            port.acknowledge()

    def test_interrupt(self):
        door, port = self.port()
        msi = port.capability(5)
        port.control = 0x31 | pci.OFF | pci.POWER_OFF
        port.acknowledge()
        port.put(msi + 4, 0x8000)
        port.put(msi + 12, 0x4a, 2)
        port.put(msi + 2, 1, 2)
        door.qmp.command("device_add", driver="virtio-rng-pci", id="r", bus="rp")
        self.assertEqual(door.readl(0x8000), 0x4a)
        door.writel(0x8000, 0)
        port.acknowledge()
        self.power_on(port)
        self.assertEqual(door.readl(0x8000), 0x4a)  # command completed

    def test_refusal(self):
        """Blinking, then on again: the guest keeps the device, and may be asked anew."""
        door, port = self.port("-device", "virtio-rng-pci,id=r,bus=rp")
        self.power_on(port)
        door.qmp.command("device_del", id="r")
        port.control = 0x31 | pci.BLINK
        self.refused(door, "device_del", "in the process", id="r")
        door.step(6000000000)
        self.refused(door, "device_del", "blinking", id="r")
        port.control = 0x31 | pci.ON
        self.assertEqual(door.qmp.event("DEVICE_UNPLUG_GUEST_ERROR")["data"],
                         {"device": "r", "path": "/machine/peripheral/r"})
        port.acknowledge()
        door.qmp.command("device_del", id="r")
        self.assertTrue(port.status & pci.BUTTON)
        self.power_off(port)
        self.deleted(door, "r")

    def test_reset_ends_it(self):
        door, port = self.port("-device", "virtio-rng-pci,id=r,bus=rp")
        self.power_on(port)
        door.qmp.command("device_del", id="r")
        door.qmp.command("system_reset")
        self.deleted(door, "r")
        self.assertEqual(port.status & pci.PRESENT, 0)

    def test_before_the_guest(self):
        """Nobody has managed the slot yet: what is plugged in has power."""
        door = self.door("-device", "pcie-root-port,id=rp,addr=3", "-S")
        port = Port(door, 3)
        port.open(1)
        door.qmp.command("device_add", driver="virtio-rng-pci", id="r", bus="rp")
        self.assertEqual(port.status, pci.PRESENT)
        self.assertTrue(port.link_up)
        self.assertEqual(Function(door, 0, bus=1).id, RNG_PORT)

    def test_a_bridge_goes_with_what_is_behind(self):
        door, port = self.port()
        door.qmp.command("device_add", driver="pcie-pci-bridge", id="br", bus="rp")
        self.power_on(port)
        self.refused(door, "device_add", "Bus 'br' does not support hotplugging",
                     driver="virtio-rng-pci", bus="br")
        self.power_off(port)
        self.deleted(door, "br", virtio=False)

    def test_hostile(self):
        """Any order of power, link and windows, with a device that works: nothing breaks."""
        door, port = self.port("-device", "virtio-rng-pci,id=r,bus=rp")
        rng = Device(door, 0, bar=0xe0000000, bus=1)
        rng.start()
        rng.queues[0].offer([], [64])
        for value in (0xffff, 0, 0x731, 0x431, 0x131, 0x331, 0x731):
            port.control = value
            rng.queues[0].ring()
            port.put(pci.SECONDARY, value * 0x10101)
            port.put(0x20, value << 16)
            port.put(0x3e, value, 2)
            port.open(1, memory=(0xe0000000, 0xe03fffff))
        self.deleted(door, "r")
        self.assertEqual(door.qmp.command("query-status")["status"], "running")

    def test_errors(self):
        door, _ = self.port("-device", "pcie-root-port,id=fixed,hotplug=off,addr=4", "-device",
                            "virtio-rng-pci,id=cold")
        add, delete = "device_add", "device_del"
        self.refused(door, add, "Parameter 'driver' is missing")
        self.refused(door, add, "'nope' is not a valid device model name", driver="nope")
        self.refused(door, add, "Bus 'x' not found", driver="virtio-rng-pci", bus="x")
        self.refused(door, add, "Bus 'pcie.0' does not support hotplugging", driver="virtio-rng-pci")
        self.refused(door, add, "Bus 'fixed' does not", driver="virtio-rng-pci", bus="fixed")
        self.refused(door, add, "Bus 'isa.0' does not", driver="ib700")
        self.refused(door, add, "Duplicate device ID 'cold'", driver="virtio-rng-pci", bus="rp",
                     id="cold")
        self.refused(door, add, "identifier", driver="virtio-rng-pci", bus="rp", id="1")
        self.refused(door, add, "no property 'foo'", driver="virtio-rng-pci", bus="rp", foo=1)
        self.refused(door, add, "pluggable device type", driver="ICH9-LPC")
        self.refused(door, add, "'VGA' does not support hotplugging", driver="VGA", bus="rp")
        self.refused(door, delete, "Device 'nope' not found", "DeviceNotFound", id="nope")
        self.refused(door, delete, "Bus 'pcie.0' does not support", id="cold")
        self.refused(door, delete, "Bus 'pcie.0' does not support", id="rp")


class Acpi(Case):
    """Slots of pci.0 on the pc board, by the registers that its ACPI methods use."""
    UP, DOWN, EJECT, SLOTS, BUS = 0xae00, 0xae04, 0xae08, 0xae0c, 0xae10
    GPE = 0xb000 + 0x20

    def door(self, *args):
        return super().door(*args, machine="pc")

    def test_plug_and_unplug(self):
        door = self.door("-device", "virtio-rng-pci,id=cold,addr=4")
        self.assertEqual(door.inl(self.SLOTS), 0xfffffffc)  # not the chipset's
        for _ in range(3):
            door.qmp.command("device_add", driver="virtio-rng-pci", id="r", addr="0x5")
            self.assertEqual(door.inb(self.GPE), 2)
            door.outb(self.GPE, 2)
            self.assertEqual((door.inl(self.UP), door.inl(self.UP)), (1 << 5, 0))
            self.assertEqual(Function(door, 5).id, RNG)
            door.qmp.command("device_del", id="r")
            self.assertEqual((door.inb(self.GPE), door.inl(self.DOWN)), (2, 1 << 5))
            door.outb(self.GPE, 2)
            door.qmp.command("device_del", id="r")  # the guest has lost the event, and hears it again
            self.assertEqual((door.inb(self.GPE), door.inl(self.DOWN)), (2, 1 << 5))
            door.outl(self.EJECT, 1 << 5)
            self.deleted(door, "r")
            self.assertEqual((Function(door, 5).id, door.inl(self.DOWN)), (0xffffffff, 0))
            door.outb(self.GPE, 2)
        door.outl(self.EJECT, 1 << 4)  # of the guest's own accord
        self.deleted(door, "cold")

    def test_reset_ends_it(self):
        door = self.door("-device", "virtio-rng-pci,id=r")
        door.qmp.command("device_del", id="r")
        door.qmp.command("system_reset")
        self.deleted(door, "r")

    def test_hostile(self):
        """Eject everything, on any bus, while the device works."""
        door = self.door("-device", "virtio-rng-pci,id=r,addr=5")
        rng = Device(door, 5)
        rng.start()
        rng.queues[0].offer([], [64])
        for bus in (1, 0xffffffff, 0):
            door.outl(self.BUS, bus)
            door.outl(self.EJECT, 0xffffffff)
            self.assertEqual(door.inl(self.BUS), bus)
        self.deleted(door, "r")
        self.assertEqual(Function(door, 1).id & 0xffff, 0x8086)  # the chipset stays
        self.refused(door, "device_add", "does not support hotplugging", driver="VGA")

    def test_off(self):
        door = self.door("-global", "PIIX4_PM.acpi-root-pci-hotplug=off")
        self.refused(door, "device_add", "Bus 'pci.0' does not support hotplugging",
                     driver="virtio-rng-pci")
        self.assertEqual(door.inl(self.SLOTS), 0xffffffff)


class Memory(Case):
    """Slots for memory, by the registers that ACPI methods use."""
    SLOT, EVENT, STATUS, FLAGS = 0xa00, 0xa04, 0xa08, 0xa14

    def door(self, *args):
        return super().door("-m", "16,slots=2,maxmem=1G", *[
            x for i in range(3) for x in ("-object", f"memory-backend-ram,id=m{i},size=32M")], *args)

    def add(self, door, device, memory, **more):
        door.qmp.command("device_add", driver="pc-dimm", id=device, memdev=memory, **more)

    def test_plug_and_unplug(self):
        door = self.door("-device", "pc-dimm,id=cold,memdev=m0")
        door.outl(self.SLOT, 0)
        self.assertEqual(door.inb(self.FLAGS), 1)
        self.add(door, "d", "m1", node=0, slot=1)
        self.assertEqual(door.inb(0x600 + 0x20), 8)
        door.outl(self.SLOT, 1)
        self.assertEqual(door.inb(self.FLAGS), 3)
        where = door.inl(0xa00) | door.inl(0xa04) << 32
        self.assertEqual((where, door.inl(0xa08)), (0x102000000, 32 << 20))
        data = [d["data"] for d in door.qmp.command("query-memory-devices")]
        self.assertEqual(data[1], {"id": "d", "addr": where, "size": 32 << 20, "slot": 1, "node": 0,
                                   "memdev": "/objects/m1", "hotplugged": True,
                                   "hotpluggable": True})
        self.assertEqual([d["hotplugged"] for d in data], [False, True])
        self.assertEqual(door.qmp.command("query-memory-size-summary"),
                         {"base-memory": 16 << 20, "plugged-memory": 64 << 20})
        door.write(where + (32 << 20) - 8, b"12345678")
        self.assertEqual(door.read(where + (32 << 20) - 8, 8), b"12345678")
        self.refused(door, "object-del", "in use", id="m1")
        door.outb(self.FLAGS, 2)
        self.assertEqual(door.inb(self.FLAGS), 1)
        door.qmp.command("device_del", id="d")
        self.assertEqual(door.inb(self.FLAGS), 5)
        door.outb(self.FLAGS, 4)
        door.outb(self.FLAGS, 8)
        self.deleted(door, "d", virtio=False)
        self.assertEqual(door.read(where, 4), b"\xff\xff\xff\xff")
        door.qmp.command("object-del", id="m1")

    def test_refusal(self):
        door = self.door("-device", "pc-dimm,id=d,memdev=m0")
        door.qmp.command("device_del", id="d")
        door.outl(self.SLOT, 0)
        for status in (0x84, 0x82):
            door.outl(self.EVENT, 3)
            door.outl(self.STATUS, status)
            info = {"device": "d", "slot": "0", "slot-type": "DIMM", "source": 3, "status": status}
            self.assertEqual(door.qmp.event("ACPI_DEVICE_OST")["data"], {"info": info})
            self.assertEqual(door.qmp.command("query-acpi-ospm-status")[0], info)
        error = door.qmp.event("MEM_UNPLUG_ERROR")["data"]
        self.assertEqual(error["device"], "d")
        self.assertIn("130", error["msg"])
        self.assertEqual(door.qmp.event("DEVICE_UNPLUG_GUEST_ERROR")["data"],
                         {"device": "d", "path": "/machine/peripheral/d"})
        door.qmp.command("device_del", id="d")
        door.outb(self.FLAGS, 8)
        self.deleted(door, "d", virtio=False)

    def test_hostile(self):
        door = self.door("-device", "pc-dimm,id=d,memdev=m0")
        for slot in (2, 255, 256, 0xffffffff):
            door.outl(self.SLOT, slot)
            for port in range(self.EVENT, 0xa18, 4):
                door.inl(port)
                door.outl(port, 0xffffffff)
        self.assertEqual(len(door.qmp.command("query-memory-devices")), 1)

    def test_size_in_parts(self):
        """What one -m leaves out an earlier one may have said; maxmem= is in bytes."""
        door = Door("-m", "16", "-m", f"slots=2,maxmem={48 << 20}", "-m", "size=0x20", qmp=True)
        self.addCleanup(door.close)
        for name, size in ("a", 17 << 20), ("b", 16 << 20):
            door.qmp.command("object-add", **{"qom-type": "memory-backend-memfd", "id": name,
                                              "size": size})
        self.assertEqual(door.qmp.command("query-memory-size-summary")["base-memory"], 32 << 20)
        self.refused(door, "device_add", "not enough space, currently 0x0 in use of total space for "
                     "memory devices 0x1000000", driver="pc-dimm", memdev="a")
        self.add(door, "d", "b")

    def test_alignment(self):
        """It is the back end's: pages for a file, the larger ones if it says so."""
        door = Door("-m", "16,slots=5,maxmem=4G", qmp=True)
        self.addCleanup(door.close)
        memfd, file = "memory-backend-memfd", "memory-backend-file"
        for name, kind, size, more in (
                ("a", memfd, 3 << 20, {}), ("b", memfd, 4096, {}),
                ("c", "memory-backend-ram", 2 << 20, {}),
                ("d", file, 16 << 20, {"mem-path": "/dev/shm", "align": 16 << 20}),
                ("e", file, 3 << 20, {"mem-path": "/dev/shm", "align": 2 << 20})):
            door.qmp.command("object-add", **{"qom-type": kind, "id": name, "size": size}, **more)
        for name in "abcd":
            self.add(door, name, name)
        self.refused(door, "device_add", "size must be multiple of 0x200000", driver="pc-dimm",
                     memdev="e")
        self.assertEqual([d["data"]["addr"] - (1 << 32)
                          for d in door.qmp.command("query-memory-devices")],
                         [0, 0x300000, 0x400000, 0x1000000])

    def test_object_tree(self):
        """The RAM's back end is an object that is in use; properties are told with their defaults."""
        door = self.door("-device", "pc-dimm,id=d,memdev=m0")
        get = lambda path, name: door.qmp.command("qom-get", path=path, property=name)
        self.refused(door, "object-del", "object 'pc.ram' is in use", id="pc.ram")
        self.refused(door, "object-add", "duplicate", id="pc.ram", size=4096,
                     **{"qom-type": "memory-backend-ram"})
        self.assertEqual(get("/objects/pc.ram", "size"), 16 << 20)
        for name, value in (("share", False), ("merge", True), ("dump", True), ("prealloc", False),
                            ("prealloc-threads", 1), ("reserve", True), ("policy", "default"),
                            ("host-nodes", [])):
            self.assertEqual(get("/objects/m1", name), value)
        for name, value in (("size", 32 << 20), ("memdev", "/objects/m0"), ("hotplugged", False),
                            ("hotpluggable", True)):
            self.assertEqual(get("/machine/peripheral/d", name), value)

    def test_order(self):
        """The list is by address, not by slot."""
        door = self.door()
        self.add(door, "high", "m0", addr=0x104000000)
        self.add(door, "low", "m1")
        data = [d["data"] for d in door.qmp.command("query-memory-devices")]
        self.assertEqual([(d["id"], d["slot"]) for d in data], [("low", 1), ("high", 0)])

    def test_errors(self):
        door = self.door("-device", "pc-dimm,id=d,memdev=m0", "-object",
                         "memory-backend-ram,id=odd,size=5M")
        for text, more in (
                ("'memdev' property must be set", {}),
                ("can't use already busy memdev: m0", {"memdev": "m0"}),
                ("slot 0 is busy", {"memdev": "m1", "slot": 0}),
                ("invalid slot number 2, valid range is [0-1]", {"memdev": "m1", "slot": 2}),
                ("address must be aligned to 0x200000 bytes", {"memdev": "m1", "addr": 5}),
                ("conflicts with memory device id='d'", {"memdev": "m1", "addr": 1 << 32}),
                ("usable range for memory devices", {"memdev": "m1", "addr": 1 << 40}),
                ("must be multiple of 0x200000", {"memdev": "odd"}),
                ("number of numa nodes: 1", {"memdev": "m1", "node": 1})):
            self.refused(door, "device_add", text, driver="pc-dimm", id="e", **more)
        self.add(door, "e", "m1")
        self.refused(door, "device_add", "no free slots", driver="pc-dimm", memdev="m2")
        self.refused(door, "device_add", "Device 'x' not found", "DeviceNotFound",
                     driver="pc-dimm", memdev="x")
        names = {m["id"]: m["size"] for m in door.qmp.command("query-memdev")}
        self.assertEqual(names, {"m0": 32 << 20, "m1": 32 << 20, "m2": 32 << 20, "odd": 5 << 20,
                                 "pc.ram": 16 << 20})

    def test_options(self):
        ram = ["-object", "memory-backend-ram,id=r0,size=16M"]
        for args, text in (
                (["-m", "16,slots=2"], "no max-size"), (["-m", "16,slots=2,maxmem=8M"], "at least"),
                (["-m", "16,slots=2,maxmem=16M"], "is equal"),
                (["-m", "16,slots=257,maxmem=1G"], "unsupported amount of memory slots: 257"),
                (["-m", "16,slots=2,maxmem=1E"], "does not fit"),
                (["-m", "16", "-device", "pc-dimm,memdev=r0", *ram], "'slots' option"),
                (["-m", "16", "-numa", "node"], "should equal RAM size"),
                (["-m", "16", "-numa", "node,memdev=r1"], "no such -object"),
                (["-m", "16", "-numa", "foo"], "does not accept value 'foo'"),
                (["-m", "16", "-numa", "node,cpus=0-9,memdev=r0", *ram], "CPU index (1)"),
                (["-m", "16", "-numa", "cpu,node-id=0"], "must be defined with -numa node"),
                (["-m", "16", "-numa", "node,memdev=r0", "-numa", "cpu,core-id=0", *ram], "node-id"),
                (["-m", "16", "-numa", "node,memdev=r0", "-numa", "cpu,node-id=0,core-id=1", *ram],
                 "no match found"),
                (["-m", "16", "-numa", "node,cpus=1"], "CPU index (1)"),  # before the memory
                (["-m", "16", "-numa", "node", "-numa", "cpu,node-id=0,die-id=0"],
                 "die-id is not supported"),
                (["-m", "16", "-numa", "node", "-numa", "dist,src=0,dst=0"], "'val' is missing"),
                (["-m", "16", "-numa", "cpus=0"], "'type' is missing"),
                (["-m", "16,slots=2,maxmem=1000"], "(0x3e8) must be at least"),  # bytes
                (["-m", "16,slots=2,maxmem=0"], "(0x0) must be at least"),
                (["-m", "16,slots=2,maxmem=33554433"], "pages of 4096 bytes"),
                (["-m", "maxmem=1G", "-m", "16,slots=x"], "'slots' expects a number"),
                (["-m", "16", "-numa", "dist,src=0,dst=1,val=20"], "missing"),
                (["-m", "16", "-numa", "node,memdev=r0,cpus=0", "-numa", "node,cpus=0", *ram],
                 "CPU is already assigned to node-id: 0"),
                (["-m", "16", "-smp", "2", "-numa", "node,memdev=r0", "-numa", "node,cpus=0", "-numa",
                  "cpu,node-id=0,socket-id=0", *ram], "CPU is already assigned to node-id: 1"),
                (["-m", "16", "-numa", "node,memdev=r0", *["-numa", "node"] * 2, "-numa",
                  "dist,src=0,dst=1,val=20", *ram], "The distance between node 0 and 2 is missing"),
                (["-m", "16", "-numa", "node,memdev=r0", *["-numa", "node"] * 2,
                  *[part for way in ("src=0,dst=1,val=20", "src=1,dst=0,val=30", "src=0,dst=2,val=20",
                                     "src=1,dst=2,val=20") for part in ("-numa", f"dist,{way}")],
                  *ram], "At least one asymmetrical pair of distances is given"),
                (["-m", "16", "-numa", "node,memdev=r0", "-numa", "node,nodeid=0", *ram],
                 "Duplicate")):
            result = run("-M", "q35", "-accel", "qtest", "-display", "none", *args)
            self.assertNotEqual(result.returncode, 0)
            self.assertIn(text, result.stderr)


class Nodes(Case):
    def nodes(self, *args):
        door = self.door("-object", "memory-backend-ram,id=r,size=16M", *args)
        text = door.qmp.command("human-monitor-command", **{"command-line": "info numa"})
        cpus = {c["cpu-index"]: c["props"]["node-id"]
                for c in door.qmp.command("query-cpus-fast")} if "node 0" in text else {}
        return text.split("\r\n"), [cpus[i] for i in sorted(cpus)]

    def test_told(self):
        text, cpus = self.nodes("-machine", "smp.cpus=4,smp.sockets=4", "-numa", "node,memdev=r",
                                "-numa", "node")
        self.assertEqual(text, ["2 nodes", "node 0 cpus: 0 2", "node 0 size: 16 MB",
                                "node 0 plugged: 0 MB", "node 1 cpus: 1 3", "node 1 size: 0 MB",
                                "node 1 plugged: 0 MB", ""])
        self.assertEqual(cpus, [0, 1, 0, 1])
        self.assertEqual(self.nodes(), (["0 nodes", ""], []))

    def test_one_for_memory_to_come(self):
        """Where memory may be plugged in there is a node, whether or not one was asked for."""
        text, cpus = self.nodes("-m", "16,maxmem=32M", "-machine", "smp.cpus=2")
        self.assertEqual(text, ["1 nodes", "node 0 cpus: 0 1", "node 0 size: 16 MB",
                                "node 0 plugged: 0 MB", ""])
        self.assertEqual(cpus, [0, 0])

    def test_memory(self):
        """The RAM of several nodes is told of by what it was made of."""
        door = Door("-m", "64", "-smp", "2", "-object", "memory-backend-ram,id=a,size=16M,merge=off",
                    "-object", "memory-backend-ram,id=b,size=48M", "-numa", "node,memdev=a", "-numa",
                    "node,memdev=b", qmp=True)
        self.addCleanup(door.close)
        told = {m["id"]: (m["size"] >> 20, m["prealloc"]) for m in door.qmp.command("query-memdev")}
        self.assertEqual(told, {"a": (16, False), "b": (48, False)})

    def test_cpus_by_place(self):
        _, cpus = self.nodes("-smp", "8,sockets=2,cores=2,threads=2", "-numa", "node,memdev=r",
                             "-numa", "node", "-numa", "cpu,node-id=1,socket-id=0", "-numa",
                             "cpu,node-id=1,socket-id=1,core-id=1,thread-id=1")
        self.assertEqual(cpus, [1, 1, 1, 1, 0, 0, 0, 1])


class Cpus(Case):
    """Places for vCPUs, by the registers that ACPI methods use."""
    SELECT, FLAGS, COMMAND, DATA = 0xcd8, 0xcdc, 0xcdd, 0xce0
    DRIVER = "qemu64-x86_64-cpu"

    def door(self, *args, smp="1,sockets=2,cores=2,maxcpus=4"):
        return super().door("-cpu", "qemu64", "-smp", smp, *args)

    def add(self, door, socket, core, **more):
        door.qmp.command("device_add", driver=self.DRIVER,
                         **{"socket-id": socket, "core-id": core, "thread-id": 0}, **more)

    def there(self, door):
        return [c["cpu-index"] for c in door.qmp.command("query-cpus-fast")]

    def test_plug_and_unplug(self):
        door = self.door("-device", f"{self.DRIVER},id=cold,socket-id=0,core-id=1,thread-id=0")
        self.assertEqual(self.there(door), [0, 1])
        places = door.qmp.command("query-hotpluggable-cpus")
        self.assertEqual(places[0], {"type": self.DRIVER, "vcpus-count": 1, "props": {
            "socket-id": 1, "core-id": 1, "thread-id": 0}})
        self.assertEqual([p.get("qom-path") for p in places[2:]],
                         ["/machine/peripheral/cold", "/machine/unattached/device[0]"])
        for _ in range(3):
            self.add(door, 1, 1, id="c")
            self.assertEqual(self.there(door), [0, 1, 3])
            self.assertEqual(door.inb(0x600 + 0x20), 4)
            door.outb(0x600 + 0x20, 4)
            door.outl(self.SELECT, 0)
            door.outb(self.COMMAND, 0)
            self.assertEqual((door.inl(self.DATA), door.inb(self.FLAGS)), (3, 3))
            door.outb(self.COMMAND, 3)
            self.assertEqual(door.inl(self.DATA), 3)
            door.outb(self.FLAGS, 2)
            door.qmp.command("device_del", id="c")
            self.assertEqual(door.inb(self.FLAGS), 5)
            door.outb(self.FLAGS, 4)
            door.outb(self.FLAGS, 8)
            self.assertEqual(door.inb(self.FLAGS), 0)
            self.deleted(door, "c", virtio=False)
            self.assertEqual(self.there(door), [0, 1])

    def test_refusal(self):
        door = self.door()
        self.add(door, 0, 1, id="c")
        door.qmp.command("device_del", id="c")
        door.outl(self.SELECT, 1)
        for command, value in ((1, 3), (2, 0x82)):
            door.outb(self.COMMAND, command)
            door.outl(self.DATA, value)
        info = {"device": "c", "slot": "1", "slot-type": "CPU", "source": 3, "status": 0x82}
        self.assertEqual(door.qmp.event("ACPI_DEVICE_OST")["data"], {"info": info})
        self.assertEqual(door.qmp.event("DEVICE_UNPLUG_GUEST_ERROR")["data"],
                         {"device": "c", "path": "/machine/peripheral/c"})
        self.assertEqual(door.qmp.command("query-acpi-ospm-status")[1], info)

    def test_hostile(self):
        """Nonsense in the registers, the boot CPU and absent ones thrown out."""
        door = self.door()
        self.add(door, 1, 0, id="c")
        for index in (4, 255, 0xffffffff, 0, 1, 3):
            door.outl(self.SELECT, index)
            for value in range(256):
                door.outb(self.COMMAND, value)
                door.outl(self.DATA, 0x01010101 * value)
                door.outb(self.FLAGS, value)
                door.inl(self.FLAGS)
        self.deleted(door, "c", virtio=False)  # command 0 has found it
        self.assertEqual(self.there(door), [0])

    def test_errors(self):
        door = self.door()
        place = {"socket-id": 0, "core-id": 0, "thread-id": 0}
        for text, more in (("CPU socket-id is not set", {}),
                           ("CPU core-id is not set", {"socket-id": 0}),
                           ("Invalid CPU socket-id: 5 must be in range 0:1", {"socket-id": 5}),
                           ("CPU[0] with APIC ID 0 exists", place),
                           ("'foo'", {**place, "foo": 1})):
            self.refused(door, "device_add", text, driver=self.DRIVER, **more)
        self.refused(door, "device_add", f"expected cpu type: '{self.DRIVER}'",
                     driver="max-x86_64-cpu", **place)
        self.refused(door, "device_del", "Boot CPU is unpluggable",
                     id="/machine/unattached/device[0]")
        full = self.door(smp="2")
        self.refused(full, "device_add", "CPU[0] with APIC ID 0 exists", driver=self.DRIVER, **place)
        self.refused(full, "device_add", "must be in range 0:0", driver=self.DRIVER,
                     **{**place, "socket-id": 2})


class Types(Case):
    def test_properties(self):
        """What all PCI devices have is told with their own."""
        door = self.door()
        props = {p["name"]: p for p in
                 door.qmp.command("device-list-properties", typename="pcie-root-port")}
        self.assertLessEqual({"hotplug", "chassis", "port", "addr", "multifunction"}, set(props))
        self.assertIs(props["hotplug"]["default-value"], True)


if __name__ == "__main__":
    unittest.main(verbosity=2, argv=[sys.argv[0]] + sys.argv[1:])
