#!/usr/bin/env python3
"""blkdebug below qcow2, under a virtio disk: what the format does there are the events, one by one; each makes
the next request fail, once."""
import os
import shutil
import tempfile
import unittest

from qtest import Door
from virtio import Disk

SLOT, MIB = 5, 1 << 20
FLUSH = 1 << 9


class Events(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="godwit-blkdebug-")
        self.addCleanup(shutil.rmtree, self.dir)

    def create(self, name="image", size=16 * MIB, **options):
        path = os.path.join(self.dir, name)
        with open(path, "wb"):
            pass
        with Door("-nodefaults", qmp=True) as door:
            door.qmp.command("blockdev-add", driver="file", node_name="f", filename=path)
            door.qmp.command("blockdev-create", job_id="a",
                             options={"driver": "qcow2", "file": "f", "size": size, **options})
            while door.qmp.event("JOB_STATUS_CHANGE")["data"]["status"] != "concluded":
                pass
            self.assertNotIn("error", door.qmp.command("query-jobs")[0])
        return path

    def start(self, path, rules, backing=""):
        door = Door("-blockdev", f"qcow2,node-name=fmt,discard=unmap,file.driver=blkdebug,file.discard=unmap,"
                    f"file.image.driver=file,file.image.filename={path}{rules}{backing}",
                    "-device", f"virtio-blk-pci,addr={SLOT:x},drive=fmt", qmp=True)
        self.addCleanup(door.close)
        disk = Disk(door, SLOT)
        disk.start(features=FLUSH)
        return door, disk

    @staticmethod
    def rule(event, n=0, **more):
        return "".join(f",file.inject-error.{n}.{k}={v}"
                       for k, v in {"event": event, "once": "on", **more}.items())

    def check(self, path, event, steps, fails, backing="", **more):
        """Of the steps (functions of a disk, which return the status first) one fails, and only once."""
        with self.subTest(event):
            door, disk = self.start(path, self.rule(event, **more), backing)
            with door:
                results = []
                for step in steps:
                    result = step(disk)
                    results.append(result[0] if isinstance(result, tuple) else result)
                self.assertEqual(results, [int(n == fails) for n in range(len(steps))])

    def test_first_write(self):
        """A write to an empty image, and the flush after it."""
        def write(disk):
            return disk.write(0, b"x" * 512)

        def again(disk):
            return disk.write(0, b"y" * 512)

        def flush(disk):
            return disk.flush()

        for event, fails in (("cluster_alloc", 0), ("l2_alloc_write", 0), ("write_aio", 0), ("refblock_load", 0),
                             ("refblock_update_part", 1), ("l2_update", 1), ("l1_update", 1),
                             ("flush_to_os", 1), ("flush_to_disk", 1)):
            steps = [write, flush, flush, again] if fails else [write, again, flush]
            self.check(self.create(), event, steps, fails)

    def test_reads(self):
        path = self.create()
        door, disk = self.start(path, "")
        with door:
            self.assertEqual(disk.write(0, b"x" * 512), 0)
            self.assertEqual(disk.flush(), 0)

        def read(disk):
            return disk.read(0, 1)

        for event in ("l2_load", "read_aio"):
            self.check(path, event, [read, read], 0)
        over = self.create("over")
        backing = f",backing.driver=qcow2,backing.file.driver=file,backing.file.filename={path}"
        self.check(over, "cow_read", [read, lambda disk: disk.write(1, b"z" * 512), read,
                                      lambda disk: disk.write(3, b"z" * 512)], 1, backing)  # that is not in the image
        over = self.create("over2")
        self.check(over, "cow_write", [read, lambda disk: disk.write(1, b"z" * 512), read,
                                       lambda disk: disk.write(3, b"z" * 512)], 1, backing)

    def test_growth(self):
        """Clusters of 512 bytes: the tables of reference counts fill soon."""
        piece = b"x" * 65536
        for event in ("refblock_alloc", "refblock_alloc_write", "refblock_alloc_hookup"):
            with self.subTest(event):
                door, disk = self.start(self.create(**{"cluster-size": 512}), self.rule(event))
                with door:
                    self.assertEqual([disk.write(128 * n, piece) for n in range(4)].count(1), 1)
        for event in ("reftable_grow", "refblock_alloc_write_blocks", "refblock_alloc_write_table",
                      "refblock_alloc_switch_table"):
            with self.subTest(event):
                door, disk = self.start(self.create(**{"cluster-size": 512}), self.rule(event))
                with door:
                    self.assertEqual([disk.write(128 * n, piece) for n in range(136)].count(1), 1)

    def test_resize(self):
        for event in ("l1_grow_alloc_table", "l1_grow_write_table", "l1_grow_activate_table", "cluster_free"):
            with self.subTest(event):
                door, disk = self.start(self.create(**{"cluster-size": 512}), self.rule(event))
                with door:
                    arguments = {"node_name": "fmt", "size": 64 * MIB}
                    self.assertIn("error", door.qmp.request("block_resize", **arguments))
                    self.assertIn("return", door.qmp.request("block_resize", **arguments))

    def test_open(self):
        path = self.create()
        with Door("-nodefaults", qmp=True) as door:
            image = {"driver": "blkdebug", "image": {"driver": "file", "filename": path},
                     "inject-error": [{"event": "reftable_load", "errno": 5}]}
            self.assertIn("Could not read the tables: Input/output error", door.qmp.request(
                "blockdev-add", driver="qcow2", node_name="q", file=image)["error"]["desc"])
            for event in ("reftable_update", "empty_image_prepare", "bogus"):  # nothing here is that
                image["inject-error"][0]["event"] = event
                self.assertIn("does not accept value", door.qmp.request(
                    "blockdev-add", driver="qcow2", node_name="q", file=image)["error"]["desc"])

    def test_requests(self):
        """What every write is, whatever it is for; and states."""
        def write(disk):
            return disk.write(0, b"x" * 512)

        self.check(self.create(), "pwritev", [write, write], 0)
        self.check(self.create(), "pwritev_done", [write, write], 1)
        states = ("".join(f",file.set-state.{n}.event=write_aio,file.set-state.{n}.state={n + 1},"
                          f"file.set-state.{n}.new_state={n + 2}" for n in range(2)) +
                  self.rule("write_aio", state=3, errno=27, iotype="write"))
        door, disk = self.start(self.create(), states)
        with door:
            self.assertEqual([write(disk) for _ in range(5)], [0, 0, 1, 0, 0])
            self.assertEqual(door.qmp.event("BLOCK_IO_ERROR")["data"]["reason"], "File too large")
        none = self.rule("pwritev", errno=0) + self.rule("pwritev", 1, errno=27)
        self.check(self.create(), "cluster_alloc", [write], 1, backing=none)
        door, disk = self.start(self.create(), none.replace("once=on", "once=off"))
        with door:  # a rule without an error hides those after it
            self.assertEqual([write(disk), write(disk)], [0, 0])


if __name__ == "__main__":
    unittest.main()
