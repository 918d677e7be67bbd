#!/usr/bin/env python3
"""Limits of disk I/O as a guest meets them, with the clock moved by the register door."""
import json
import unittest

from qtest import Door
from virtio import Disk

SLOT = 5
SECOND = 1000000000
NONE = {"bps": 0, "bps_rd": 0, "bps_wr": 0, "iops": 0, "iops_rd": 0, "iops_wr": 0}
NODE = ("-object", "throttle-group,id=g,limits.iops-read=10",
        "-blockdev", "null-co,node-name=n,read-zeroes=on",
        "-blockdev", "throttle,node-name=t,file=n,throttle-group=g",
        "-device", f"virtio-blk-pci,id=disk,drive=t,addr={SLOT}")
DRIVE = ("-drive", "if=none,id=d,driver=null-co,throttling.iops-read=10",
         "-device", f"virtio-blk-pci,id=disk,drive=d,addr={SLOT}")


class Throttled(unittest.TestCase):
    def start(self, args):
        self.door = Door(*args, qmp=True, machine="pc")
        self.addCleanup(self.door.close)
        self.disk = Disk(self.door, SLOT)
        self.disk.start(size=128, memory=0x200000)  # its buffers pass 0xa0000
        self.queue = self.disk.queues[0]
        self.done = 0

    def offer_reads(self, n):
        for _ in range(n):
            self.queue.offer([self.disk.header(0, 0)], [512, 1])

    def reads_done(self):
        """How many since the last look."""
        before = self.done
        self.done = self.door.qmp.command("query-blockstats")[0]["stats"]["rd_operations"]
        return self.done - before

    def limited(self, args):
        self.start(args)
        self.offer_reads(30)
        for _ in range(2):  # a bucket of one, and one that runs it over
            self.queue.take()
        for _ in range(2):
            self.door.step(SECOND + 1000)
            for _ in range(10):
                self.queue.take()
        self.assertFalse(self.queue.done())
        self.assertEqual(self.reads_done(), 22)
        self.assertEqual(self.disk_write(), 0)  # is not limited

    def disk_write(self):
        head = self.queue.offer([self.disk.header(1, 0), bytes(512)], [1])
        got, _ = self.queue.take()
        self.assertEqual(got, head)
        return self.queue.written(head, [16, 512], [1])[0][0]

    def test_node(self):
        self.limited(NODE)

    def test_drive(self):
        self.limited(DRIVE)

    def test_stop_is_no_wait(self):
        self.start(NODE)
        self.offer_reads(30)
        self.queue.take()
        self.door.qmp.command("stop")  # the requests that are held have gone when it returns
        self.assertEqual(self.reads_done(), 30)

    def test_quit(self):
        self.start(NODE)
        self.offer_reads(30)
        self.queue.take()
        self.door.qmp.command("quit")
        self.assertEqual(self.door.wait(), 0)

    def test_reset_and_unplug(self):
        self.start(DRIVE)
        self.offer_reads(30)
        self.queue.take()
        self.disk.put(0x14, 0, 1)
        self.assertEqual(self.disk.status, 0)
        self.disk.start(size=128, memory=0x200000)  # its buffers pass 0xa0000
        self.door.step(10 * SECOND)
        self.assertEqual(self.disk.read(0, 1)[0], 0)

    def test_no_limit_any_more(self):
        self.start(DRIVE)
        self.offer_reads(30)
        self.queue.take()
        self.door.qmp.sock.sendall(json.dumps({
            "execute": "block_set_io_throttle", "arguments": {**NONE, "device": "d"}}).encode())
        self.assertEqual(self.door.qmp.read(), {"return": {}})
        for _ in range(29):
            self.queue.take()

    def test_limits_taken_away(self):
        self.start(NODE)
        self.offer_reads(30)
        self.queue.take()
        self.door.qmp.command("qom-set", path="g", property="limits", value={"iops-read": 0})
        for _ in range(29):
            self.queue.take()


if __name__ == "__main__":
    unittest.main()
