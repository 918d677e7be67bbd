#!/usr/bin/env python3
"""Making images, resizing them, external snapshots and transactions, over QMP.

Usage: test-images.py PROGRAM [unittest arguments]

PROGRAM is godwit, or QEMU as the oracle. What is made is looked at by qemu-img.
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from qmpwire import Emulator, is_godwit, take_program  # noqa: E402

PROGRAM = take_program("qemu-img")
SIZE = 8 << 20


def qemu_img(*args):
    run = subprocess.run(["qemu-img", *args], capture_output=True, text=True)
    if run.returncode:
        raise AssertionError(f"qemu-img {args}: {run.stdout}{run.stderr}")
    return run.stdout


class Images(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="images-test-")
        self.addCleanup(shutil.rmtree, self.dir)
        self.emulator = Emulator(PROGRAM, *self.drives())
        self.addCleanup(self.emulator.close)
        self.wire = self.emulator.wire()

    def path(self, name):
        return os.path.join(self.dir, name)

    def test_what_an_image_keeps(self):
        """Snapshots and dirty bitmaps in query-block and query-named-block-nodes."""
        path = self.path("kept.qcow2")
        qemu_img("create", "-q", "-f", "qcow2", path, str(SIZE))
        qemu_img("snapshot", "-c", "one", path)
        qemu_img("bitmap", "--add", path, "notes")
        qemu_img("bitmap", "--add", "--disable", "-g", "128k", path, "still")
        self.wire.value("blockdev-add", {
            "driver": "qcow2", "node-name": "kept", "read-only": True,
            "file": {"driver": "file", "filename": path}})
        node = next(n for n in self.wire.value("query-named-block-nodes")
                    if n["node-name"] == "kept")
        snapshots = node["image"]["snapshots"]
        self.assertEqual([(s["id"], s["name"], s["vm-state-size"], s["icount"])
                          for s in snapshots], [("1", "one", 0, 0)])
        self.assertEqual(node["image"]["format-specific"]["data"]["bitmaps"], [
            {"name": "notes", "granularity": 65536, "flags": ["auto"]},
            {"name": "still", "granularity": 131072, "flags": []}])
        still = {"name": "still", "recording": False, "persistent": True, "busy": False,
                 "granularity": 131072, "count": 0}
        self.assertEqual(node["dirty-bitmaps"], [
            still, {**still, "name": "notes", "recording": True, "granularity": 65536}])
        self.wire.value("blockdev-del", {"node-name": "kept"})

    def test_json_name(self):
        """-drive file=json:{...}: what is given beside it goes before what it says."""
        path = self.path("j.raw")
        with open(path, "wb") as file:
            file.truncate(SIZE)
        name = json.dumps({"driver": "raw", "offset": 512, "size": 1 << 20, "read-only": True,
                           "file": {"driver": "file", "filename": path}})
        emulator = Emulator(PROGRAM, "-drive",
                            f"if=none,id=d,node-name=j,aio=threads,file=json:{name.replace(',', ',,')}")
        self.addCleanup(emulator.close)
        wire = emulator.wire()
        node = next(n for n in wire.value("query-named-block-nodes") if n["node-name"] == "j")
        self.assertEqual((node["image"]["virtual-size"], node["ro"], node["drv"]),
                         (1 << 20, False, "raw"))
        self.assertTrue(node["file"].startswith("json:"), node["file"])
        # An overlay that is made now finds the same window again.
        over = self.path("over.qcow2")
        wire.value("blockdev-snapshot-sync", {"node-name": "j", "snapshot-file": over,
                                              "snapshot-node-name": "over"})
        emulator.close()
        info = json.loads(qemu_img("info", "--output=json", over))
        self.assertEqual(info["virtual-size"], 1 << 20)
        self.assertEqual(json.loads(info["backing-filename"][5:])["offset"], 512)
        qemu_img("compare", "json:" + name, over)

    def test_marked_bitmaps(self):
        """What a bitmap marks is counted; one that misses writes is inconsistent."""
        path = self.path("marked.qcow2")
        qemu_img("create", "-q", "-f", "qcow2", path, str(SIZE))
        qemu_img("bitmap", "--add", path, "notes")
        raw = self.path("in.raw")
        with open(raw, "wb") as file:
            file.truncate(SIZE)
            file.seek(1 << 20)
            file.write(b"x" * 300_000)
        qemu_img("convert", "-n", "--target-is-zero", "-O", "qcow2", raw, path)

        def bitmaps(read_only):
            self.wire.value("blockdev-add", {
                "driver": "qcow2", "node-name": "marked", "read-only": read_only,
                "file": {"driver": "file", "filename": path}})
            node = next(n for n in self.wire.value("query-named-block-nodes")
                        if n["node-name"] == "marked")
            self.wire.value("blockdev-del", {"node-name": "marked"})
            return node["dirty-bitmaps"]

        self.assertEqual(bitmaps(True), [
            {"name": "notes", "recording": True, "persistent": True, "busy": False,
             "granularity": 65536, "count": 5 << 16}])
        if is_godwit(PROGRAM):  # which does not note writes
            self.assertEqual(bitmaps(False), [
                {"name": "notes", "recording": False, "persistent": True, "busy": False,
                 "granularity": 65536, "count": 0, "inconsistent": True}])

    def drives(self):
        qemu_img("create", "-q", "-f", "qcow2", self.path("d.qcow2"), str(SIZE))
        return ["-drive", f"if=none,id=d0,format=qcow2,file={self.path('d.qcow2')}"]

    def error(self, command, arguments):
        reply = self.wire.ask(command, arguments)
        self.assertIn("error", reply)
        return reply["error"]["desc"]

    def statuses(self, job, last):
        """Those of the job that events tell, up to the last."""
        seen = []
        while not seen or seen[-1] != last:
            line = self.wire.line()
            if line.get("event") == "JOB_STATUS_CHANGE":
                self.assertEqual(line["data"]["id"], job)
                seen.append(line["data"]["status"])
        return seen

    def create(self, options, ok=True):
        """Runs the job; its error, or None."""
        self.wire.send(json.dumps({"execute": "blockdev-create",
                                   "arguments": {"job-id": "j0", "options": options}}).encode())
        seen, reply = [], None
        while reply is None or seen[-1] != "concluded":
            line = self.wire.line()
            if "event" in line:
                seen.append(line["data"]["status"])
            else:
                self.assertEqual(line, {"return": {}})
                reply = line
        end = ["waiting", "pending"] if ok else ["aborting"]
        self.assertEqual(seen, ["created", "running", *end, "concluded"])
        (info,) = self.wire.value("query-jobs")
        self.assertEqual({k: v for k, v in info.items() if k != "error"},
                         {"id": "j0", "type": "create", "status": "concluded",
                          "current-progress": 1, "total-progress": 1})
        self.wire.value("job-dismiss", {"id": "j0"})
        self.assertEqual(self.wire.value("query-jobs"), [])
        return info.get("error")

    def store(self, name):
        open(self.path(name), "wb").close()
        self.wire.value("blockdev-add", {"driver": "file", "node-name": "store",
                                         "filename": self.path(name)})

    def info(self, name):
        return json.loads(qemu_img("info", "-U", "--output=json", self.path(name)))

    def test_create_file(self):
        self.assertIsNone(self.create({"driver": "file", "filename": self.path("a"),
                                       "size": 12345 * 512}))
        self.assertEqual(os.path.getsize(self.path("a")), 12345 * 512)
        self.assertIsNone(self.create({"driver": "file", "filename": self.path("b"), "size": SIZE,
                                       "preallocation": "falloc"}))
        self.assertGreaterEqual(os.stat(self.path("b")).st_blocks * 512, SIZE)
        error = self.create({"driver": "file", "filename": self.path("no/where"), "size": 512},
                            ok=False)
        self.assertIn("No such file or directory", error)

    def test_create_qcow2(self):
        cases = [
            {},
            {"version": "v2"},
            {"cluster-size": 512, "size": 1 << 30},
            {"cluster-size": 2 << 20, "refcount-bits": 1},
            {"refcount-bits": 64, "lazy-refcounts": True},
            {"compression-type": "zstd"},
            {"preallocation": "metadata"},
            {"preallocation": "full", "cluster-size": 4096},
            {"preallocation": "falloc", "size": 1 << 20},
            {"size": 1 << 43},
            {"size": 0},
            {"backing-file": "/some/where.raw", "backing-fmt": "raw"},
        ]
        for number, case in enumerate(cases):
            name = f"{number}.qcow2"
            size = case.get("size", SIZE)
            self.store(name)
            self.assertIsNone(self.create({"driver": "qcow2", "file": "store", "size": SIZE, **case}))
            self.wire.value("blockdev-del", {"node-name": "store"})
            if "backing-file" not in case:
                qemu_img("check", "-q", self.path(name))
            info = self.info(name)
            data = info["format-specific"]["data"]
            self.assertEqual((info["virtual-size"], info["cluster-size"]),
                             (size, case.get("cluster-size", 65536)))
            self.assertEqual(data["compat"], "0.10" if case.get("version") == "v2" else "1.1")
            self.assertEqual(data["refcount-bits"], case.get("refcount-bits", 16))
            self.assertEqual(data["compression-type"], case.get("compression-type", "zlib"))
            self.assertEqual(data.get("lazy-refcounts", False), case.get("lazy-refcounts", False))
            self.assertEqual(info.get("backing-filename"), case.get("backing-file"))
            self.assertEqual(info.get("backing-filename-format"), case.get("backing-fmt"))
            if case.get("preallocation", "off") != "off":
                (only,) = json.loads(qemu_img("map", "--output=json", self.path(name)))
                self.assertEqual(only["length"], size)
            self.wire.value("blockdev-add", {"driver": "qcow2", "node-name": "again",
                                             "backing": None,
                                             "file": {"driver": "file",
                                                      "filename": self.path(name)}})
            self.wire.value("blockdev-del", {"node-name": "again"})

    def test_create_errors(self):
        self.store("x")
        for case, part in [
                ({"size": 100}, "multiple of 512 bytes"),
                ({"cluster-size": 3000}, "Cluster size must be a power of two"),
                ({"cluster-size": 256}, "Cluster size must be a power of two"),
                ({"refcount-bits": 128}, "Refcount width must be a power of two"),
                ({"version": "v2", "refcount-bits": 1}, "Different refcount widths"),
                ({"version": "v2", "lazy-refcounts": True}, "Lazy refcounts only supported"),
                ({"version": "v2", "compression-type": "zstd"}, "Non-zlib compression type"),
                ({"backing-fmt": "raw"}, "Backing format cannot be used without backing file"),
                ({"backing-file": "x", "preallocation": "full"}, "Backing file and preallocation"),
        ]:
            error = self.create({"driver": "qcow2", "file": "store", "size": SIZE, **case}, ok=False)
            self.assertIn(part, error)
        self.assertIn("nor node-name='nope'", self.error(
            "blockdev-create", {"job-id": "j", "options": {"driver": "qcow2", "file": "nope",
                                                           "size": SIZE}}) if "qemu" not in PROGRAM
            else self.create({"driver": "qcow2", "file": "nope", "size": SIZE}, ok=False))
        self.assertEqual(self.error("blockdev-create", {
            "job-id": "j", "options": {"driver": "raw"}}), "Driver does not support blockdev-create")
        self.assertIn("#1", self.error("blockdev-create", {
            "job-id": "#1", "options": {"driver": "file", "filename": self.path("y"), "size": 0}}))
        self.assertEqual(self.error("job-dismiss", {"id": "j"}), "Job not found")

    def inserted(self):
        (drive,) = [d for d in self.wire.value("query-block") if d["device"] == "d0"]
        return drive["inserted"]

    def test_resize(self):
        self.wire.value("block_resize", {"device": "d0", "size": SIZE * 3})
        self.assertEqual(self.inserted()["image"]["virtual-size"], SIZE * 3)
        self.wire.value("block_resize", {"device": "d0", "size": SIZE})
        self.assertEqual(self.info("d.qcow2")["virtual-size"], SIZE)
        self.assertIn("", self.error("block_resize", {"device": "d0", "size": -1}))
        self.assertIn("nope", self.error("block_resize", {"node-name": "nope", "size": 1}))

    def overlay(self, name):
        self.store(name)
        self.assertIsNone(self.create({"driver": "qcow2", "file": "store", "size": SIZE,
                                       "backing-file": self.path("d.qcow2"),
                                       "backing-fmt": "qcow2"}))
        self.wire.value("blockdev-del", {"node-name": "store"})
        self.wire.value("blockdev-add", {
            "driver": "qcow2", "node-name": name, "backing": None,
            "file": {"driver": "file", "filename": self.path(name)}})

    def test_snapshot(self):
        self.overlay("o1")
        below = self.inserted()["node-name"]
        self.wire.value("transaction", {"actions": [
            {"type": "blockdev-snapshot", "data": {"node": below, "overlay": "o1"}}]})
        top = self.inserted()
        self.assertEqual((top["node-name"], top["file"]), ("o1", self.path("o1")))
        self.assertEqual((top["backing_file"], top["backing_file_depth"]),
                         (self.path("d.qcow2"), 1))
        self.assertEqual(top["image"]["backing-image"]["filename"], self.path("d.qcow2"))
        self.error("blockdev-snapshot", {"node": below, "overlay": "o1"})
        self.error("blockdev-snapshot", {"node": "o1", "overlay": "o1"})
        self.overlay("o2")
        self.wire.value("blockdev-snapshot", {"node": "o1", "overlay": "o2"})
        self.assertEqual(self.inserted()["backing_file_depth"], 2)
        self.wire.value("blockdev-add", {"driver": "null-co", "node-name": "null"})
        self.assertIn("does not support backing", self.error(
            "blockdev-snapshot", {"node": "o2", "overlay": "null"}))
        self.error("blockdev-snapshot", {"node": "null", "overlay": "o1"})

    def test_snapshot_sync(self):
        self.wire.value("blockdev-snapshot-sync", {
            "device": "d0", "snapshot-file": self.path("s1"), "snapshot-node-name": "s1"})
        self.assertEqual(self.inserted()["node-name"], "s1")
        info = self.info("s1")
        self.assertEqual((info["virtual-size"], info["full-backing-filename"],
                          info["backing-filename-format"]),
                         (SIZE, self.path("d.qcow2"), "qcow2"))
        self.assertEqual(self.error("blockdev-snapshot-sync", {
            "node-name": "s1", "snapshot-file": self.path("s2")}),
            "New overlay node-name missing")
        self.assertEqual(self.error("blockdev-snapshot-sync", {
            "node-name": "s1", "snapshot-file": self.path("s2"), "snapshot-node-name": "s1"}),
            "New overlay node-name already in use")
        self.assertIn("Could not create", self.error("blockdev-snapshot-sync", {
            "device": "d0", "snapshot-file": self.path("no/s2")}))
        below = [n["node-name"] for n in self.wire.value("query-named-block-nodes")
                 if n["file"] == self.path("d.qcow2") and n["drv"] == "qcow2"]
        for name in below:  # an image names what it stands on: nothing comes in between
            self.assertIn("is busy", self.error("blockdev-snapshot-sync", {
                "node-name": name, "snapshot-file": self.path("s3"), "snapshot-node-name": "s3"}))
        self.assertTrue(below)
        self.assertFalse(os.path.exists(self.path("s3")))

    def test_transaction_undone(self):
        self.overlay("o1")
        before = self.inserted()
        for bad, part in [({"type": "abort", "data": {}},
                           "Transaction aborted using Abort action"),
                          ({"type": "blockdev-snapshot", "data": {"node": "d0", "overlay": "nope"}},
                           "nope")]:
            self.assertIn(part, self.error("transaction", {"actions": [
                {"type": "blockdev-snapshot", "data": {"node": "d0", "overlay": "o1"}},
                bad]}))
            self.assertEqual(self.inserted(), before)
        self.wire.value("blockdev-del", {"node-name": "o1"})
        self.assertIn("completion-mode", self.error("transaction", {
            "actions": [{"type": "blockdev-snapshot", "data": {"node": "d0", "overlay": "d0"}}],
            "properties": {"completion-mode": "grouped"}}))


if __name__ == "__main__":
    unittest.main()
