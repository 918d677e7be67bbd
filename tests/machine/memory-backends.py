#!/usr/bin/env python3
"""Memory from files: what the host can't give is refused at once, by name, and nothing stays of it;
large pages are what they say they are."""
import os
import re
import shutil
import subprocess
import tempfile
import time
import unittest

from godwit import GODWIT, TIME_FACTOR
from qtest import Door

POOL = "/proc/sys/vm/nr_hugepages"
LIMIT = 60 * TIME_FACTOR


class Case(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="godwit-memory-")
        self.addCleanup(shutil.rmtree, self.dir)

    def door(self, *args):
        door = Door(*args, qmp=True)
        self.addCleanup(door.close)
        return door

    def refused_at_start(self, options, text):
        done = subprocess.run([GODWIT, "-M", "q35", "-accel", "qtest", "-display", "none", "-m", "16",
                               "-object", options, "-machine", "memory-backend=m"],
                              capture_output=True, text=True, timeout=LIMIT)
        self.assertEqual(done.returncode, 1)
        self.assertIn(text, done.stderr)

    def refused(self, door, text, **properties):
        answer = door.qmp.request("object-add", id="x", **properties)
        self.assertIn(text, answer.get("error", answer).get("desc", ""))

    def maps(self, door, size):
        """Page sizes of the process's mappings of that many bytes."""
        with open(f"/proc/{door.process.pid}/smaps") as f:
            text = f.read()
        return [int(kib) for start, end, kib in re.findall(
            r"^([0-9a-f]+)-([0-9a-f]+) (?:.*\n(?![0-9a-f]+-))*?KernelPageSize: +([0-9]+) kB", text,
            re.MULTILINE) if int(end, 16) - int(start, 16) == size]


class Prealloc(Case):
    def setUp(self):
        super().setUp()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", self.dir],
                          stderr=subprocess.DEVNULL).returncode:
            self.skipTest("a file system that is too small takes mount(8) as root")
        self.addCleanup(subprocess.run, ["umount", self.dir], check=True)
        self.path = os.path.join(self.dir, "file")

    def test_no_room(self):
        text = "prealloc: No space left on device"
        self.refused_at_start(f"memory-backend-file,id=m,size=16M,share=on,prealloc=on,mem-path={self.path}",
                              text)
        os.unlink(self.path)
        door = self.door()
        file = {"qom-type": "memory-backend-file", "mem-path": self.path, "share": True,
                "prealloc": True}
        self.refused(door, text, size=16 << 20, **file)
        os.unlink(self.path)
        door.qmp.command("object-add", id="x", size=512 << 10, **file)
        self.assertEqual(os.stat(self.path).st_blocks, 1024)
        self.assertEqual(door.qmp.command("query-status")["status"], "running")

    def test_room_when_it_is_needed(self):
        """Without prealloc it is only as large as what was touched."""
        door = self.door()
        door.qmp.command("object-add", id="x", size=16 << 20, share=True,
                         **{"qom-type": "memory-backend-file", "mem-path": self.path})
        self.assertEqual((os.stat(self.path).st_size, os.stat(self.path).st_blocks), (16 << 20, 0))

    def test_folder(self):
        """A file in it that has no name."""
        door = self.door()
        door.qmp.command("object-add", id="x", size=512 << 10, share=True, prealloc=True,
                         **{"qom-type": "memory-backend-file", "mem-path": self.dir})
        self.assertEqual(os.listdir(self.dir), [])
        room = os.statvfs(self.dir)
        self.assertLessEqual(room.f_bfree, room.f_blocks // 2)
        door.qmp.command("object-del", id="x")
        end = time.monotonic() + LIMIT
        while os.statvfs(self.dir).f_bfree < room.f_blocks:
            self.assertLess(time.monotonic(), end)
            time.sleep(0.01)


class LargePages(Case):
    def test_refused(self):
        door = self.door()
        memfd = {"qom-type": "memory-backend-memfd", "hugetlb": True}
        self.refused(door, "Invalid argument", size=2 << 20, hugetlbsize=3 << 20, **memfd)
        self.refused(door, "memory 'x'", size=4096, **memfd)
        self.refused(door, "memory 'x'", size=1 << 50, **memfd)
        self.refused_at_start("memory-backend-memfd,id=m,size=16M,hugetlb=on,hugetlbsize=3M",
                              "Invalid argument")

    def set_pool(self, pages):
        with open(POOL, "w") as f:
            f.write(str(pages))

    def pool(self, pages):
        """So many large pages more, or the test is skipped."""
        try:
            with open(POOL) as f:
                before = int(f.read())
            self.set_pool(before + pages)
            self.addCleanup(self.set_pool, before)
            with open(POOL) as f:
                got = int(f.read()) - before
        except OSError as error:
            self.skipTest(f"the host's large pages can't be set: {error}")
        if got < pages:
            self.skipTest(f"the host has {got} large pages, not {pages}")

    def test_memory(self):
        self.pool(24)
        door = self.door("-object", "memory-backend-memfd,id=m,size=16M,hugetlb=on,prealloc=on",
                         "-machine", "memory-backend=m")
        self.assertEqual(self.maps(door, 16 << 20), [2048])
        door.write(0x200000, b"kept")
        self.assertEqual(door.read(0x200000, 4), b"kept")
        door.qmp.command("object-add", id="x", size=4 << 20,
                         **{"qom-type": "memory-backend-memfd", "hugetlb": True})
        self.assertEqual(self.maps(door, 4 << 20), [2048])
        door.qmp.command("object-del", id="x")
        stream = os.path.join(self.dir, "stream")
        door.qmp.command("migrate", uri=f"file:{stream}")
        end = time.monotonic() + LIMIT
        while (info := door.qmp.command("query-migrate"))["status"] != "completed":
            self.assertLess(time.monotonic(), end, info)
            time.sleep(0.01)
        door.close()
        to = self.door("-object", "memory-backend-memfd,id=m,size=16M,hugetlb=on", "-machine",
                       "memory-backend=m", "-incoming", f"file:{stream}")
        while to.qmp.command("query-status")["status"] == "inmigrate":
            self.assertLess(time.monotonic(), end)
            time.sleep(0.01)
        self.assertEqual(to.read(0x200000, 4), b"kept")


if __name__ == "__main__":
    unittest.main(verbosity=2)
