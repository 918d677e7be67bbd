#!/usr/bin/env python3
"""Bridges and hot plug through the register door: a test in place of firmware and guest, good ones
and bad ones."""
import sys
import unittest

import pci
from godwit import run
from pci import Bridge, Function, Port
from qtest import Door
from virtio import Device

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
        for addr, seen in ((0xe0100000, True), (0xe0000000, False), (0xe0200000, False)):
            dog.put(0x10, addr)
            bars = door.qmp.command("query-pci")[0]["devices"]
            found = [d for d in bars if d["slot"] == 3][0]["pci_bridge"]["devices"][0]
            found = found["pci_bridge"]["devices"][0]
            self.assertEqual((found["bus"], found["slot"], found["qdev_id"]), (6, 2, "wd"))
            self.assertEqual([r["address"] for r in found["regions"]], [addr] if seen else [])
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
                (["pcie-root-port,slot=9000"], "8191")):
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
