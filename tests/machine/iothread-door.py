#!/usr/bin/env python3
"""Objects iothread: threads of the user's that serve the queues of disks."""
import os
import unittest

from qtest import Door
from virtio import USED, Disk

SLOT, BLOCK = 5, 4096


class IoThread(unittest.TestCase):
    def start(self, *args, queues=2):
        self.image = os.path.join("/dev/shm", f"iothread-door-{os.getpid()}.img")
        with open(self.image, "wb") as file:
            file.truncate(1 << 20)
        self.addCleanup(os.unlink, self.image)
        self.door = Door("-object", "iothread,id=io1", "-object", "iothread,id=io2", "-blockdev",
                         f"file,node-name=f,filename={self.image}", "-device",
                         f"virtio-blk-pci,id=disk,drive=f,addr={SLOT},iothread=io1,"
                         f"num-queues={queues}", *args, qmp=True, machine="pc")
        self.addCleanup(self.door.close)
        self.disk = Disk(self.door, SLOT)
        self.disk.start(queues=queues, size=64)

    def threads(self):
        return {t["id"]: t for t in self.door.qmp.command("query-iothreads")}

    def switches(self, name):
        """How often the thread has gone to sleep."""
        tid = self.threads()[name]["thread-id"]
        with open(f"/proc/{self.door.process.pid}/task/{tid}/status") as file:
            for line in file:
                if line.startswith("voluntary_ctxt_switches"):
                    return int(line.split()[1])
        return None

    def test_serves(self):
        self.start()
        one, two = self.switches("io1"), self.switches("io2")
        for i in range(20):
            self.assertEqual(self.disk.write(8 * i, bytes([i]) * BLOCK), 0)
        for i in range(20):
            self.assertEqual(self.disk.read(8 * i, 8), (0, bytes([i]) * BLOCK))
        self.assertEqual(self.disk.flush(), 0)
        self.assertGreaterEqual(self.switches("io1") - one, 20)
        self.assertEqual(self.switches("io2"), two)
        status, data = self.disk.queues[1].request([self.disk.header(0, 8)], [BLOCK, 1])[0][::-1]
        self.assertEqual((status[0], data), (0, bytes([1]) * BLOCK))

    def test_reset_with_requests(self):
        self.start()
        for turn in range(20):
            queue = self.disk.queues[0]
            heads = [queue.offer([self.disk.header(0, 0)], [512, 1]) for _ in range(15)]
            self.assertEqual(len(heads), 15)
            if turn % 2:
                self.door.qmp.command("stop")
            self.disk.put(0x14, 0, 1)
            if turn % 2:
                self.door.qmp.command("cont")
            used = self.door.read(queue.memory + USED, 16)
            self.door.qmp.command("query-iothreads")
            self.assertEqual(self.door.read(queue.memory + USED, 16), used)  # nothing came late
            self.disk.start(queues=2, size=64)
            self.assertEqual(self.disk.read(0, 1)[0], 0)

    def test_life(self):
        self.start()
        answer = self.door.qmp.request("object-del", id="io1")
        self.assertEqual(answer["error"]["desc"], "object 'io1' is in use, can not be deleted")
        self.door.qmp.command("object-del", id="io2")
        self.assertEqual(list(self.threads()), ["io1"])
        self.door.qmp.command("object-add", qom_type="iothread", id="io3")
        self.assertEqual(sorted(self.threads()), ["io1", "io3"])
        tids = {t["thread-id"] for t in self.threads().values()}
        self.assertEqual(len(tids), 2)
        for tid in tids:
            self.assertTrue(os.path.exists(f"/proc/{self.door.process.pid}/task/{tid}"))
        answer = self.door.qmp.request("device_add", driver="virtio-blk-pci", drive="f", id="x",
                                       iothread="none")
        self.assertIn("Device 'none' not found", answer["error"]["desc"])
        self.disk.queues[0].offer([self.disk.header(0, 0)], [512, 1])
        self.door.qmp.command("quit")
        self.assertEqual(self.door.wait(), 0)


if __name__ == "__main__":
    unittest.main()
