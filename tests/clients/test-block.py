#!/usr/bin/env python3
"""Block nodes over QMP and on the command line: making, asking, deleting.

Usage: test-block.py PROGRAM [unittest arguments]

PROGRAM is godwit, or QEMU as the oracle.
"""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from qmpwire import Emulator, is_godwit, take_program  # noqa: E402

PROGRAM = take_program()
IS_GODWIT = is_godwit(PROGRAM)
SIZE = 1 << 20


class Block(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="block-test-")
        self.addCleanup(shutil.rmtree, self.dir)
        self.image = os.path.join(self.dir, "a.raw")
        with open(self.image, "wb") as file:
            file.truncate(SIZE)

    def start(self, *args):
        self.emulator = Emulator(PROGRAM, *args)
        self.addCleanup(self.emulator.close)
        self.wire = self.emulator.wire()

    def error(self, command, arguments):
        reply = self.wire.ask(command, arguments)
        self.assertIn("error", reply)
        self.assertEqual(reply["error"]["class"], "GenericError")
        return reply["error"]["desc"]

    def nodes(self):
        return {n["node-name"]: n for n in self.wire.value("query-named-block-nodes")}

    def add_file(self, name="file0"):
        self.wire.value("blockdev-add",
                        {"driver": "file", "node-name": name, "filename": self.image})

    def test_rules_from_a_file(self):
        rules = os.path.join(self.dir, "rules")

        def add(text, name="n"):
            with open(rules, "w") as file:
                file.write(text)
            return self.wire.ask("blockdev-add", {
                "driver": "blkdebug", "node-name": name, "config": rules,
                "image": {"driver": "null-co"}})

        self.start()
        self.assertEqual(add(""), {"return": {}})
        self.assertEqual(add('# one\n[inject-error]\nevent = "read_aio"\nerrno = "5"\n'
                             '  once = "on"  \n\n[set-state]\nevent = "none"\n'
                             'new_state = "2"\nstate = "1"', "m"), {"return": {}})
        if IS_GODWIT:
            for text, wrong in (
                    ('event = "none"', "line 1: neither"), ("[]", "line 1: neither"),
                    ('[inject-error\n', "line 1: neither"), ('[set-state "x]', "line 1: neither"),
                    ("[set-state]\nevent = none", "line 2: neither"),
                    ('[set-state]\nevent "none"', "line 2: neither"),
                    ('[set-state]\nevent = "no"ne"', "line 2: neither"),
                    ("[set-state]\n\n", "line 1: [set-state]: "),
                    ('\n[inject-error]\nevent = "x"', "line 2: [inject-error]: "),
                    ('[inject-error]\nevent = "none"\nx = "1"', "line 1: [inject-error]: "),
                    ('[inject-error "a"]\nevent = "none"', "a rule has no id"),
                    ("[x]", "[x]: only inject-error and set-state"),
                    ("\0", "no file of sections"), ("#" * ((1 << 20) + 1), "no file of sections")):
                with self.subTest(text=text[:40]):
                    self.assertIn(wrong, add(text, "e")["error"]["desc"])
            os.unlink(rules)
            os.mkdir(rules)
            self.assertIn("could not", self.error("blockdev-add", {
                "driver": "blkdebug", "node-name": "e", "config": rules,
                "image": {"driver": "null-co"}}))
        self.assertEqual(sorted(n for n in self.nodes() if n[0] != "#"), ["m", "n"])

    def hmp(self, line):
        return self.wire.value("human-monitor-command", {"command-line": line})

    def test_drive_add_and_del(self):
        self.start("-drive", "if=none,id=d0")
        drives = lambda: {b["device"] for b in self.wire.value("query-block")}  # noqa: E731
        self.assertEqual(self.hmp("drive_del d0"), "")
        self.assertNotIn("d0", drives())
        self.assertEqual(self.hmp(f"drive_add 0 if=none,id=d0,format=raw,file={self.image}"),
                         "OK\r\n")
        self.assertIn("d0", drives())
        self.assertIn("d0", self.hmp("drive_add 0 if=none,id=d0"))  # there already
        self.assertNotIn("OK", self.hmp("drive_add 0 if=ide,id=d1"))
        self.assertIn("not found", self.hmp("drive_del d1"))
        self.assertEqual(self.hmp("drive_del d0"), "")
        self.assertNotIn("d0", drives())
        self.assertEqual([n for n in self.nodes().values() if n.get("file") == self.image], [])
        if IS_GODWIT:
            for line in "drive_add", "drive_add 0":
                self.assertIn("drive_add: string expected", self.hmp(line))
            self.assertIn("extraneous characters", self.hmp("drive_add -n 0 x"))

    def test_life(self):
        self.start()
        self.assertEqual(self.wire.value("query-named-block-nodes"), [])
        self.assertEqual(self.wire.value("query-block"), [])
        self.add_file()
        self.wire.value("blockdev-add", {"driver": "raw", "node-name": "fmt", "file": "file0",
                                         "read-only": True, "discard": "unmap"})
        nodes = self.nodes()
        self.assertEqual(sorted(nodes), ["file0", "fmt"])
        fmt = nodes["fmt"]
        self.assertEqual((fmt["drv"], fmt["ro"], fmt["file"]), ("raw", True, self.image))
        self.assertEqual(fmt["image"]["virtual-size"], SIZE)
        self.assertEqual(fmt["image"]["actual-size"], 0)
        self.assertEqual(fmt["cache"], {"writeback": True, "direct": False, "no-flush": False})
        for key in ("backing_file_depth", "bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr",
                    "write_threshold"):
            self.assertEqual(fmt[key], 0)
        self.assertEqual(fmt["detect_zeroes"], "off")
        self.assertEqual(nodes["file0"]["drv"], "file")
        self.assertIn("in use", self.error("blockdev-del", {"node-name": "file0"})
                      .replace("busy", "in use"))
        self.wire.value("blockdev-del", {"node-name": "fmt"})
        self.wire.value("blockdev-del", {"node-name": "file0"})
        self.assertEqual(self.nodes(), {})

    def test_length_in_use(self):
        """A format's file keeps its length, and so does what others stand on."""
        self.start()
        self.add_file()
        self.wire.value("blockdev-create", {"job-id": "j", "options": {
            "driver": "qcow2", "file": "file0", "size": 1 << 20}})
        while self.wire.value("query-jobs")[0]["status"] != "concluded":
            pass
        self.wire.value("blockdev-add", {"driver": "qcow2", "node-name": "fmt", "file": "file0"})
        self.assertEqual(
            self.error("block_resize", {"node-name": "file0", "size": 4096}),
            "Permission conflict on node 'file0': permissions 'resize' are both required by an unnamed "
            "block device (uses node 'file0' as 'root' child) and unshared by node 'fmt' (uses node "
            "'file0' as 'file' child).")
        self.assertEqual(self.error("blockdev-del", {"node-name": "file0"}),
                         "Block device file0 is in use")
        self.wire.value("block_resize", {"node-name": "fmt", "size": 2 << 20})
        self.wire.value("blockdev-add", {"driver": "null-co", "node-name": "n"})
        self.assertEqual(self.error("block_resize", {"node-name": "n", "size": 4096}),
                         "Image format driver does not support resize")
        self.assertEqual(self.error("blockdev-add", {"driver": "null-co", "node-name": "n" * 32}),
                         "Node name too long")

    def reopen(self, *nodes):
        self.wire.value("blockdev-reopen", {"options": list(nodes)})

    def reopen_fails(self, *nodes):
        return self.error("blockdev-reopen", {"options": list(nodes)})

    def test_reopen(self):
        self.start()
        self.add_file("f0")
        self.wire.value("blockdev-add", {"driver": "null-co", "node-name": "n0", "size": 4096})
        raw = {"driver": "raw", "node-name": "r0", "file": "f0"}
        self.wire.value("blockdev-add", raw)
        self.reopen({**raw, "read-only": True, "detect-zeroes": "on"})
        node = self.nodes()["r0"]
        self.assertEqual((node["ro"], node["detect_zeroes"]), (True, "on"))
        self.reopen({**raw, "cache": {"no-flush": True}})  # what is not given has its default
        node = self.nodes()["r0"]
        self.assertEqual((node["ro"], node["detect_zeroes"], node["cache"]["no-flush"]),
                         (False, "off", True))
        self.reopen({**raw, "offset": 512})
        self.assertEqual(self.nodes()["r0"]["image"]["virtual-size"], SIZE - 512)
        self.reopen({**raw, "file": "n0"})
        self.assertEqual(self.nodes()["r0"]["image"]["virtual-size"], 4096)
        self.wire.value("blockdev-del", {"node-name": "f0"})  # nobody stands on it any more
        raw["file"] = "n0"
        for change, error in (({"driver": "qcow2"}, "Cannot change the option 'driver'"),
                              ({"node-name": "x"}, "Failed to find node with node-name='x'"),
                              ({"file": "x"}, "Cannot find device='' nor node-name='x'")):
            self.assertEqual(self.reopen_fails({**raw, **change}), error)
        self.assertEqual(self.reopen_fails({"driver": "null-co", "node-name": "n0", "size": 1 << 30}),
                         "Cannot change the option 'size'")
        self.assertEqual(self.reopen_fails({"driver": "raw", "file": "n0"}),
                         "node-name not specified")

    def test_reopen_all_or_none(self):
        self.start("-M", "pc")
        self.add_file("f0")
        for name in "ab":
            self.wire.value("blockdev-add", {"driver": "null-co", "node-name": name + "n"})
            self.wire.value("blockdev-add", {"driver": "raw", "node-name": name, "file": name + "n"})
        self.wire.value("device_add", {"driver": "virtio-blk-pci", "id": "disk", "drive": "b"})
        error = self.reopen_fails({"driver": "raw", "node-name": "a", "file": "f0", "read-only": True},
                                  {"driver": "raw", "node-name": "b", "file": "bn", "read-only": True})
        self.assertEqual(error, "Read-only block node 'b' cannot support read-write users")
        nodes = self.nodes()
        self.assertFalse(nodes["a"]["ro"] or nodes["b"]["ro"])
        self.assertEqual(nodes["a"]["image"]["virtual-size"], 1 << 30)
        self.wire.value("blockdev-del", {"node-name": "f0"})

    def qemu_img(self, *args):
        if not shutil.which("qemu-img"):
            self.skipTest("qemu-img is not there")
        subprocess.run(["qemu-img", *args], check=True, stdout=subprocess.DEVNULL)

    def test_reopen_backing(self):
        top, base = os.path.join(self.dir, "top"), os.path.join(self.dir, "base")
        for path in (top, base):
            self.qemu_img("create", "-q", "-f", "qcow2", path, "1M")
        self.start("-M", "pc")
        for path, name, ro in ((base, "base", True), (top, "top", False)):
            self.wire.value("blockdev-add", {
                "driver": "qcow2", "node-name": name, "read-only": ro,
                "file": {"driver": "file", "node-name": name + "f", "filename": path}})
        node = {"driver": "qcow2", "node-name": "top", "file": "topf"}
        self.reopen({**node, "backing": "base"})
        self.assertEqual(self.nodes()["top"]["backing_file_depth"], 1)
        self.assertEqual(self.reopen_fails(node), "backing is missing for 'top'")
        self.assertEqual(self.reopen_fails({**node, "backing": "top"}),
                         "Making 'top' a backing child of 'top' would create a cycle")
        self.assertIn("in use", self.error("blockdev-del", {"node-name": "base"})
                      .replace("busy", "in use"))
        self.reopen({**node, "backing": None})
        self.assertEqual(self.nodes()["top"]["backing_file_depth"], 0)
        self.reopen({"driver": "qcow2", "node-name": "base", "file": "basef"},
                    {"driver": "file", "node-name": "basef", "filename": base})
        nodes = self.nodes()
        self.assertFalse(nodes["base"]["ro"] or nodes["basef"]["ro"])
        self.wire.value("device_add", {"driver": "virtio-blk-pci", "id": "disk", "drive": "base"})
        self.emulator.close()
        self.qemu_img("check", "-q", base)

    def test_inline_child(self):
        self.start()
        self.wire.value("blockdev-add", {
            "driver": "raw", "node-name": "fmt", "cache": {"direct": False, "no-flush": True},
            "file": {"driver": "file", "filename": self.image}})
        nodes = self.nodes()
        self.assertEqual(len(nodes), 2)
        inner = next(n for name, n in nodes.items() if name != "fmt")
        self.assertTrue(inner["node-name"].startswith("#block"))
        self.assertTrue(inner["cache"]["no-flush"])
        self.wire.value("blockdev-del", {"node-name": "fmt"})
        self.assertEqual(self.nodes(), {})

    def test_errors(self):
        self.start()
        missing = os.path.join(self.dir, "missing")
        cases = [
            ({"driver": "file", "node-name": "x", "filename": missing},
             f"Could not open '{missing}': No such file or directory"),
            ({"driver": "raw", "node-name": "x", "file": "nope"},
             "nor node-name='nope'"),
            ({"driver": "null-co"}, "'node-name' must be specified for the root node"),
            ({"driver": "null-co", "node-name": "#bad"}, "Invalid node-name: '#bad'"),
            ({"driver": "nonsense", "node-name": "x"}, "does not accept value 'nonsense'"),
            ({"driver": "null-co", "node-name": "x", "colour": "red"},
             "Parameter 'colour' is unexpected"),
            ({"driver": "null-co", "node-name": "x", "force-share": True},
             "force-share=on can only be used with read-only images"),
        ]
        for arguments, part in cases:
            self.assertIn(part, self.error("blockdev-add", arguments))
        self.assertEqual(self.nodes(), {})
        self.assertEqual(self.error("blockdev-del", {"node-name": "x"}),
                         "Failed to find node with node-name='x'")
        self.add_file("x")
        self.assertEqual(self.error("blockdev-add", {"driver": "null-co", "node-name": "x"}),
                         "Duplicate nodes with node-name='x'")

    def test_command_line(self):
        self.start("-blockdev", f'{{"driver":"file","filename":"{self.image}","node-name":"f"}}',
                   "-blockdev", "raw,node-name=r,file=f,read-only=on",
                   "-drive", "if=none,id=cd,media=cdrom",
                   "-drive", f"file={self.image},if=none,id=d0,format=raw,cache=unsafe",
                   "-drive", "file=null-co://,file.size=4096,if=none,id=null,format=raw")
        nodes = self.nodes()
        self.assertIn("f", nodes)
        self.assertTrue(nodes["r"]["ro"])
        drives = {d["device"]: d for d in self.wire.value("query-block")}
        self.assertEqual(sorted(drives), ["cd", "d0", "null"])
        self.assertEqual(drives["null"]["inserted"]["image"]["virtual-size"], 4096)
        self.assertNotIn("inserted", drives["cd"])
        self.assertEqual(drives["d0"]["inserted"]["image"]["virtual-size"], SIZE)
        self.assertTrue(drives["d0"]["inserted"]["cache"]["no-flush"])
        self.assertFalse(drives["d0"]["inserted"]["ro"])
        stats = self.wire.value("query-blockstats")
        self.assertEqual([s["device"] for s in stats], ["cd", "d0", "null"])
        for key, value in stats[1]["stats"].items():
            self.assertIn(value, (0, True, False, []), key)
        self.assertEqual(self.error("blockdev-del",
                                    {"node-name": drives["d0"]["inserted"]["node-name"]})[:5],
                         "Node ")
        by_node = self.wire.value("query-blockstats", {"query-nodes": True})
        self.assertEqual(sorted(s["node-name"] for s in by_node), sorted(self.nodes()))

    def test_bad_command_line(self):
        for args, part in [
                (["-drive", f"file={self.image},if=none,format=nonsense"], "nonsense"),
                (["-drive", f"file={self.image}x,if=none,format=raw"], "Could not open"),
                (["-drive", "file=nonsense://x,if=none"], "Unknown protocol 'nonsense'"),
                (["-blockdev", "raw,node-name=r"], "file"),
                (["-blockdev", "file,filename=x"], "node-name"),
                (["-drive", f"file={self.image},if=floppy,format=raw"], ""),
                (["-drive", f"file={self.image},if=none,format=raw,id=d,node-name=d"],
                 "Device name 'd' conflicts with an existing node name"),
        ]:
            run = subprocess.run([PROGRAM, "-machine", "none", "-display", "none", *args],
                                 stdin=subprocess.DEVNULL, capture_output=True, text=True)
            self.assertEqual(run.returncode, 1, args)
            self.assertIn(part, run.stderr)
        run = subprocess.run([PROGRAM, "-machine", "none", "-display", "none", "-drive",
                              f"file={self.image}x,if=none"], stdin=subprocess.DEVNULL,
                             capture_output=True, text=True)
        self.assertNotIn("guessed", run.stderr)  # nothing was, for there is no such file
        self.assertIn("No such file", run.stderr)


if __name__ == "__main__":
    unittest.main()
