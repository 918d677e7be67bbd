#!/usr/bin/env python3
"""Limits of disk I/O over QMP and on the command line: groups, filter nodes, back ends.

Usage: test-throttle.py PROGRAM [unittest arguments]

PROGRAM is godwit, or QEMU as the oracle.
"""
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from qmpwire import Emulator, take_program  # noqa: E402

PROGRAM = take_program()
NONE = {"bps": 0, "bps_rd": 0, "bps_wr": 0, "iops": 0, "iops_rd": 0, "iops_wr": 0}
DISK = "/machine/peripheral/disk/virtio-backend"
BURSTS = [f"{kind}_max{length}" for kind in NONE for length in ("", "_length")] + ["iops_size"]


class Throttle(unittest.TestCase):
    def start(self, *args):
        self.emulator = Emulator(PROGRAM, "-M", "pc", *args)
        self.addCleanup(self.emulator.close)
        self.wire = self.emulator.wire()

    def error(self, command, arguments, kind="GenericError"):
        reply = self.wire.ask(command, arguments)
        self.assertIn("error", reply)
        self.assertEqual(reply["error"]["class"], kind)
        return reply["error"]["desc"]

    def group(self, name, **properties):
        self.wire.value("object-add", {"qom-type": "throttle-group", "id": name, **properties})

    def refused(self, **properties):
        return self.error("object-add", {"qom-type": "throttle-group", "id": "bad", **properties})

    def limits(self, name):
        value = self.wire.value("qom-get", {"path": name, "property": "limits"})
        self.assertEqual(len(value), 19)
        return {k: v for k, v in value.items() if v != k.endswith("length")}

    def inserted(self):
        return self.wire.value("query-block")[0]["inserted"]

    def told(self):
        """What query-block tells of limits that are there."""
        inserted = self.inserted()
        return {k: inserted[k] for k in [*NONE, *BURSTS, "group"] if inserted.get(k)}

    def test_group(self):
        self.start()
        self.group("g", **{"x-iops-total": 100, "limits": {"bps-read": 4096, "bps-read-max": 8192}})
        self.assertEqual(self.limits("g"), {"iops-total": 100, "bps-read": 4096,
                                            "bps-read-max": 8192})
        self.assertEqual(self.wire.value("qom-get", {"path": "/objects/g",
                                                     "property": "x-bps-read"}), 4096)
        self.assertIn({"name": "g", "type": "child<throttle-group>"},
                      self.wire.value("qom-list", {"path": "/objects"}))
        self.assertIn({"name": "limits", "type": "ThrottleLimits"},
                      self.wire.value("qom-list", {"path": "/objects/g"}))
        limits = {"path": "g", "property": "limits"}
        self.wire.value("qom-set", {**limits, "value": {"iops-total": 5}})
        self.assertEqual(self.limits("g")["iops-total"], 5)
        self.assertIn("cannot be used at the same time",
                      self.error("qom-set", {**limits, "value": {"iops-read": 5}}))
        self.assertEqual(self.limits("g")["iops-total"], 5)
        self.assertEqual(self.error("qom-set", {**limits, "property": "x-iops-total", "value": 5}),
                         "Property cannot be set after initialization")

    def test_bad_groups(self):
        self.start()
        for properties, error in (
                ({"x-bps-total": -1}, "Property values cannot be negative"),
                ({"limits": {"bps-total": -1}}, "must be within [0, 1000000000000000]"),
                ({"limits": {"bps-total": 10, "bps-total-max": 5}}, "cannot be lower than"),
                ({"limits": {"bps-total-max": 5}}, "require corresponding bps/iops values"),
                ({"limits": {"bps-total": 1, "bps-total-max-length": 0}}, "cannot be 0"),
                ({"limits": {"bps-total": 1, "bps-total-max-length": 1 << 32}},
                 "bps-total-max-length value must be in the range [0, 4294967295]"),
                ({"limits": {"iops-size": 4096}}, "requires an iops value")):
            self.assertIn(error, self.refused(**properties))
        self.group("bad")  # none of them left something behind
        self.assertEqual(self.limits("bad"), {})

    def test_node(self):
        self.start()
        self.group("g", limits={"iops-total": 100})
        node = {"driver": "throttle", "node-name": "t", "throttle-group": "none",
                "file": {"driver": "null-co", "size": 1 << 20, "node-name": "n"}}
        self.assertEqual(self.error("blockdev-add", node), "Throttle group 'none' does not exist")
        self.wire.value("blockdev-add", {**node, "throttle-group": "g"})
        self.assertEqual(self.error("object-del", {"id": "g"}),
                         "object 'g' is in use, can not be deleted")
        nodes = {n["node-name"]: n for n in self.wire.value("query-named-block-nodes")}
        self.assertEqual(nodes["t"]["drv"], "throttle")
        self.assertEqual(nodes["t"]["image"]["virtual-size"], 1 << 20)
        self.assertEqual(nodes["t"]["iops"], 0)
        self.wire.value("blockdev-del", {"node-name": "t"})
        self.wire.value("object-del", {"id": "g"})

    def test_device(self):
        self.start("-blockdev", "null-co,node-name=n", "-device",
                   "virtio-blk-pci,id=disk,drive=n")
        self.assertEqual(self.told(), {})
        arg = {**NONE, "id": DISK}
        self.wire.value("block_set_io_throttle", {**arg, "bps": 1000})
        self.assertEqual(self.told(), {"bps": 1000, "group": DISK})
        self.wire.value("block_set_io_throttle", {
            **arg, "iops_rd": 10, "iops_rd_max": 20, "iops_rd_max_length": 3, "iops_size": 4096,
            "group": "together"})
        self.assertEqual(self.told(), {"iops_rd": 10, "iops_rd_max": 20, "iops_rd_max_length": 3,
                                       "iops_size": 4096, "group": "together"})
        self.assertEqual(self.error("object-add", {"qom-type": "throttle-group",
                                                   "id": "together"}),
                         "A group with this name already exists")
        self.assertIn("cannot be lower", self.error("block_set_io_throttle",
                                                    {**arg, "bps": 10, "bps_max": 5}))
        self.assertEqual(self.told()["iops_rd"], 10)
        self.wire.value("block_set_io_throttle", arg)
        self.assertEqual(self.told(), {})
        self.group("together")
        self.wire.value("block_set_io_throttle", {**arg, "iops": 7, "group": "together"})
        self.assertEqual(self.limits("together"), {"iops-total": 7})

    def test_errors(self):
        self.start("-drive", "if=none,id=empty", "-device", "ide-cd,id=cd,drive=empty")
        for arg, error, kind in (
                ({"id": "nope"}, "Device 'nope' not found", "DeviceNotFound"),
                ({"device": "nope"}, "Device 'nope' not found", "DeviceNotFound"),
                ({}, "Need exactly one of 'device' and 'id'", "GenericError"),
                ({"device": "empty", "id": "cd"}, "Need exactly one of 'device' and 'id'",
                 "GenericError"),
                ({"device": "empty"}, "Device has no medium", "GenericError")):
            self.assertEqual(self.error("block_set_io_throttle", {**NONE, **arg}, kind), error)

    def test_drive(self):
        self.start("-drive", "if=virtio,driver=null-co,id=d,throttling.bps-read=1000,"
                   "throttling.bps-read-max=2000,throttling.bps-read-max-length=4,iops=10,"
                   "iops_size=512,group=many")
        self.assertEqual(self.told(), {"bps_rd": 1000, "bps_rd_max": 2000, "bps_rd_max_length": 4,
                                       "iops": 10, "iops_size": 512, "group": "many"})

    def test_drive_alone(self):
        self.start("-drive", "if=virtio,driver=null-co,id=d,bps_wr=1000,bps_wr_max=2000")
        self.assertEqual(self.told(), {"bps_wr": 1000, "bps_wr_max": 2000, "bps_wr_max_length": 1,
                                       "group": "d"})


if __name__ == "__main__":
    unittest.main()
