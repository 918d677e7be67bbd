#!/usr/bin/env python3
"""Trays and media of CD drives, over QMP.

Usage: test-media.py PROGRAM [unittest arguments]

PROGRAM is godwit, or QEMU as the oracle.
"""
import json
import os
import shutil
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from qmpwire import Emulator, take_program  # noqa: E402

PROGRAM = take_program()


class Media(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="media-test-")
        self.addCleanup(shutil.rmtree, self.dir)
        self.images = []
        for name in ("a", "b"):
            self.images.append(os.path.join(self.dir, name))
            with open(self.images[-1], "wb") as file:
                file.truncate(1 << 20)
        self.emulator = Emulator(
            PROGRAM, "-S", "-nodefaults",
            "-drive", f"if=none,id=d0,media=cdrom,format=raw,file={self.images[0]}",
            "-device", "ide-cd,drive=d0,id=cd0,bus=ide.0",
            "-device", "ide-cd,id=cd1,bus=ide.1",
            "-drive", f"if=none,id=d1,format=raw,file={self.images[1]}",
            "-device", "virtio-blk-pci,drive=d1,id=disk", machine="q35")
        self.addCleanup(self.emulator.close)
        self.wire = self.emulator.wire()

    def drive(self, qdev):
        return next(d for d in self.wire.value("query-block") if d.get("qdev") == qdev)

    def ask(self, command, arguments):
        """The tray's movements, and the error or None."""
        self.wire.send(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        moved = []
        while True:
            line = self.wire.line()
            if line.get("event") == "DEVICE_TRAY_MOVED":
                moved.append((line["data"]["device"], line["data"]["id"],
                              line["data"]["tray-open"]))
            elif "event" not in line:
                return moved, line.get("error", {}).get("desc")

    def expect(self, command, arguments, moved, error=None):
        self.assertEqual(self.ask(command, arguments), (moved, error), (command, arguments))

    def test_image_in_use(self):
        """A medium that another has open for writing: the drive stays empty, and all goes on."""
        for _ in range(3):
            _, error = self.ask("blockdev-change-medium",
                                {"id": "cd1", "filename": self.images[1], "format": "raw"})
            self.assertIn('Failed to get shared "write" lock', error)
            self.assertNotIn("inserted", self.drive("cd1"))
        nodes = {n["file"] for n in self.wire.value("query-named-block-nodes")}
        self.assertEqual(nodes, set(self.images))

    def test_one_by_one(self):
        opened, closed = [("d0", "cd0", True)], [("d0", "cd0", False)]
        self.assertEqual(self.drive("cd0")["inserted"]["file"], self.images[0])
        self.expect("blockdev-remove-medium", {"id": "cd0"}, [], "Tray of device 'cd0' is not open")
        self.expect("blockdev-open-tray", {"id": "cd0"}, opened)
        self.assertTrue(self.drive("cd0")["tray_open"])
        self.expect("blockdev-open-tray", {"device": "d0"}, [])
        self.expect("blockdev-insert-medium", {"id": "cd0", "node-name": "nope"}, [],
                    "Node 'nope' not found")
        self.wire.value("blockdev-add", {"driver": "raw", "node-name": "new", "read-only": True,
                                         "file": {"driver": "file", "filename": self.images[0]}})
        self.expect("blockdev-insert-medium", {"id": "cd0", "node-name": "new"}, [],
                    "There already is a medium in the device")
        self.expect("blockdev-remove-medium", {"id": "cd0"}, [])
        self.expect("blockdev-remove-medium", {"id": "cd0"}, [])
        self.assertNotIn("inserted", self.drive("cd0"))
        self.expect("blockdev-insert-medium", {"id": "cd0", "node-name": "new"}, [])
        self.expect("blockdev-close-tray", {"id": "cd0"}, closed)
        self.expect("blockdev-close-tray", {"id": "cd0"}, [])
        self.assertEqual(self.drive("cd0")["inserted"]["node-name"], "new")
        self.expect("blockdev-open-tray", {"id": "cd1"}, [("", "cd1", True)])
        self.expect("blockdev-insert-medium", {"id": "cd1", "node-name": "new"}, [],
                    "Node 'new' is already in use")

    def test_eject_and_change(self):
        self.expect("eject", {"device": "d0"}, [("d0", "cd0", True)])
        drive = self.drive("cd0")
        self.assertNotIn("inserted", drive)
        self.assertTrue(drive["tray_open"])
        self.expect("blockdev-change-medium",
                    {"id": "cd0", "filename": self.images[0], "format": "raw"},
                    [("d0", "cd0", False)])
        self.assertEqual(self.drive("cd0")["inserted"]["file"], self.images[0])
        self.expect("blockdev-change-medium",
                    {"id": "cd0", "filename": self.images[0], "format": "raw",
                     "read-only-mode": "read-only"},
                    [("d0", "cd0", True), ("d0", "cd0", False)])
        drive = self.drive("cd0")
        self.assertTrue(drive["inserted"]["ro"])
        self.assertFalse(drive["tray_open"])
        moved, error = self.ask("blockdev-change-medium",
                                {"id": "cd0", "filename": self.dir + "/nope", "format": "raw"})
        self.assertEqual(moved, [])
        self.assertIn("No such file", error)
        self.assertEqual(self.drive("cd0")["inserted"]["file"], self.images[0])

    def test_errors(self):
        for command in ("eject", "blockdev-open-tray", "blockdev-close-tray"):
            self.assertEqual(self.ask(command, {"device": "d1"})[1], "Device 'd1' is not removable")
            self.assertIn("not found", self.ask(command, {"device": "nope"})[1])
            self.assertIn("not found", self.ask(command, {"id": "nope"})[1])
            self.assertIn("exactly one", self.ask(command, {})[1])
        self.assertIn("Device", self.ask("blockdev-remove-medium", {"id": "disk"})[1])


if __name__ == "__main__":
    unittest.main()
