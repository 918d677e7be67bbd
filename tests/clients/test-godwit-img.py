#!/usr/bin/env python3
"""godwit-img: each verb, its output beside qemu-img's where that is installed.

Usage: test-godwit-img.py GODWIT-IMG [unittest arguments]
"""
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import unittest

IMG = os.path.abspath(sys.argv.pop(1))
if not shutil.which("qemu-img"):
    print("qemu-img is not there: skipped")
    sys.exit(77)


class Img(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="godwit-img-test-")
        self.addCleanup(shutil.rmtree, self.dir)

    def run_one(self, program, *args):
        run = subprocess.run([program, *args], cwd=self.dir, capture_output=True, text=True)
        # Programs name themselves and each other.
        return run.returncode, run.stdout, run.stderr.replace("qemu-img", "godwit-img")

    def ours(self, *args):
        code, out, err = self.run_one(IMG, *args)
        self.assertEqual(code, 0, (args, out, err))
        return out

    def theirs(self, *args):
        code, out, err = self.run_one("qemu-img", *args)
        self.assertEqual(code, 0, (args, out, err))
        return out

    def same(self, *args, errors=True):
        """Both say the same and end with the same status."""
        ours, theirs = self.run_one(IMG, *args), self.run_one("qemu-img", *args)
        self.assertEqual(ours[:2], theirs[:2], args)
        if errors:
            self.assertEqual(ours[2], theirs[2], args)

    def same_json(self, *args):
        ours, theirs = self.run_one(IMG, *args), self.run_one("qemu-img", *args)
        self.assertEqual(ours[0], theirs[0], args)
        self.assertEqual(json.loads(ours[1]), json.loads(theirs[1]), args)

    def write(self, name, pieces, size):
        """A file of that size with pieces {offset: bytes}."""
        with open(os.path.join(self.dir, name), "wb") as file:
            file.truncate(size)
            for offset, data in pieces.items():
                file.seek(offset)
                file.write(data)

    def make_images(self):
        noise = random.Random(5).randbytes(300_000)
        self.write("base.raw", {0: noise[:5000], 1_000_000: noise, 3_000_000: b"x"}, 4 << 20)
        self.ours("convert", "-O", "qcow2", "base.raw", "base.qcow2")
        self.ours("create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", "top.qcow2",
                  "6M")
        self.theirs("convert", "-c", "-O", "qcow2", "base.raw", "packed.qcow2")
        self.theirs("create", "-q", "-f", "qcow2", "-o", "preallocation=metadata", "full.qcow2",
                    "1M")
        self.theirs("create", "-q", "-f", "qcow2", "-o", "compat=0.10,cluster_size=4k", "old.qcow2",
                    "1M")

    def test_info(self):
        self.make_images()
        for name in ("base.raw", "base.qcow2", "top.qcow2", "packed.qcow2", "full.qcow2",
                     "old.qcow2"):
            self.same("info", name)
            self.same_json("info", "--output=json", name)
        self.same_json("info", "--output=json", "--backing-chain", "top.qcow2")
        self.same("info", "--backing-chain", "top.qcow2")
        self.theirs("create", "-q", "-f", "qcow2", "-b", "top.qcow2", "-F", "qcow2", "loop.qcow2")
        self.theirs("rebase", "-u", "-f", "qcow2", "-b", "loop.qcow2", "-F", "qcow2", "base.qcow2")
        self.same("info", "--backing-chain", "top.qcow2", errors=False)
        self.same("info", "top.qcow2")
        os.unlink(self.dir + "/loop.qcow2")
        self.same("info", "--backing-chain", "top.qcow2", errors=False)
        self.same("info", "nope")
        self.same("info", "-f", "qcow2", "base.raw", errors=False)

    def test_map(self):
        self.make_images()
        for name in ("base.raw", "base.qcow2", "top.qcow2", "packed.qcow2", "full.qcow2",
                     "old.qcow2"):
            self.same_json("map", "--output=json", name)
        for name in ("base.raw", "base.qcow2", "top.qcow2", "old.qcow2"):
            self.same("map", name)
        self.same_json("map", "--output=json", "--start-offset=1M", "--max-length=512k",
                       "top.qcow2")

    def test_create(self):
        for args in (["a.raw", "3M"], ["-f", "raw", "a.raw", "1.5M"],
                     ["-f", "qcow2", "a.qcow2", "1G"],
                     ["-f", "qcow2", "-o", "cluster_size=4k,lazy_refcounts=on,refcount_bits=1",
                      "a.qcow2", "10M"],
                     ["-f", "qcow2", "-o", "compression_type=zstd,preallocation=metadata", "a.qcow2",
                      "10M"]):
            self.same("create", *args)
            self.same("info", args[-2])
            if args[-2] == "a.qcow2":
                self.theirs("check", "-q", "a.qcow2")
        self.same("create", "-f", "qcow2", "x")
        self.same("create", "-f", "foo", "x", "1M")
        self.assertIn("cluster_size=", self.ours("create", "-f", "qcow2", "-o", "help"))
        for args, part in ((["-f", "qcow2", "-o", "colour=red", "x", "1M"], "colour"),
                           (["-f", "qcow2", "-o", "cluster_size=1000", "x", "1M"], "Cluster size"),
                           (["-f", "qcow2", "-b", "base", "x"], "backing format"),
                           (["-f", "qcow2", "-b", "nope", "-F", "raw", "x"], "nope"),
                           (["-f", "raw", "-b", "b", "-F", "raw", "x", "1M"], "Backing file"),
                           (["x", "1Q"], "size"), (["x", "-1"], "")):
            code, _, err = self.run_one(IMG, "create", *args)
            self.assertEqual(code, 1, args)
            self.assertIn(part, err)

    def test_convert(self):
        self.make_images()
        for name in ("base.raw", "base.qcow2", "top.qcow2", "packed.qcow2"):
            for form in ("raw", "qcow2"):
                self.ours("convert", "-O", form, name, "out")
                self.assertIn("identical", self.theirs("compare", "-F", form, name, "out"))
                self.assertIn("identical", self.ours("compare", "-F", form, name, "out"))
                if form == "qcow2":
                    self.theirs("check", "-q", "out")
        sparse = os.stat(os.path.join(self.dir, "base.raw")).st_blocks
        self.ours("convert", "-O", "raw", "base.qcow2", "out")
        self.assertLessEqual(os.stat(os.path.join(self.dir, "out")).st_blocks, sparse + 64)
        self.ours("convert", "-S", "0", "-O", "raw", "base.qcow2", "out")
        self.assertGreaterEqual(os.stat(os.path.join(self.dir, "out")).st_blocks * 512, 4 << 20)
        self.write("old.raw", {0: b"\xff" * (4 << 20)}, 4 << 20)
        self.ours("convert", "-n", "-O", "raw", "base.qcow2", "old.raw")
        self.assertIn("identical", self.theirs("compare", "base.raw", "old.raw"))
        self.ours("convert", "-O", "raw", "base.raw", "base.qcow2", "both")
        self.assertEqual(os.path.getsize(os.path.join(self.dir, "both")), 8 << 20)
        self.assertEqual(self.run_one(IMG, "convert", "-n", "-O", "raw", "top.qcow2",
                                      "old.raw")[0], 1)

    def test_compare(self):
        self.make_images()
        self.write("longer.raw", {}, 0)
        shutil.copy(os.path.join(self.dir, "base.raw"), os.path.join(self.dir, "longer.raw"))
        os.truncate(os.path.join(self.dir, "longer.raw"), 5 << 20)
        self.same("compare", "base.raw", "base.qcow2")
        self.same("compare", "base.raw", "longer.raw")
        self.same("compare", "-s", "base.raw", "longer.raw")
        self.same("compare", "full.qcow2", "base.raw")
        self.same("compare", "-q", "full.qcow2", "base.raw")
        self.assertEqual(self.run_one(IMG, "compare", "base.raw", "nope")[0], 2)

    def test_resize(self):
        self.make_images()
        for args in (["base.qcow2", "+1M"], ["-f", "raw", "base.raw", "5M"],
                     ["--shrink", "base.qcow2", "3M"], ["--shrink", "-f", "raw", "base.raw", "3M"]):
            self.assertEqual(self.ours("resize", *args), "Image resized.\n")
        self.assertIn("identical", self.theirs("compare", "base.raw", "base.qcow2"))
        self.theirs("check", "-q", "base.qcow2")
        code, _, err = self.run_one(IMG, "resize", "base.qcow2", "-1M")
        self.assertEqual(code, 1)
        self.assertIn("--shrink", err)
        self.ours("resize", "-q", "--shrink", "base.qcow2", "-1M")
        self.assertIn("2 MiB", self.theirs("info", "base.qcow2"))

    def damage(self, name, counts):
        """Sets 16-bit reference counts."""
        with open(os.path.join(self.dir, name), "r+b") as file:
            file.seek(48)
            file.seek(int.from_bytes(file.read(8), "big"))
            block = int.from_bytes(file.read(8), "big")
            for cluster, count in counts.items():
                file.seek(block + 2 * cluster)
                file.write(count.to_bytes(2, "big"))

    def test_check(self):
        self.make_images()
        for name in ("base.qcow2", "top.qcow2", "packed.qcow2", "full.qcow2", "old.qcow2"):
            self.same("check", name)
            self.same_json("check", "--output=json", name)
        self.same("check", "-f", "raw", "base.raw")
        self.damage("base.qcow2", {5: 0, 6: 2})
        self.same("check", "base.qcow2", errors=False)
        self.same_json("check", "--output=json", "base.qcow2")
        self.assertEqual(self.run_one(IMG, "check", "-r", "leaks", "base.qcow2")[0], 2)
        code, out, _ = self.run_one(IMG, "check", "-r", "all", "base.qcow2")
        self.assertEqual(code, 0)
        self.assertIn("inconsistencies were found and repaired", out)
        self.theirs("check", "-q", "base.qcow2")
        self.assertIn("identical", self.theirs("compare", "base.raw", "base.qcow2"))
        self.damage("base.qcow2", {20: 1})
        self.assertEqual(self.run_one(IMG, "check", "-q", "base.qcow2")[:2], (3, ""))
        self.ours("check", "-r", "leaks", "base.qcow2")

    def test_snapshots(self):
        self.make_images()
        self.ours("snapshot", "-c", "one", "base.qcow2")
        self.theirs("snapshot", "-c", "two", "base.qcow2")
        for program in (self.ours, self.theirs):
            lines = program("snapshot", "-l", "base.qcow2").splitlines()
            self.assertEqual(lines[0], "Snapshot list:")
            self.assertEqual([line.split()[:4] for line in lines[2:]],
                             [["1", "one", "0", "B"], ["2", "two", "0", "B"]])
        self.assertIn("Snapshot list:", self.ours("info", "base.qcow2"))
        ours, theirs = (json.loads(p("info", "--output=json", "base.qcow2"))["snapshots"]
                        for p in (self.ours, self.theirs))
        for snapshot in theirs:
            snapshot.pop("icount", None)
        self.assertEqual(ours, theirs)
        self.write("other.raw", {100_000: b"o" * 900_000}, 4 << 20)
        self.ours("convert", "-n", "-O", "qcow2", "other.raw", "base.qcow2")
        self.theirs("check", "-q", "base.qcow2")
        self.assertIn("identical", self.theirs("compare", "other.raw", "base.qcow2"))
        self.ours("snapshot", "-a", "one", "base.qcow2")
        self.theirs("check", "-q", "base.qcow2")
        self.assertIn("identical", self.theirs("compare", "base.raw", "base.qcow2"))
        self.ours("snapshot", "-d", "one", "base.qcow2")
        self.ours("snapshot", "-d", "two", "base.qcow2")
        self.assertEqual(self.ours("snapshot", "-l", "base.qcow2"), "")
        self.theirs("check", "-q", "base.qcow2")
        for flag in "-a", "-d":
            self.assertEqual(self.run_one(IMG, "snapshot", flag, "nope", "base.qcow2")[0], 1)
        self.assertEqual(self.run_one(IMG, "snapshot", "-c", "x", "base.raw")[0], 1)

    def test_bitmaps_stay(self):
        """A program that can't note its writes in bitmaps says so in the image, and keeps them."""
        self.theirs("create", "-q", "-f", "qcow2", "b.qcow2", "4M")
        self.theirs("bitmap", "--add", "b.qcow2", "auto")
        self.theirs("bitmap", "--add", "--disable", "b.qcow2", "still")
        self.assertEqual(self.run_one(IMG, "check", "b.qcow2")[0], 0)
        self.write("in.raw", {0: b"z" * 100_000}, 4 << 20)
        self.ours("convert", "-n", "-O", "qcow2", "in.raw", "b.qcow2")
        info = json.loads(self.theirs("info", "--output=json", "b.qcow2"))
        bitmaps = {b["name"]: b["flags"] for b in info["format-specific"]["data"]["bitmaps"]}
        self.assertEqual({k: sorted(v) for k, v in bitmaps.items()},
                         {"auto": ["auto", "in-use"], "still": []})
        self.theirs("check", "-q", "b.qcow2")
        self.assertEqual(self.run_one(IMG, "check", "b.qcow2")[0], 0)
        self.assertIn("dirty bitmaps", self.run_one(IMG, "resize", "b.qcow2", "+1M")[2])

    def test_usage(self):
        self.same("nope")
        for verb in ("check", "compare", "convert", "create", "info", "map", "resize"):
            self.assertEqual(self.run_one(IMG, verb)[0], 2 if verb == "compare" else 1)
            self.assertIn(verb, self.ours("--help"))
        self.assertIn("version", self.ours("--version"))


if __name__ == "__main__":
    unittest.main()
