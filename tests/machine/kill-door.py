#!/usr/bin/env python3
"""The program is killed (SIGKILL) at random moments while its guest writes to a qcow2 image: what the
guest had flushed is there, what it had not is old or new, and the image has lost clusters at most.

$KILLS is how often; each time the image is used on as it was left.
"""
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

from godwit import TIME_FACTOR
from qtest import Door
from virtio import Disk

SLOT, SECTOR, BLOCK = 5, 512, 4096
BLOCKS = 1024
SECTORS = BLOCK // SECTOR
IN_FLIGHT, RING = 12, 64


def stamp(sector, version):
    return struct.pack("<II", sector, version) * (SECTOR // 8)


class Killed(Exception):
    pass


class Writer:
    """The guest: what each sector holds after a flush, and what it may hold else."""

    def __init__(self, rand):
        self.rand, self.version = rand, 0
        self.stable = [0] * (BLOCKS * SECTORS)
        self.maybe = {}

    def block(self):
        """Mostly near the last one, so that several writes want one cluster."""
        if self.rand.random() < 0.7:
            self.last = (getattr(self, "last", 0) + self.rand.randrange(-3, 5)) % BLOCKS
        else:
            self.last = self.rand.randrange(BLOCKS)
        return self.last

    def run(self, disk):
        """Until the program is gone; the number of completed flushes."""
        queue, flushes = disk.queues[0], 0
        while True:
            try:
                pending = 0
                for _ in range(self.rand.randrange(1, 40)):
                    self.version += 1
                    block = self.block()
                    sectors = range(block * SECTORS, (block + 1) * SECTORS)
                    for sector in sectors:
                        self.maybe.setdefault(sector, set()).add(self.version)
                    data = b"".join(stamp(sector, self.version) for sector in sectors)
                    queue.offer([disk.header(1, block * SECTORS), data], [1])
                    pending += 1
                    while pending >= IN_FLIGHT:
                        queue.take()
                        pending -= 1
                while pending:
                    queue.take()
                    pending -= 1
                latest = {sector: max(versions) for sector, versions in self.maybe.items()}
                # Two writes to one sector at once may have ended in either order.
                if disk.flush() != 0:
                    raise AssertionError("a flush failed")
                flushes += 1
                self.settle(disk, latest)
            except (OSError, EOFError, ValueError, IndexError, struct.error):
                return flushes

    def settle(self, disk, latest):
        for sector in latest:
            self.stable[sector] = frozenset(self.maybe[sector])
        self.maybe.clear()

    def allowed(self, sector):
        stable = self.stable[sector]
        return ({stable} if isinstance(stable, int) else set(stable)) | \
            self.maybe.get(sector, set())

    def accept(self, sector, version):
        """What was found is what the next round begins with."""
        self.stable[sector] = version
        self.maybe.pop(sector, None)


class Kills(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="godwit-kill-")
        self.addCleanup(shutil.rmtree, self.dir)
        self.image = os.path.join(self.dir, "i.qcow2")

    def released(self):
        """The kernel ends a dead program's requests, and gives up its locks, a little later."""
        end = time.monotonic() + 30 * TIME_FACTOR
        while time.monotonic() < end:
            run = subprocess.run(["qemu-img", "check", self.image], capture_output=True, text=True)
            if '" lock' not in run.stderr:
                return run
            time.sleep(0.02)
        raise AssertionError("the image stays locked")

    def repaired(self):
        """With lazy reference counts these may be wrong, where the header says so: no more than what
        QEMU's repair puts right. Ours does it when the image is opened the next time."""
        with open(self.image, "rb") as file:
            self.assertTrue(file.read(80)[79] & 1, "lazy, and not marked")
        copy = os.path.join(self.dir, "copy.qcow2")
        shutil.copy(self.image, copy)
        subprocess.run(["qemu-img", "check", "-q", "-r", "all", copy], check=True)
        subprocess.run(["qemu-img", "check", "-q", copy], check=True)
        subprocess.run(["qemu-img", "compare", "-q", copy, self.image], check=True)

    def check(self, writer, lazy):
        run = self.released()
        self.assertIn(run.returncode, (0, 2, 3) if lazy else (0, 3), run.stdout + run.stderr)
        if run.returncode == 2:
            self.repaired()
        raw = os.path.join(self.dir, "raw")
        subprocess.run(["qemu-img", "convert", "-O", "raw", self.image, raw], check=True)
        with open(raw, "rb") as file:
            data = file.read()
        for sector in range(BLOCKS * SECTORS):
            piece = data[sector * SECTOR:(sector + 1) * SECTOR]
            number, version = struct.unpack("<II", piece[:8])
            want = stamp(sector, version) if version else bytes(SECTOR)
            self.assertEqual(piece, want, f"sector {sector}")
            self.assertIn(version, writer.allowed(sector), f"sector {sector}")
            writer.accept(sector, version)
        return run.returncode

    def one_kill(self, writer, rand):
        door = Door("-drive", f"if=none,id=d0,format=qcow2,discard=unmap,file={self.image}",
                    "-device", f"virtio-blk-pci,addr={SLOT:x},drive=d0")
        try:
            disk = Disk(door, SLOT)
            disk.start(features=1 << 9, size=RING)
            timer = threading.Timer(rand.uniform(0.01, 0.4),
                                    os.kill, (door.process.pid, signal.SIGKILL))
            timer.start()
            try:
                return writer.run(disk)
            finally:
                timer.join()
        finally:
            door.process.kill()
            door.close()

    def test_kills(self):
        kills = int(os.environ.get("KILLS", "20"))
        seed = int(os.environ.get("KILL_SEED", "0")) or random.randrange(1, 1 << 30)
        print(f"seed {seed}", file=sys.stderr)
        rand = random.Random(seed)
        flushes = 0
        for n in range(kills):
            if n % 10 == 0:
                writer = Writer(rand)
                options = rand.choice(["cluster_size=64k", "cluster_size=4k", "cluster_size=512",
                                       "compat=0.10", "cluster_size=2M,refcount_bits=1",
                                       "lazy_refcounts=on", "lazy_refcounts=on,cluster_size=4k"])
                subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-o", options,
                                self.image, str(BLOCKS * BLOCK)], check=True)
            flushes += self.one_kill(writer, rand)
            self.check(writer, "lazy" in options)
        self.assertGreater(flushes, 0, "no flush was completed in all that time")


if __name__ == "__main__":
    if not shutil.which("qemu-img"):
        print("qemu-img is not there: skipped")
        sys.exit(77)
    unittest.main()
