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

    def same_file(self, one, two, form):
        self.assertIn("identical", self.theirs("compare", "-f", form, "-F", form, one, two))

    def test_convert_compressed(self):
        """Clusters that share one, those that reach into the next, and those that can't."""
        self.make_images()
        for options in ("cluster_size=64k", "compression_type=zstd", "cluster_size=512",
                        "cluster_size=2M", "cluster_size=4k,refcount_bits=1", "compat=0.10"):
            for name in ("base.raw", "top.qcow2"):
                args = ("convert", "-c", "-O", "qcow2", "-o", options, name)
                self.ours(*args, "mine")
                self.theirs(*args, "theirs")
                self.same_file("mine", "theirs", "qcow2")
                self.ours("compare", "-q", "mine", "theirs")
                ours, theirs = (json.loads(self.theirs("check", "--output=json", i))
                                for i in ("mine", "theirs"))
                for key in ("allocated-clusters", "compressed-clusters"):
                    self.assertEqual(ours.get(key), theirs.get(key), (options, name))
        self.ours("convert", "-c", "-n", "-O", "qcow2", "base.raw", "mine")
        self.theirs("check", "-q", "mine")
        self.assertIn("identical", self.theirs("compare", "base.raw", "mine"))
        # What was compressed is written over, and its place used again.
        self.write("other.raw", {100_000: b"o" * 900_000}, 4 << 20)
        self.ours("convert", "-n", "-O", "qcow2", "other.raw", "mine")
        self.ours("convert", "-c", "-n", "-O", "qcow2", "base.raw", "mine")
        self.theirs("check", "-q", "mine")
        self.assertIn("identical", self.theirs("compare", "base.raw", "mine"))
        self.same("convert", "-c", "-O", "raw", "base.raw", "x")
        self.same("convert", "-c", "-O", "qcow2", "-o", "preallocation=full", "base.raw", "x")

    def test_convert_onto_backing(self):
        self.make_images()
        self.theirs("create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", "new.qcow2",
                    "6M")
        self.write("in.raw", {1_000_000: b"n" * 70_000}, 6 << 20)
        self.theirs("convert", "-n", "-O", "qcow2", "in.raw", "new.qcow2")
        for more in ((), ("-c",)):
            self.ours("convert", *more, "-B", "base.qcow2", "-F", "qcow2", "-O", "qcow2",
                      "new.qcow2", "out")
            self.same_file("new.qcow2", "out", "qcow2")
            self.theirs("check", "-q", "out")
        self.ours("convert", "-B", "base.qcow2", "-F", "qcow2", "-O", "qcow2", "top.qcow2", "out")
        self.assertEqual(json.loads(self.theirs("info", "--output=json", "out"))[
            "backing-filename"], "base.qcow2")
        self.assertIn("0/96", self.theirs("check", "out") + "0/96")
        self.assertNotIn("allocated-clusters", self.theirs("check", "--output=json", "out"))
        for args in (["-B", "base.qcow2", "-O", "qcow2", "top.qcow2", "x"],
                     ["-B", "base.qcow2", "-F", "qcow2", "-O", "raw", "top.qcow2", "x"],
                     ["-B", "base.qcow2", "-F", "qcow2", "-O", "qcow2", "top.qcow2", "base.raw",
                      "x"]):
            self.same("convert", *args)

    def test_convert_snapshot(self):
        self.make_images()
        self.theirs("snapshot", "-c", "first", "base.qcow2")
        self.write("other.raw", {100_000: b"o" * 900_000}, 4 << 20)
        self.theirs("convert", "-n", "-O", "qcow2", "other.raw", "base.qcow2")
        self.theirs("snapshot", "-c", "second", "base.qcow2")
        self.theirs("resize", "base.qcow2", "+1M")
        for name in ("first", "2", "snapshot.name=first", "snapshot.id=2",
                     "snapshot.id=1,snapshot.name=first"):
            self.ours("convert", "-l", name, "-O", "raw", "base.qcow2", "mine")
            self.theirs("convert", "-l", name, "-O", "raw", "base.qcow2", "theirs")
            self.same_file("mine", "theirs", "raw")
            self.assertEqual(os.path.getsize(os.path.join(self.dir, "mine")), 4 << 20)
        for args in (["-l", "nope", "base.qcow2", "x"], ["-l", "first", "base.raw", "x"],
                     ["-l", "first", "base.qcow2", "base.qcow2", "x"]):
            self.assertEqual(self.run_one(IMG, "convert", *args)[0], 1)
        self.theirs("check", "-q", "base.qcow2")

    def test_convert_ways(self):
        """Threads, any order, progress, damaged input."""
        self.make_images()
        for args in (["-W", "-m", "16"], ["-m", "1"], ["-c"]):
            self.ours("convert", *args, "-O", "qcow2", "top.qcow2", "out")
            self.same_file("top.qcow2", "out", "qcow2")
            self.theirs("check", "-q", "out")
        for bad in ("0", "17", "x"):
            self.same("convert", "-m", bad, "base.raw", "x")
        out = self.ours("convert", "-p", "base.raw", "out")
        self.assertTrue(out.startswith("    (0.00/100%)"), out)
        self.assertTrue(out.endswith("(100.00/100%)\n"), repr(out))
        self.assertIn("(100.00/100%)", self.ours("compare", "-p", "base.raw", "base.qcow2"))
        # An entry that points behind the file's end: reading it fails.
        with open(os.path.join(self.dir, "packed.qcow2"), "r+b") as file:
            file.seek(40)
            file.seek(int.from_bytes(file.read(8), "big"))
            l2 = int.from_bytes(file.read(8), "big") & ~(1 << 63)
            file.seek(l2)
            file.write((1 << 62 | 1 << 40).to_bytes(8, "big"))
        code, _, err = self.run_one(IMG, "convert", "packed.qcow2", "out")
        self.assertEqual((code, "error while reading" in err), (1, True))
        code, _, err = self.run_one(IMG, "convert", "--salvage", "packed.qcow2", "out")
        self.assertEqual((code, "warning: error while reading offset 0" in err), (0, True))
        with open(os.path.join(self.dir, "base.raw"), "rb") as file:
            want = file.read()
        with open(os.path.join(self.dir, "out"), "rb") as file:
            self.assertEqual(file.read(), bytes(65536) + want[65536:])

    def test_compare_strict(self):
        self.make_images()
        names = ("base.raw", "base.qcow2", "top.qcow2", "packed.qcow2", "full.qcow2", "old.qcow2")
        for i, one in enumerate(names):
            for two in names[i:]:
                self.same("compare", "-s", one, two)

    def test_empty(self):
        self.write("empty.raw", {}, 0)
        self.theirs("create", "-q", "-f", "qcow2", "empty.qcow2", "0")
        self.write("some.raw", {}, 70_000)
        self.write("other.raw", {512: b"x"}, 70_144)
        self.write("old.vvfat", {0: b"QFI\xfb\0\0\0\0"}, 1024)
        for name in ("empty.raw", "empty.qcow2"):
            self.same("map", name)
            self.same("map", "--output=json", name)
            self.same("map", "--output=json", "-s", "1k", "some.raw")
            self.same("map", "--output=json", "-s", "1M", "some.raw")
            self.same("compare", name, "some.raw")
            self.same("compare", name, "other.raw")
            self.same("info", name)
        self.same("info", "old.vvfat")

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

    def test_resize_preallocated(self):
        for size in ("64k", "2M", "512"):
            for mode in ("metadata", "falloc", "full"):
                for program, name in ((self.ours, "mine"), (self.theirs, "theirs")):
                    self.theirs("create", "-q", "-f", "qcow2", "-o", f"cluster_size={size}", name,
                                "2M")
                    program("resize", "-q", f"--preallocation={mode}", name, "+2M")
                self.theirs("check", "-q", "mine")
                self.same_file("mine", "theirs", "qcow2")
                self.assertEqual(*(json.loads(self.theirs("check", "--output=json", n))[
                    "allocated-clusters"] for n in ("mine", "theirs")))
        self.theirs("resize", "-q", "mine", "8M")
        for mode in ("falloc", "full"):
            self.write("r", {0: b"data"}, 1 << 20)
            self.ours("resize", "-q", "-f", "raw", f"--preallocation={mode}", "r", "3M")
            self.assertGreaterEqual(os.stat(os.path.join(self.dir, "r")).st_blocks * 512, 2 << 20)
        for args in (["metadata", "r", "4M"], ["full", "r", "1M"], ["full", "r", "3M"],
                     ["nope", "r", "4M"]):
            self.same("resize", "-f", "raw", "--preallocation=" + args[0], *args[1:])

    def test_features(self):
        """What can't be understood is named as the image itself names it."""
        self.theirs("create", "-q", "-f", "qcow2", "-o", "extended_l2=on", "ext.qcow2", "1M")
        self.theirs("create", "-q", "-f", "qcow2", "new.qcow2", "1M")
        code, _, err = self.run_one(IMG, "info", "ext.qcow2")
        self.assertEqual(code, 1)
        self.assertIn("Unsupported qcow2 feature(s): extended L2 entries\n", err)
        with open(os.path.join(self.dir, "new.qcow2"), "r+b") as file:
            data = bytearray(file.read(4096))
            # The table's first entry becomes another bit's.
            at = data.find(0x6803F857.to_bytes(4, "big")) + 8
            data[at:at + 48] = bytes([0, 50]) + b"square corners".ljust(46, b"\0")
            data[72:80] = (1 << 50 | 1 << 51).to_bytes(8, "big")
            file.seek(0)
            file.write(data)
        self.same("info", "new.qcow2")
        self.assertIn("square corners, Unknown", self.run_one(IMG, "info", "new.qcow2")[2])

    def test_lazy_counts(self):
        """An image that was not closed is repaired before it is written."""
        self.write("in.raw", {0: b"z" * 400_000}, 4 << 20)
        self.theirs("create", "-q", "-f", "qcow2", "-o", "lazy_refcounts=on", "l.qcow2", "4M")
        self.theirs("convert", "-n", "-O", "qcow2", "in.raw", "l.qcow2")
        with open(os.path.join(self.dir, "l.qcow2"), "r+b") as file:
            file.seek(72)
            file.write((1).to_bytes(8, "big"))
        self.damage("l.qcow2", {5: 0, 6: 0, 7: 0, 8: 0})
        self.same("check", "l.qcow2")
        self.assertEqual(self.run_one(IMG, "check", "l.qcow2")[0], 2)
        self.assertIn("cleanly shut down: no", self.ours("info", "l.qcow2"))
        self.ours("convert", "-n", "-O", "qcow2", "in.raw", "l.qcow2")
        self.assertNotIn("cleanly", self.theirs("info", "l.qcow2"))
        self.theirs("check", "-q", "l.qcow2")
        self.assertIn("identical", self.theirs("compare", "in.raw", "l.qcow2"))

    def test_json_names(self):
        """json:{...} in place of a path: on the command line, and as a backing file's name."""
        self.write("base.raw", {0: b"b" * 4096, 512: b"c" * 700_000}, 1 << 20)
        self.theirs("convert", "-O", "qcow2", "base.raw", "base.qcow2")
        base = os.path.join(self.dir, "base.raw")
        window = 'json:{"driver": "raw", "offset": 512, "file": {"driver": "file", "filename": "%s"}}' % base
        for name in (window, 'json:{"file.filename": "base.qcow2"}',
                     'json:{"driver": "qcow2", "backing": null, "file": {"filename": "base.qcow2"}}',
                     'json:{"driver": "raw", "offset": 512, "size": 4096, "file.filename": "base.raw"}',
                     'json:{"driver": "file", "filename": "base.raw"}'):
            self.same("info", name)
            self.ours("convert", "-O", "raw", name, "ours.raw")
            self.theirs("convert", "-O", "raw", name, "theirs.raw")
            with open(os.path.join(self.dir, "ours.raw"), "rb") as ours, \
                    open(os.path.join(self.dir, "theirs.raw"), "rb") as theirs:
                self.assertEqual(ours.read(), theirs.read(), name)
        self.ours("create", "-q", "-f", "qcow2", "-b", window, "-F", "raw", "over.qcow2")
        self.same("info", "--backing-chain", "over.qcow2")
        self.assertIn("identical", self.theirs("compare", "-F", "qcow2", window, "over.qcow2"))
        self.assertIn("identical", self.ours("compare", "-F", "qcow2", window, "over.qcow2"))
        for name, part in (("json:[]", "Invalid JSON object given"),
                           ("json:{", "Could not parse the JSON options"),
                           ('json:{"driver": "raw"} x', "Could not parse the JSON options"),
                           ('json:{"driver": "raw", "a,b": 1}', "a,b"),
                           ('json:{"driver": "raw", "file.filename": "base.raw", "x": 1}', "'x'"),
                           ('json:{"driver": "raw"}', "file")):
            code, _, err = self.run_one(IMG, "info", name)
            self.assertEqual(code, 1, name)
            self.assertIn(part, err, name)

    def test_image_opts(self):
        """Descriptions in place of a path."""
        self.write("base.raw", {0: b"b" * 4096, 512: b"c" * 700_000}, 1 << 20)
        self.theirs("convert", "-O", "qcow2", "base.raw", "base.qcow2")
        full = "driver=qcow2,file.driver=file,file.filename=base.qcow2"
        for text in (full, "driver=qcow2,file.filename=base.qcow2", "file.filename=base.qcow2"):
            for verb in ("info", "check", "map"):
                self.same(verb, "--image-opts", text)
        self.same("compare", "--image-opts", full, "driver=raw,file.filename=base.raw")
        window = "driver=raw,offset=512,size=4096,file.filename=base.raw"
        self.ours("convert", "--image-opts", "-O", "raw", window, "ours.raw")
        self.theirs("convert", "--image-opts", "-O", "raw", window, "theirs.raw")
        with open(os.path.join(self.dir, "ours.raw"), "rb") as ours, \
                open(os.path.join(self.dir, "theirs.raw"), "rb") as theirs:
            self.assertEqual(ours.read(), theirs.read())
        self.ours("convert", "-n", "--target-image-opts", "base.raw", full)
        self.ours("resize", "-q", "--image-opts", full, "2M")
        self.ours("snapshot", "--image-opts", "-c", "s", full)
        self.assertIn("s", self.theirs("snapshot", "-l", "base.qcow2"))
        for text, part in (("base.qcow2", "Cannot find device='base.qcow2'"), ("driver=raw", "file"),
                           ("driver=bad,file.filename=base.raw", "bad"),
                           ("driver=raw,file.filename=base.raw,x=1", "'x'")):
            code, _, err = self.run_one(IMG, "info", "--image-opts", text)
            self.assertEqual(code, 1, text)
            self.assertIn(part, err)
        self.assertEqual(self.run_one(IMG, "convert", "--target-image-opts", "base.raw", full)[0], 1)

    def test_uncounted(self):
        """Clusters that the reference count table is too short for: no repair writes over them."""
        self.write("in.raw", {i << 16: bytes([i]) * 65536 for i in range(1, 64)}, 4 << 20)
        self.theirs("convert", "-O", "qcow2", "-o", "cluster_size=512,refcount_bits=64,lazy_refcounts=on",
                    "in.raw", "short.qcow2")
        path = os.path.join(self.dir, "short.qcow2")
        with open(path, "r+b") as file:
            file.seek(56)
            self.assertGreater(int.from_bytes(file.read(4), "big"), 1)
            file.seek(56)
            file.write((1).to_bytes(4, "big"))  # cluster of the table: counts the first 2 MiB
            file.seek(72)
            file.write((1).to_bytes(8, "big"))  # not closed
            file.seek(512)
            before = file.read()
        for args in (("check", "-r", "all", "short.qcow2"), ("convert", "-n", "-O", "qcow2", "in.raw", "short.qcow2")):
            code, out, err = self.run_one(IMG, *args)
            self.assertEqual(code, 1, (args, out[-500:], err[-500:]))
            with open(path, "rb") as file:
                file.seek(2 << 20)
                self.assertEqual(file.read(), before[(2 << 20) - 512:])

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
        self.theirs("create", "-q", "-f", "qcow2", "-o", "cluster_size=512", "small.qcow2", "1M")
        self.write("zero.raw", {5000: b"1" * 10_000, 70_000: b"2" * 90_000}, 1 << 20)
        self.theirs("convert", "-n", "-O", "qcow2", "zero.raw", "small.qcow2")
        self.write("zero.raw", {5000: b"1" * 1000, 90_000: b"2" * 9000}, 1 << 20)
        self.theirs("convert", "-n", "-S", "512", "-O", "qcow2", "zero.raw", "small.qcow2")
        for name in ("base.qcow2", "top.qcow2", "packed.qcow2", "full.qcow2", "old.qcow2",
                     "small.qcow2"):
            self.same("check", name)
            self.same_json("check", "--output=json", name)
        self.same("check", "-f", "raw", "base.raw")
        self.damage("base.qcow2", {5: 0, 6: 2})
        self.same("check", "base.qcow2")
        self.same_json("check", "--output=json", "base.qcow2")
        self.assertEqual(self.run_one(IMG, "check", "-r", "leaks", "base.qcow2")[0], 2)
        code, out, _ = self.run_one(IMG, "check", "-r", "all", "base.qcow2")
        self.assertEqual(code, 0)
        self.assertIn("inconsistencies were found and repaired", out)
        self.theirs("check", "-q", "base.qcow2")
        self.assertIn("identical", self.theirs("compare", "base.raw", "base.qcow2"))
        path = os.path.join(self.dir, "base.qcow2")
        end = -(-os.path.getsize(path) // 65536)
        os.truncate(path, (end + 1) * 65536)
        self.damage("base.qcow2", {end: 1, end + 1: 1})  # the last is not in the file
        self.same("check", "base.qcow2")
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
        self.assertEqual(ours, theirs)
        self.same("snapshot", "-l", "base.qcow2")
        self.same("info", "base.qcow2")
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
        self.same("info", "b.qcow2")
        self.same_json("info", "--output=json", "b.qcow2")
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
            self.assertEqual(self.run_one(IMG, verb)[0], 1)
            self.assertIn(verb, self.ours("--help"))
        self.assertIn("version", self.ours("--version"))


if __name__ == "__main__":
    unittest.main()
