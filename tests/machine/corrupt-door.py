#!/usr/bin/env python3
"""qcow2 images that contradict themselves, under a virtio disk: BLOCK_IMAGE_CORRUPTED, the mark in the header,
and that nothing is written over metadata."""
import os
import shutil
import struct
import tempfile
import unittest

from qtest import Door
from virtio import Disk

SLOT, CLUSTER, SIZE = 5, 64 << 10, 16 << 20
COPIED = 1 << 63
CORRUPT = 2  # of the incompatible features
MASK = 0x00fffffffffffe00


class Corrupt(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="godwit-corrupt-")
        self.addCleanup(shutil.rmtree, self.dir)
        self.path = os.path.join(self.dir, "image")
        with open(self.path, "wb"):
            pass
        with Door("-nodefaults", qmp=True) as door:
            door.qmp.command("blockdev-add", driver="file", node_name="f", filename=self.path)
            for job, options in (("a", {"driver": "qcow2", "file": "f", "size": SIZE}),):
                door.qmp.command("blockdev-create", job_id=job, options=options)
                while door.qmp.event("JOB_STATUS_CHANGE")["data"]["status"] != "concluded":
                    pass
                door.qmp.command("job-dismiss", id=job)
        door, disk = self.start()
        with door:
            self.assertEqual(disk.write(0, b"A" * 512 * 4), 0)
            self.assertEqual(disk.flush(), 0)
        self.l1, self.rt = self.number(40), self.number(48)
        self.l2, self.block = self.number(self.l1) & MASK, self.number(self.rt)
        self.data = self.number(self.l2) & MASK

    def number(self, offset):
        with open(self.path, "rb") as file:
            file.seek(offset)
            return struct.unpack(">Q", file.read(8))[0]

    def poke(self, offset, value, form=">Q"):
        with open(self.path, "r+b") as file:
            file.seek(offset)
            file.write(struct.pack(form, value))

    def cluster(self, offset):
        with open(self.path, "rb") as file:
            file.seek(offset)
            return file.read(CLUSTER)

    def start(self, options="", drive=False):
        args = ["-drive", f"if=none,id=d,format=qcow2,file={self.path},node-name=fmt{options}"] if drive else [
            "-blockdev", f"qcow2,node-name=fmt,file.driver=file,file.filename={self.path}{options}"]
        door = Door(*args, "-device", f"virtio-blk-pci,addr={SLOT:x},drive={'d' if drive else 'fmt'}", qmp=True)
        disk = Disk(door, SLOT)
        disk.start(features=1 << 9)
        return door, disk

    def event(self, door, **data):
        self.assertEqual(door.qmp.event("BLOCK_IMAGE_CORRUPTED")["data"],
                         {"device": "", "node-name": "fmt", "fatal": True, **data})

    def quiet(self, door):
        door.qmp.command("query-status")
        self.assertFalse([e for e in door.qmp.events if e["event"] == "BLOCK_IMAGE_CORRUPTED"])

    def test_data_over_metadata(self):
        """Each kind of table, named by an entry that says where data is: read, and not written."""
        for place, name in ((self.block, "refcount block"), (self.l1, "active L1 table"),
                            (self.l2, "active L2 table"), (self.rt, "refcount table")):
            with self.subTest(name):
                keep = self.cluster(self.l2)
                self.poke(self.l2, COPIED | place)
                before = self.cluster(place)
                door, disk = self.start()
                with door:
                    self.assertEqual(disk.read(0, 1), (0, before[:512]))
                    self.quiet(door)
                    self.assertEqual(disk.write(3, b"B" * 1024), 1)
                    self.event(door, msg=f"Preventing invalid write on metadata (overlaps with {name})",
                               offset=place + 3 * 512, size=1024)
                    self.assertEqual(door.qmp.event("BLOCK_IO_ERROR")["data"]["operation"], "write")
                    self.assertEqual(disk.write(3, b"B" * 1024), 1)  # no more events
                    self.quiet(door)
                    info = door.qmp.command("query-named-block-nodes")
                    self.assertTrue([n for n in info if n["node-name"] == "fmt"][0]["image"]
                                    ["format-specific"]["data"]["corrupt"])
                self.assertEqual(self.cluster(place), before)
                self.assertEqual(self.number(72), CORRUPT)
                self.poke(72, 0)
                with open(self.path, "r+b") as file:
                    file.seek(self.l2)
                    file.write(keep)

    def test_uncounted(self):
        """A cluster of metadata that is counted as free is not taken for data."""
        for place, name in ((0, "qcow2_header"), (self.l1, "active L1 table"), (self.l2, "active L2 table")):
            with self.subTest(name):
                self.poke(self.block + 2 * (place // CLUSTER), 0, ">H")
                before = self.cluster(place)[CLUSTER // 2:]
                door, disk = self.start(drive=True)
                with door:
                    self.assertEqual(disk.write(4 << 11, b"B" * 512), 1)
                    self.event(door, device="d", size=512, offset=place,
                               msg=f"Preventing invalid write on metadata (overlaps with {name})")
                self.assertEqual(self.cluster(place)[CLUSTER // 2:], before)
                self.poke(self.block + 2 * (place // CLUSTER), 1, ">H")
                self.poke(72, 0)

    def test_places(self):
        """Offsets that are none."""
        self.poke(self.l2, COPIED | self.data | 512)
        door, disk = self.start(",read-only=on")
        with door:
            for again in (False, True):
                self.assertEqual(disk.read(0, 1)[0], 1)
                if not again:
                    self.event(door, fatal=False, msg=f"Cluster allocation offset {self.data | 512:#x} "
                               f"unaligned (L2 offset: {self.l2:#x}, L2 index: 0)")
                self.quiet(door)
            self.assertEqual(disk.read(200, 1)[0], 0)  # the rest of it can be read
        self.assertEqual(self.number(72), 0)  # it was not written
        self.poke(self.l1, COPIED | self.l2 | 512)
        door, disk = self.start()
        with door:
            self.assertEqual(disk.read(0, 1)[0], 1)
            self.event(door, msg=f"L2 table offset {self.l2 | 512:#x} unaligned (L1 index: 0)")
        self.assertEqual(self.number(72), CORRUPT)

    def test_overlap_check(self):
        """What is compared is the user's choice."""
        self.poke(self.l2, COPIED | self.block)
        for options, prevented in ((",overlap-check=all", True),
                                   (",overlap-check.template=none,overlap-check.refcount-block=on", True),
                                   (",overlap-check=constant", False), (",overlap-check=none", False),
                                   (",overlap-check.refcount-block=off", False)):
            with self.subTest(options):
                door, disk = self.start(options)
                with door:
                    at = 100  # counts clusters that are not there
                    self.assertEqual(disk.write(at, b"\0" * 512), int(prevented))
                    if prevented:
                        self.event(door, offset=self.block + 512 * at, size=512,
                                   msg="Preventing invalid write on metadata (overlaps with refcount block)")
                    else:
                        self.quiet(door)
                self.poke(72, 0)


if __name__ == "__main__":
    unittest.main()
