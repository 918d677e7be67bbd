#!/usr/bin/env python3
"""Quorum under a virtio disk, by the register door: votes, repair, failures, and their events."""
import os
import shutil
import tempfile
import unittest

from qtest import Door
from virtio import Disk

SLOT, SIZE = 5, 64 << 10
A, B, C = b"A" * 512, b"B" * 512, b"C" * 512


class Quorum(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="godwit-quorum-")
        self.addCleanup(shutil.rmtree, self.dir)

    def path(self, n):
        return os.path.join(self.dir, f"child{n}")

    def poke(self, n, sector, data):
        with open(self.path(n), "r+b") as file:
            file.seek(512 * sector)
            file.write(data)

    def peek(self, n, sector):
        with open(self.path(n), "rb") as file:
            file.seek(512 * sector)
            return file.read(512)

    def start(self, children=3, rules=None, device="", **options):
        """rules: {child: [blkdebug rule in key=value text]}"""
        args = []
        for n in range(children + 1):  # one more than is used at first
            with open(self.path(n), "wb") as file:
                file.truncate(SIZE)
            text = f"raw,node-name=c{n},file.driver=file,file.filename={self.path(n)}"
            if rules and n in rules:
                text = (f"blkdebug,node-name=c{n},image.driver=file,"
                        f"image.filename={self.path(n)}," + ",".join(rules[n]))
            args += ["-blockdev", text]
        settings = {"vote-threshold": 2, **{k.replace("_", "-"): v for k, v in options.items()}}
        args += ["-blockdev", "quorum,node-name=q," +
                 ",".join(f"children.{n}=c{n}" for n in range(children)) + "".join(
                     f",{k}={v}" for k, v in settings.items())]
        args += ["-device", f"virtio-blk-pci,addr={SLOT:x},drive=q{device}"]
        self.door = Door(*args, qmp=True)
        self.addCleanup(self.door.close)
        self.disk = Disk(self.door, SLOT)
        self.disk.start(features=1 << 9)
        self.qmp = self.door.qmp

    def event(self, name, **data):
        self.assertEqual(self.qmp.event(name)["data"], {k.replace("_", "-"): v
                                                        for k, v in data.items()})

    def quiet(self, *names):
        """No such events came so far."""
        self.qmp.command("query-status")
        self.assertFalse([e for e in self.qmp.events if e["event"] in names])

    def test_corrupt_and_heal(self):
        self.start(rewrite_corrupted="on")
        self.assertEqual(self.disk.write(8, A * 4), 0)
        self.assertEqual([self.peek(n, 9) for n in range(3)], [A] * 3)
        self.assertEqual(self.disk.read(8, 4), (0, A * 4))
        self.quiet("QUORUM_REPORT_BAD")
        self.poke(1, 9, B)
        self.assertEqual(self.disk.read(8, 4), (0, A * 4))
        self.event("QUORUM_REPORT_BAD", type="read", node_name="c1", sector_num=8, sectors_count=4)
        self.assertEqual(self.peek(1, 9), A)  # healed before the guest had its answer
        self.assertEqual(self.disk.read(8, 4), (0, A * 4))
        self.quiet("QUORUM_REPORT_BAD", "QUORUM_FAILURE", "BLOCK_IO_ERROR")

    def test_corrupt_without_rewrite(self):
        self.start()
        self.disk.write(8, A)
        self.poke(2, 8, B)
        self.assertEqual(self.disk.read(8, 1), (0, A))
        self.event("QUORUM_REPORT_BAD", type="read", node_name="c2", sector_num=8, sectors_count=1)
        self.assertEqual(self.peek(2, 8), B)

    def test_no_majority(self):
        self.start(rewrite_corrupted="on")
        self.disk.write(8, A)
        self.poke(1, 8, B)
        self.poke(2, 8, C)
        status, _ = self.disk.read(8, 1)
        self.assertEqual(status, 1)
        self.event("QUORUM_FAILURE", reference="q", sector_num=8, sectors_count=1)
        self.event("BLOCK_IO_ERROR", device="", node_name="q", operation="read", action="report",
                   nospace=False, reason="Input/output error")
        self.quiet("QUORUM_REPORT_BAD")  # the losers are not named
        self.assertEqual((self.peek(1, 8), self.peek(2, 8)), (B, C))

    def test_tie(self):
        self.start(children=4)
        self.disk.write(0, A)
        self.poke(0, 0, B)
        self.poke(1, 0, B)
        self.assertEqual(self.disk.read(0, 1)[0], 1)
        self.event("QUORUM_FAILURE", reference="q", sector_num=0, sectors_count=1)

    def test_stop_and_repair(self):
        """With rerror=stop the machine waits for somebody to repair the copies."""
        self.start(device=",rerror=stop")
        self.disk.write(8, A)
        self.poke(1, 8, B)
        self.poke(2, 8, C)
        queue = self.disk.queues[0]
        head = queue.offer([self.disk.header(0, 8)], [512, 1])
        self.event("QUORUM_FAILURE", reference="q", sector_num=8, sectors_count=1)
        self.assertEqual(self.qmp.event("BLOCK_IO_ERROR")["data"]["action"], "stop")
        self.qmp.event("STOP")
        self.assertEqual(self.qmp.command("query-status")["status"], "io-error")
        self.poke(2, 8, A)
        self.qmp.command("cont")
        self.assertEqual(queue.take()[0], head)
        self.assertEqual(queue.written(head, [16], [512, 1]), [A, b"\0"])

    def test_read_errors(self):
        rule = "inject-error.0.event=read_aio,inject-error.0.iotype=read"
        self.start(rules={1: [rule]})
        self.disk.write(8, A)
        self.assertEqual(self.disk.read(8, 1), (0, A))
        self.event("QUORUM_REPORT_BAD", type="read", node_name="c1", error="Input/output error",
                   sector_num=8, sectors_count=1)
        self.quiet("QUORUM_FAILURE")
        self.poke(2, 8, B)  # two are left, and differ
        self.assertEqual(self.disk.read(8, 1)[0], 1)
        self.event("QUORUM_FAILURE", reference="q", sector_num=8, sectors_count=1)

    def test_too_many_read_errors(self):
        rule = "inject-error.0.event=read_aio,inject-error.0.errno=32"
        self.start(rules={0: [rule], 1: [rule]})
        self.assertEqual(self.disk.read(8, 2)[0], 1)
        for name in ("c0", "c1"):
            self.event("QUORUM_REPORT_BAD", type="read", node_name=name, error="Broken pipe",
                       sector_num=8, sectors_count=2)
        self.event("QUORUM_FAILURE", reference="q", sector_num=8, sectors_count=2)
        self.assertEqual(self.qmp.event("BLOCK_IO_ERROR")["data"]["reason"], "Broken pipe")

    def test_write_errors(self):
        once = ("inject-error.0.event=write_aio,inject-error.0.iotype=write,"
                "inject-error.0.sector=7,inject-error.0.errno=28")
        self.start(rules={2: [once]})
        self.assertEqual(self.disk.write(6, A * 2), 0)
        self.event("QUORUM_REPORT_BAD", type="write", node_name="c2",
                   error="No space left on device", sector_num=6, sectors_count=2)
        self.assertEqual(self.disk.write(8, A), 0)
        self.quiet("QUORUM_REPORT_BAD", "QUORUM_FAILURE")

    def test_write_failure(self):
        rule = "inject-error.0.event=write_aio,inject-error.0.iotype=write"
        self.start(rules={1: [rule], 2: [rule]})
        self.assertEqual(self.disk.write(6, A), 1)
        self.event("QUORUM_REPORT_BAD", type="write", node_name="c1", error="Input/output error",
                   sector_num=6, sectors_count=1)
        self.event("QUORUM_REPORT_BAD", type="write", node_name="c2", error="Input/output error",
                   sector_num=6, sectors_count=1)
        self.event("QUORUM_FAILURE", reference="q", sector_num=6, sectors_count=1)

    def test_flush_errors(self):
        rule = "inject-error.0.event=flush_to_disk,inject-error.0.once=on,inject-error.0.iotype=flush"
        self.start(rules={0: [rule]})
        self.assertEqual(self.disk.flush(), 0)
        self.event("QUORUM_REPORT_BAD", type="flush", node_name="c0", error="Input/output error",
                   sector_num=0, sectors_count=0)
        self.assertEqual(self.disk.flush(), 0)
        self.quiet("QUORUM_REPORT_BAD", "QUORUM_FAILURE")

    def test_fifo(self):
        rule = "inject-error.0.event=read_aio,inject-error.0.sector=9,inject-error.0.iotype=read"
        self.start(rules={0: [rule]}, read_pattern="fifo")
        self.disk.write(8, A * 2)
        self.poke(1, 9, B)
        self.assertEqual(self.disk.read(9, 1), (0, B))  # the second is believed
        self.event("QUORUM_REPORT_BAD", type="read", node_name="c0", error="Input/output error",
                   sector_num=9, sectors_count=1)
        self.assertEqual(self.disk.read(8, 1), (0, A))
        self.quiet("QUORUM_REPORT_BAD", "QUORUM_FAILURE")

    def test_blkverify(self):
        self.start(children=2, blkverify="on")
        self.disk.write(0, A)
        self.assertEqual(self.disk.read(0, 1), (0, A))
        self.poke(1, 0, B)
        self.assertEqual(self.disk.read(0, 1)[0], 1)
        self.event("QUORUM_FAILURE", reference="q", sector_num=0, sectors_count=1)

    def test_change_children(self):
        self.start(rewrite_corrupted="on")
        self.disk.write(8, A)
        error = self.qmp.request("x-blockdev-change", parent="q", child="children.7")["error"]
        self.assertEqual(error["desc"], "Node 'q' does not have child 'children.7'")
        self.qmp.command("x-blockdev-change", parent="q", child="children.1")
        error = self.qmp.request("x-blockdev-change", parent="q", child="children.0")["error"]
        self.assertIn("cannot be lower than the vote threshold 2", error["desc"])
        self.qmp.command("blockdev-del", node_name="c1")
        self.qmp.command("x-blockdev-change", parent="q", node="c3")
        error = self.qmp.request("x-blockdev-change", parent="q", node="c3")["error"]
        self.assertIn("already has a parent", error["desc"])
        self.assertEqual(self.disk.read(8, 1), (0, A))  # the new one is healed, sector by sector
        self.event("QUORUM_REPORT_BAD", type="read", node_name="c3", sector_num=8, sectors_count=1)
        self.assertEqual(self.peek(3, 8), A)
        self.assertEqual(self.disk.write(9, B), 0)
        self.assertEqual((self.peek(1, 9), self.peek(3, 9)), (bytes(512), B))
        for arguments in ({"parent": "q"}, {"parent": "nope", "node": "c3"},
                          {"parent": "q", "node": "c3", "child": "children.0"},
                          {"parent": "q", "node": "nope"}, {"parent": "c0", "node": "c2"}):
            self.assertIn("error", self.qmp.request("x-blockdev-change", **arguments))

    def test_bad_options(self):
        self.start()
        for more, part in (({"vote-threshold": 0}, "vote-threshold"),
                           ({"vote-threshold": 2}, "may not exceed"),
                           ({"vote-threshold": 1, "blkverify": True}, "exactly two"),
                           ({"vote-threshold": 1, "children": []}, "1 or more")):
            arguments = {"driver": "quorum", "node_name": "x", "children": ["c3"], **more}
            error = self.qmp.request("blockdev-add", **arguments)["error"]
            self.assertIn(part, error["desc"])
        self.qmp.command("blockdev-add", driver="null-co", node_name="n", size=512)
        error = self.qmp.request("blockdev-add", driver="quorum", node_name="x",
                                 vote_threshold=1, children=["c3", "n"])["error"]
        self.assertIn("must have the same length", error["desc"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
