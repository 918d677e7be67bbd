"""The fast snapshot: one file, many machines that start from it."""
import os
import re
import shutil
import stat
import subprocess
import tempfile
import unittest
import uuid

import godwit
from godwit import Machine, guest

LINE = rb"(?m)^(\d+) (\d+) (\d+) (\d+) \d+\r?\n"


class Case(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="godwit-snapshot-")
        self.addCleanup(shutil.rmtree, self.dir)
        self.file = os.path.join(self.dir, "snapshot")

    def start(self, *args, memory="32", cpus="1", kernel="counter"):
        m = Machine("-nodefaults", "-machine", "q35", "-m", memory, "-smp", cpus, "-kernel", guest(kernel), *args)
        self.addCleanup(m.close)
        return m

    def numbers(self, m):
        return [int(group) for group in m.expect(LINE).groups()]

    def save(self, memory="32", until=30):
        m = self.start("-S", memory=memory)
        m.qmp.command("cont")
        while self.numbers(m)[0] < until:
            pass
        m.qmp.events.clear()
        m.qmp.command("godwit-snapshot-file", 60, filename=self.file)
        self.assertEqual([e["event"] for e in m.qmp.events], ["STOP", "RESUME"])
        self.numbers(m)
        return m


class Clones(Case):
    def test_many_from_one(self):
        """Machines go on from the file, each on its own, whatever the others write, and the file stays."""
        original = self.save()
        with open(self.file, "rb") as file:
            before = file.read()
        clones = [self.start("-restore", self.file) for _ in range(3)]
        for clone in clones:
            clone.expect(rb"\n")  # the line that was being printed goes on in its middle
            first = self.numbers(clone)
            self.assertLessEqual(30, first[0])
            self.assertLess(first[0], 200)
            second = self.numbers(clone)
            self.assertEqual(second[0], first[0] + 1)
            self.assertLess(second[1], first[1] + 60000)  # no clock jumps
        for clone in clones[1:]:
            clone.close()
        self.numbers(clones[0])
        self.numbers(original)
        with open(self.file, "rb") as file:
            self.assertTrue(before == file.read())

    def test_is_sparse_and_mapped(self):
        """A machine with much memory has a small file, and a clone of it little memory of its own."""
        self.save(memory="512", until=3).close()
        status = os.stat(self.file)
        self.assertGreater(status.st_size, 512 << 20)
        self.assertLess(status.st_blocks * 512, 16 << 20)
        clone = self.start("-restore", self.file, memory="512")
        clone.expect(rb"\n")
        self.numbers(clone)
        with open(f"/proc/{clone.process.pid}/maps") as file:
            self.assertRegex(file.read(), r"(?m)^\S+ rw-p \S+ \S+ \d+ +" + re.escape(self.file) + "$")

    def test_stopped(self):
        self.save().close()
        clone = self.start("-S", "-restore", self.file)
        self.assertEqual(clone.qmp.command("query-status")["status"], "prelaunch")
        clone.qmp.command("cont")
        clone.expect(rb"\n")
        self.assertLessEqual(30, self.numbers(clone)[0])
        clone.qmp.command("system_reset")  # from here on a machine like any other
        clone.expect(rb"\n1 \d+ ")

    def test_again(self):
        """A clone's own snapshot holds what it has from the file, too."""
        self.save().close()
        clone = self.start("-restore", self.file)
        clone.expect(rb"\n")
        while self.numbers(clone)[0] < 60:
            pass
        second = self.file + "2"
        clone.qmp.command("godwit-snapshot-file", filename=second)
        clone.close()
        os.unlink(self.file)
        clone = self.start("-restore", second)
        clone.expect(rb"\n")
        self.assertLessEqual(60, self.numbers(clone)[0])

    def test_two_vcpus(self):
        m = self.start(cpus="2", kernel="smp")
        m.qmp.command("godwit-snapshot-file", filename=self.file)
        m.close()
        clone = self.start("-S", "-restore", self.file, cpus="2", kernel="smp")
        self.assertEqual(len(clone.qmp.command("query-cpus-fast")), 2)


class Generation(Case):
    """-device vmgenid: each machine that goes on from the file has an identifier of its own."""

    def ram(self, m, start, size):
        path = os.path.join(self.dir, "ram")
        m.qmp.command("pmemsave", val=start, size=size, filename=path)
        with open(path, "rb") as file:
            return file.read()

    def told(self, m, size=32 << 20):
        """The identifier that the guest finds by its ACPI tables."""
        m.qmp.command("stop")
        memory = self.ram(m, 0, size)
        m.qmp.command("cont")
        at = memory.index(b"VGIA\x0c") + 5
        addr = int.from_bytes(memory[at:at + 4], "little")
        self.assertEqual(addr % 8, 0)
        return str(uuid.UUID(bytes_le=memory[addr:addr + 16]))

    def asked(self, m):
        return m.qmp.command("query-vm-generation-id")["guid"]

    def gpe(self, m):
        """Whether general purpose event 5 is up."""
        return m.qmp.command("human-monitor-command", command_line="i /b 0x620")

    def test_clones(self):
        m = self.start("-device", "vmgenid")
        ids = [self.asked(m)]
        self.assertEqual(self.told(m), ids[0])
        self.assertEqual(uuid.UUID(ids[0]).version, 4)
        while self.numbers(m)[0] < 5:
            pass
        m.qmp.command("system_reset")
        m.expect(rb"\n1 \d+ ")
        self.assertEqual((self.asked(m), self.told(m)), (ids[0], ids[0]))
        m.qmp.command("godwit-snapshot-file", filename=self.file)
        self.assertEqual(self.asked(m), ids[0])
        for _ in range(2):
            clone = self.start("-device", "vmgenid", "-restore", self.file)
            ids.append(self.asked(clone))
            self.assertEqual(self.told(clone), ids[-1])
            clone.qmp.command("system_reset")  # tables are written anew, the identifier stays
            clone.expect(rb"\n1 \d+ ")
            self.assertEqual(self.told(clone), ids[-1])
        self.assertEqual(len(set(ids)), 3)

    def test_given(self):
        first, second = "00112233-4455-6677-8899-aabbccddeeff", "324e6eaf-d1d1-4bf6-bf41-b9bb6c91fb87"
        m = self.start("-device", f"vmgenid,guid={first}")
        self.assertEqual((self.asked(m), self.told(m)), (first, first))
        m.qmp.command("godwit-snapshot-file", filename=self.file)
        clone = self.start("-device", f"vmgenid,guid={second}", "-restore", self.file)
        self.assertEqual((self.asked(clone), self.told(clone)), (second, second))

    def test_firmware(self):
        """SeaBIOS places the tables, and tells where."""
        bios = "/usr/share/seabios/bios.bin"
        if not os.path.exists(bios):
            self.skipTest("there is no SeaBIOS")
        args = ("-nodefaults", "-machine", "q35", "-m", "32", "-device", "vmgenid")
        m = Machine(*args)
        self.addCleanup(m.close)
        m.expect("No bootable device", 60)
        self.assertEqual(self.told(m), self.asked(m))
        m.qmp.command("godwit-snapshot-file", filename=self.file)
        clone = Machine(*args, "-restore", self.file)
        self.addCleanup(clone.close)
        self.assertNotEqual(self.asked(clone), self.asked(m))
        self.assertEqual(self.told(clone), self.asked(clone))

    def test_refused(self):
        for args, text in ((("vmgenid", "vmgenid"), "at most one"), (("vmgenid,guid=xyz",), "guid 'xyz'"),
                           (("vmgenid,guid=0011223344556677-8899-aabb-ccddeeff00",), "guid")):
            words = [word for device in args for word in ("-device", device)]
            result = godwit.run("-display", "none", "-machine", "q35", *words)
            self.assertEqual(result.returncode, 1)
            self.assertRegex(result.stderr, text)
        m = self.start("-S")
        self.assertEqual(m.qmp.request("query-vm-generation-id")["error"]["desc"],
                         "VM Generation ID device not found")


class Refused(Case):
    def refusal(self, *args):
        result = godwit.run("-display", "none", "-nodefaults", "-machine", "q35", "-kernel", guest("counter"), *args)
        self.assertEqual(result.returncode, 1, result)
        self.assertEqual(len(result.stderr.splitlines()), 1, result.stderr)
        return result.stderr

    def test_other_machines(self):
        self.save().close()
        self.assertRegex(self.refusal("-m", "64", "-restore", self.file), "memory|bytes")
        self.assertRegex(self.refusal("-m", "32", "-smp", "2", "-restore", self.file), "CPU")
        self.assertRegex(self.refusal("-m", "32", "-device", "ib700", "-restore", self.file), "ib700|device")
        self.assertRegex(self.refusal("-m", "32", "-restore", self.file, "-loadvm", "x"), "only one")
        self.assertRegex(self.refusal("-m", "32", "-restore", self.dir), "no regular file")
        self.assertRegex(self.refusal("-m", "32", "-restore", "/no/such"), "No such file")

    def test_damaged(self):
        """Every header byte and many of the state: an error, no more."""
        self.save().close()
        with open(self.file, "rb") as file:
            good = bytearray(file.read())
        bad = self.file + "-bad"
        for offset in [0, 8, 13, 17, 25, 33, 44, 64, 70, 176, 184, 500, 4095, *range(65536, 68000, 301)]:
            good[offset] ^= 0x40
            with open(bad, "wb") as file:
                file.write(good)
            good[offset] ^= 0x40
            self.refusal("-m", "32", "-restore", bad)
        for size in (0, 100, 4096, 65536, 70000, 2 << 20, len(good) - (1 << 20)):
            with open(bad, "wb") as file:
                file.write(good[:size])
            self.refusal("-m", "32", "-restore", bad)

    def test_no_room(self):
        """The guest goes on, and no file is left."""
        m = self.start("-S")
        m.qmp.command("cont")
        self.numbers(m)
        subprocess.run(["prlimit", f"--pid={m.process.pid}", "--fsize=20000:unlimited"], check=True)
        answer = m.qmp.request("godwit-snapshot-file", filename=self.file)
        self.assertRegex(answer["error"]["desc"], "cannot write: File too large")
        self.assertEqual(os.listdir(self.dir), [])
        self.assertEqual(m.qmp.command("query-status")["status"], "running")
        answer = m.qmp.request("godwit-snapshot-file", filename="/no/such/file")
        self.assertRegex(answer["error"]["desc"], "No such file")
        self.numbers(m)

    def test_no_file(self):
        """What is there and no file, a device say, stays what it is."""
        m = self.start("-S")
        fifo, link = os.path.join(self.dir, "fifo"), os.path.join(self.dir, "link")
        os.mkfifo(fifo)
        os.symlink("/dev/null", link)
        for path in (fifo, link, self.dir):
            answer = m.qmp.request("godwit-snapshot-file", filename=path)
            self.assertEqual(answer["error"]["desc"], f"snapshot '{path}': is no regular file: Invalid argument")
        self.assertEqual(sorted(os.listdir(self.dir)), ["fifo", "link"])
        self.assertTrue(stat.S_ISFIFO(os.stat(fifo).st_mode) and os.path.islink(link))


if __name__ == "__main__":
    unittest.main(verbosity=2)
