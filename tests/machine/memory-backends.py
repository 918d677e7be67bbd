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


RAM = {"qom-type": "memory-backend-ram"}


class Properties(Case):
    def mappings(self, door, size):
        """Address and text of the process's mappings of that many bytes, as numa_maps has them."""
        with open(f"/proc/{door.process.pid}/maps") as f:
            sizes = {int(start, 16): int(end, 16) - int(start, 16)
                     for start, end in re.findall(r"^([0-9a-f]+)-([0-9a-f]+)", f.read(), re.MULTILINE)}
        with open(f"/proc/{door.process.pid}/numa_maps") as f:
            return [(int(line.split()[0], 16), line) for line in f
                    if sizes.get(int(line.split()[0], 16)) == size]

    def memdev(self, door, name):
        return next(m for m in door.qmp.command("query-memdev") if m["id"] == name)

    def test_refused(self):
        door = self.door()
        far = {"policy": "bind", "host-nodes": [127]}
        for text, properties in (
                ("property 'size' of memory-backend-ram doesn't take value '0'", {"size": 0}),
                ("host-nodes must be set for policy bind", {"policy": "bind"}),
                ("host-nodes must be set for policy interleave", {"policy": "interleave", "host-nodes": []}),
                ("host-nodes must be empty for policy default", {"host-nodes": [0]}),
                ("does not accept value 'close'", {"policy": "close"}),
                ("Invalid host-nodes value: 128", {"policy": "bind", "host-nodes": [0, 128]}),
                ("cannot bind memory to host NUMA nodes: Invalid argument", far),
                ("property 'prealloc-threads' of memory-backend-ram doesn't take value '0'",
                 {"prealloc-threads": 0}),
                ("'prealloc=on' and 'reserve=off' are incompatible", {"prealloc": True, "reserve": False})):
            with self.subTest(text):
                self.refused(door, text, **{"size": 4096, **RAM, **properties})
        path = os.path.join(self.dir, "file")
        for text, align in (("alignment 0x3 must be multiples of page size 0x1000", 3),
                            ("alignment 0x3000 must be a power of two", 0x3000)):
            self.refused(door, text, size=4096, align=align,
                         **{"qom-type": "memory-backend-file", "mem-path": path})
        self.assertEqual(os.listdir(self.dir), [])
        ram = "memory-backend-ram,id=m,size=16M"
        self.refused_at_start(f"{ram},policy=bind", "host-nodes must be set")
        self.refused_at_start(f"{ram},policy=bind,host-nodes=x", "expects a uint64 value or range")
        self.refused_at_start(f"{ram},policy=bind,host-nodes=1-0", "expects a uint64 value or range")
        self.refused_at_start(f"{ram},policy=bind,host-nodes=0-", "expects a uint64 value or range")
        self.refused_at_start(f"{ram},policy=bind,host-nodes=0,host-nodes=126-200",
                              "Invalid host-nodes value: 128")
        self.refused_at_start(f"{ram},policy=bind,host-nodes=127", "cannot bind memory to host NUMA nodes")

    def test_policy(self):
        """What the kernel is told of the memory of a machine, of a node of it, and of an object."""
        text = {"bind": "bind:0", "interleave": "interleave:0", "preferred": "prefer:0"}
        as_json = ('{"qom-type":"memory-backend-ram","id":"m","size":16777216,"policy":"bind",'
                   '"host-nodes":[0],"prealloc":true,"prealloc-threads":3,'
                   '"x-use-canonical-path-for-ramblock-id":false}')
        for options in (as_json, "memory-backend-ram,id=m,size=16M,policy=bind,host-nodes=0-3,"
                                 "prealloc=on,prealloc-threads=3"):
            door = self.door("-object", options, "-machine", "memory-backend=m")
            [(_, line)] = self.mappings(door, 16 << 20)
            self.assertIn(" bind:0", line)
            self.assertIn("anon=4096", line)
            about = self.memdev(door, "m")
            self.assertEqual((about["policy"], about["prealloc"], about["reserve"]), ("bind", True, True))
            self.assertEqual(about["host-nodes"], [0] if options == as_json else [0, 1, 2, 3])
        self.assertIn("policy: bind\r\n  host nodes: 0-3\r\n",
                      door.qmp.command("human-monitor-command", **{"command-line": "info memdev"}))
        for at, (policy, is_so) in enumerate(text.items()):
            size = (5 + at) << 20
            door.qmp.command("object-add", id=policy, size=size, policy=policy, reserve=False,
                             **{"host-nodes": [0]}, **RAM)
            self.assertIn(f" {is_so}", self.mappings(door, size)[0][1])
            self.assertEqual(self.memdev(door, policy)["reserve"], False)
        nodes = self.door(
            "-m", "48", "-object", "memory-backend-ram,id=a,size=16M,policy=bind,host-nodes=0",
            "-object", "memory-backend-ram,id=b,size=32M,policy=interleave,host-nodes=0", "-numa",
            "node,memdev=a", "-numa", "node,memdev=b")
        with open(f"/proc/{nodes.process.pid}/numa_maps") as f:
            policies = [line.split()[1] for line in f]
        self.assertLess(policies.index("bind:0"), policies.index("interleave:0"))
        self.assertEqual([self.memdev(nodes, name)["policy"] for name in "ab"], ["bind", "interleave"])

    def test_of_the_machine(self):
        """-mem-path and -mem-prealloc, for its RAM."""
        path = os.path.join(self.dir, "file")
        for where in (path, self.dir):
            door = self.door("-m", "16", "-mem-path", where, "-mem-prealloc", "-smp", "2")
            [(_, line)] = self.mappings(door, 16 << 20)
            self.assertIn(f" file={self.dir}/", line)
            self.assertIn("anon=4096", line)
            self.assertEqual(self.memdev(door, "pc.ram")["prealloc"], True)
            self.assertEqual(os.listdir(self.dir), ["file"])
        self.assertEqual((os.stat(path).st_size, os.stat(path).st_blocks), (16 << 20, 0))
        [(_, line)] = self.mappings(self.door("-m", "16", "-mem-prealloc"), 16 << 20)
        self.assertIn("anon=4096", line)
        for more, text in ((("-machine", "memory-backend=m"), "'-machine memory-backend'"),
                           (("-numa", "node,memdev=m"), "'-numa memdev'"),
                           (("-mem-path", os.path.join(self.dir, "no", "file")),
                            "No such file or directory")):
            done = subprocess.run([GODWIT, "-M", "q35", "-accel", "qtest", "-display", "none", "-m",
                                   "16", "-object", "memory-backend-ram,id=m,size=16M", "-mem-path",
                                   path, *more], capture_output=True, text=True, timeout=LIMIT)
            self.assertEqual(done.returncode, 1)
            self.assertIn(text, done.stderr)

    def test_file(self):
        door = self.door()
        path = os.path.join(self.dir, "file")
        for discard in (False, True):
            door.qmp.command("object-add", id="x", size=3 << 20, share=True, prealloc=True,
                             align=1 << 30, **{"qom-type": "memory-backend-file", "mem-path": path,
                                               "discard-data": discard})
            [(address, _)] = self.mappings(door, 3 << 20)
            self.assertEqual(address % (1 << 30), 0)
            door.qmp.command("object-del", id="x")
            self.assertEqual(os.stat(path).st_blocks, 0 if discard else 6144)

    def test_seal(self):
        """Whoever has the file of a memfd can't make it smaller, unless that is wanted."""
        door = self.door()
        for at, seal in enumerate((True, False)):
            size = (5 + at) << 20
            door.qmp.command("object-add", id=f"x{at}", size=size, seal=seal,
                             **{"qom-type": "memory-backend-memfd"})
            [(address, _)] = self.mappings(door, size)
            try:
                with open(f"/proc/{door.process.pid}/map_files/{address:x}-{address + size:x}", "r+b") as f:
                    if seal:
                        self.assertRaises(PermissionError, f.truncate, size // 2)
                    f.truncate(size if seal else size // 2)
            except FileNotFoundError as error:
                self.skipTest(f"the host does not let see files that are mapped: {error}")


class LargePages(Case):
    def test_refused(self):
        door = self.door()
        memfd = {"qom-type": "memory-backend-memfd", "hugetlb": True}
        self.refused(door, "Hugepage size must be a power of 2", size=2 << 20, hugetlbsize=3 << 20, **memfd)
        self.refused(door, "memory 'x'", size=4096, **memfd)
        self.refused(door, "memory 'x'", size=1 << 50, **memfd)
        self.refused_at_start("memory-backend-memfd,id=m,size=16M,hugetlb=on,hugetlbsize=3M",
                              "Hugepage size must be a power of 2")

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
