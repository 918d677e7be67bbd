"""Snapshots of whole machines in qcow2 images: what comes back, what the images hold, what is refused."""
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

import godwit
from godwit import Machine, guest
from qtest import Door
from virtio import Disk


def qemu_img(*argv):
    result = subprocess.run(["qemu-img", *argv], capture_output=True, text=True)
    assert result.returncode == 0, (argv, result.stdout, result.stderr)
    return result.stdout


def image(path, size="64M", *options):
    qemu_img("create", "-q", "-f", "qcow2", *options, path, size)


def node(name, path):
    return ("-blockdev", f"driver=qcow2,node-name={name},file.driver=file,file.filename={path}")


class Case(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="godwit-snapshots-")
        self.addCleanup(shutil.rmtree, self.dir)

    def path(self, name):
        return os.path.join(self.dir, name)

    def check(self, *names):
        for name in names:
            self.assertIn("No errors were found", qemu_img("check", self.path(name)))

    def job(self, qmp, command, **arguments):
        """Runs a job to its end; returns its error or None, and what was seen before its reply and after."""
        qmp.events.clear()
        qmp.command(command, 60, job_id="job0", **arguments)
        before = [self.short(e) for e in qmp.events]
        qmp.events.clear()
        while not any(self.short(e) == "concluded" for e in qmp.events):
            qmp.events.append(qmp.read())
        after = [self.short(e) for e in qmp.events]
        qmp.events.clear()
        info, = qmp.command("query-jobs")
        self.assertEqual((info["id"], info["type"], info["status"]), ("job0", command, "concluded"))
        qmp.command("job-dismiss", id="job0")
        self.assertEqual([self.short(e) for e in qmp.events], ["null"])
        return info.get("error"), before, after

    @staticmethod
    def short(event):
        return event["data"]["status"] if event["event"] == "JOB_STATUS_CHANGE" else event["event"]

    def human(self, m, line):
        return m.qmp.command("human-monitor-command", 60, command_line=line)


DONE = ["waiting", "pending", "concluded"]
FAILED = ["aborting", "concluded"]


class Guests(Case):
    """A guest that counts goes back to where it was."""

    def start(self, *args, s=("-S",), disks=("a", "b"), kernel="counter"):
        for name in disks:
            if not os.path.exists(self.path(name)):
                image(self.path(name))
        nodes = [word for name in disks for word in
                 (*node(name, self.path(name)), "-device", f"virtio-blk-pci,drive={name}")]
        m = Machine(*s, "-nodefaults", "-machine", "q35", "-m", "32", "-kernel", guest(kernel), *nodes, *args)
        self.addCleanup(m.close)
        return m

    def number(self, m):
        return int(m.expect(rb"(?m)^(\d+) \d+ \d+ \d+ \d+\r?\n").group(1))

    def both(self):
        return {"vmstate": "a", "devices": ["a", "b"]}

    def test_there_and_back(self):
        for accel in ("tcg", "tcg,x-translate-after=2"):
            m = self.start("-accel", accel)
            m.qmp.command("cont")
            self.number(m)
            self.assertEqual(self.job(m.qmp, "snapshot-save", tag=accel, **self.both()),
                             (None, ["created", "running", "STOP", "RESUME"], DONE))
            with m.condition:
                m.at = len(m.output)
            saved = self.number(m)
            while self.number(m) < saved + 100:
                pass
            self.assertEqual(self.job(m.qmp, "snapshot-load", tag=accel, **self.both()),
                             (None, ["created", "running", "STOP", "RESUME"], DONE))
            self.assertEqual(m.qmp.command("query-status")["status"], "running")
            # The line that was being printed goes on in the middle; from the next one on it counts as then.
            m.expect("(?m)^\\d+ \\d+ \\d+ \\d+ \\d+\r?\n(?=%d )" % (saved + 1))
            m.close()
            self.check("a", "b")

    def test_loadvm(self):
        """In another process, on the command line."""
        m = self.start()
        m.qmp.command("cont")
        while self.number(m) < 30:
            pass
        m.qmp.command("stop")
        self.assertEqual(self.human(m, "savevm one"), "")
        m.close()
        for s in (("-S",), ()):
            m = self.start("-loadvm", "one", s=s)
            self.assertEqual(m.qmp.command("query-status")["status"], "prelaunch" if s else "running")
            if s:
                m.qmp.command("cont")
            self.number(m)
            self.assertLessEqual(30, self.number(m))
            m.close()
        result = godwit.run("-m", "32", "-kernel", guest("counter"), *node("a", self.path("a")), "-device",
                            "virtio-blk-pci,drive=a", "-loadvm", "two", "-display", "none")
        self.assertEqual((result.returncode, result.stderr), (
            1, "godwit: Snapshot 'two' does not exist in one or more devices\n"))

    def test_another_machine(self):
        """A snapshot of a machine with other memory is refused; nothing is touched then."""
        m = self.start()
        self.assertEqual(self.human(m, "savevm one"), "")
        m.close()
        m = self.start("-m", "64")
        m.qmp.command("cont")
        m.expect("5 ")
        error, before, after = self.job(m.qmp, "snapshot-load", tag="one", **self.both())
        self.assertRegex(error, "memory|ram|RAM|bytes")
        self.assertEqual((before, after), (["created", "running", "STOP", "RESUME"], FAILED))
        m.expect("20 ")
        m.close()
        self.check("a", "b")

    def test_what_is_refused(self):
        image(self.path("ro"), "1M")
        m = self.start("-blockdev", "driver=null-co,node-name=n,read-zeroes=on",
                       *node("ro", self.path("ro") + ",read-only=on"))
        for disks, error in ((["a", "nope"], "No block device node 'nope'"),
                             (["b"], "vmstate block device 'a' does not exist"),
                             (["a", "n"], "Device 'n' is writable but does not support snapshots"),
                             (["a", "ro"], "Device 'ro' is writable but does not support snapshots")):
            self.assertEqual(self.job(m.qmp, "snapshot-save", tag="x", vmstate="a", devices=disks),
                             (error, ["created", "running"], FAILED))
        self.assertEqual(self.job(m.qmp, "snapshot-save", tag="x", **self.both())[0], None)
        self.assertEqual(self.job(m.qmp, "snapshot-save", tag="x", **self.both()),
                         ("Snapshot 'x' already exists in one or more devices", ["created", "running"], FAILED))
        self.assertEqual(self.job(m.qmp, "snapshot-load", tag="y", **self.both())[0],
                         "Snapshot 'y' does not exist in one or more devices")
        self.assertEqual(self.job(m.qmp, "snapshot-load", tag="x", vmstate="b", devices=["a", "b"])[0],
                         "This is a disk-only snapshot. Revert to it  offline using qemu-img")
        self.assertEqual(self.job(m.qmp, "snapshot-delete", tag="y", devices=["a", "b"])[0], None)
        answer = m.qmp.request("snapshot-delete", job_id="0bad id", tag="y", devices=["a"])
        self.assertIn("error", answer)
        self.assertEqual(self.human(m, "savevm z"),
                         "Error: Device 'n' is writable but does not support snapshots\r\n")

    def test_dump_under_way(self):
        """Nothing is saved or loaded while a dump reads the machine; what is on the disks may go."""
        m = self.start()
        self.assertEqual(self.human(m, "savevm old"), "")
        fifo = os.path.join(m.dir, "fifo")
        os.mkfifo(fifo)
        reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        m.qmp.command("dump-guest-memory", paging=False, protocol="file:" + fifo, detach=True)
        busy = "Live migration disabled: dump-guest-memory in progress"  # as QEMU says it
        self.assertEqual(self.job(m.qmp, "snapshot-save", tag="x", **self.both())[0], busy)
        self.assertEqual(self.human(m, "loadvm x"), f"Error: {busy}\r\n")
        self.assertEqual(self.human(m, "delvm old"), "")
        self.assertEqual(self.human(m, "info snapshots"), "There is no snapshot available.\r\n")
        os.close(reader)
        m.qmp.event("DUMP_COMPLETED")

    def test_human(self):
        m = self.start()
        self.assertEqual(self.human(m, "info snapshots"), "There is no snapshot available.\r\n")
        self.assertEqual(self.human(m, "savevm one"), "")
        self.assertEqual(self.human(m, "savevm \"two words\""), "")
        self.assertEqual(self.human(m, "savevm one"), "")  # in place of the first
        self.assertEqual(self.job(m.qmp, "snapshot-save", tag="part", vmstate="b", devices=["b"])[0], None)
        lines = self.human(m, "info snapshots").split("\r\n")
        self.assertEqual(lines[0], "List of snapshots present on all disks:")
        self.assertEqual(lines[1], "ID        TAG               VM SIZE                DATE     VM CLOCK"
                         "     ICOUNT")
        self.assertRegex(lines[2], r"^--        two words +\d+ [KM]iB \d{4}-\d\d-\d\d \d\d:\d\d:\d\d "
                         r"00:00:00\.000 {11}$")
        self.assertRegex(lines[3], "^--        one ")
        self.assertEqual(lines[4:6], ["", "List of partial (non-loadable) snapshots on '':"])
        self.assertRegex(lines[7], "^4         part ")
        listed = qemu_img("snapshot", "-U", "-l", self.path("a")).splitlines()
        self.assertEqual(listed[2].replace("2 ", "--", 1).split()[1:], lines[2].split()[1:])
        self.assertEqual(self.human(m, "loadvm one"), "")
        self.assertEqual(self.human(m, "delvm one"), "")
        self.assertEqual(self.human(m, "loadvm one"),
                         "Error: Snapshot 'one' does not exist in one or more devices\r\n")
        for command in ("loadvm", "delvm"):
            self.assertEqual(self.human(m, command), f"{command}: string expected\r\n"
                             f"Try \"help {command}\" for more information\r\n")
        self.assertEqual(self.human(m, "savevm"), "")
        self.assertRegex(self.human(m, "info snapshots"), r"vm-\d{14} ")
        m.close()
        self.check("a", "b")

    def test_no_room(self):
        """Neither disk keeps anything of a snapshot that has no room, and the guest goes on."""
        m = self.start()
        m.qmp.command("cont")
        m.expect("5 ")
        subprocess.run(["prlimit", f"--pid={m.process.pid}", "--fsize=400000:unlimited"], check=True)
        error, before, after = self.job(m.qmp, "snapshot-save", tag="x", **self.both())
        self.assertRegex(error, "Error while writing VM state.*File too large")
        self.assertEqual((before, after), (["created", "running", "STOP", "RESUME"], FAILED))
        m.expect("20 ")
        subprocess.run(["prlimit", f"--pid={m.process.pid}", "--fsize=unlimited:unlimited"], check=True)
        self.assertEqual(self.human(m, "info snapshots"), "There is no snapshot available.\r\n")
        m.close()
        self.check("a", "b")

    def test_no_room_anywhere(self):
        """Wherever the room ends, be it behind the machine's state: the images are written on, and lose nothing."""
        m = self.start()
        done, failed = 0, 0
        for limit in range(6 << 16, 40 << 16, 1 << 16):
            subprocess.run(["prlimit", f"--pid={m.process.pid}", f"--fsize={limit}:unlimited"], check=True)
            for command in ("savevm one", "savevm two", "loadvm one", "savevm one", "loadvm two", "delvm one",
                            "delvm two"):
                answer = self.human(m, command)
                self.assertRegex(answer, "^$|File too large\r\n$|does not exist in one or more devices\r\n$")
                done, failed = done + (not answer), failed + ("File too large" in answer)
        self.assertGreater(min(done, failed), 20)
        self.assertNotIn("BLOCK_IMAGE_CORRUPTED", [e["event"] for e in m.qmp.events])
        m.close()
        self.check("a", "b")


class Disks(Case):
    """What the guest has on its disks comes and goes with the snapshots."""

    def random_writes(self, disk, seed, writes=12):
        for i in range(writes):
            digest = hashlib.sha256(f"{seed}.{i}".encode()).digest()
            sector = int.from_bytes(digest[:4], "little") % (128 * 2048 - 8)
            self.assertEqual(disk.write(sector, (digest * 128)[:4096]), 0)

    def content(self, disk, seeds):
        """Of the sectors that these seeds write."""
        result = []
        for seed in seeds:
            for i in range(12):
                digest = hashlib.sha256(f"{seed}.{i}".encode()).digest()
                sector = int.from_bytes(digest[:4], "little") % (128 * 2048 - 8)
                status, data = disk.read(sector, 8)
                self.assertEqual(status, 0)
                result.append(data)
        return result

    def run_on(self, *options):
        image(self.path("d"), "128M", *options)
        args = (*node("d", self.path("d")), "-device", "virtio-blk-pci,drive=d,addr=4")
        with Door(*args, qmp=True) as door:
            disk = Disk(door, 4)
            disk.start()
            contents = {}
            for name in ("one", "two", "three"):
                self.random_writes(disk, name)
                contents[name] = self.content(disk, ("one", "two", "three", "four"))
                self.assertEqual(self.human(door, "savevm " + name), "")
            self.random_writes(disk, "four")
            for name in ("one", "three", "two", "one"):
                self.assertEqual(self.human(door, "loadvm " + name), "")
                disk.put(0x14, 0, 1)  # the driver's own indices are not in the machine
                disk.start()
                self.assertEqual(self.content(disk, ("one", "two", "three", "four")), contents[name], name)
                self.random_writes(disk, "four")
                self.assertEqual(disk.flush(), 0)
                result = subprocess.run(["qemu-img", "check", "-U", self.path("d")], capture_output=True)
                self.assertIn(result.returncode, (0, 3), result)  # what is not used any more may be leaked
            for name in ("two", "one"):
                self.assertEqual(self.human(door, "delvm " + name), "")
            self.random_writes(disk, "five")
            self.assertEqual(self.human(door, "loadvm three"), "")
            disk.put(0x14, 0, 1)
            disk.start()
            self.assertEqual(self.content(disk, ("one", "two", "three", "four")), contents["three"])
            self.assertEqual(self.human(door, "delvm three"), "")
            door.qmp.command("quit")
            door.wait()
        self.check("d")

    def test_default(self):
        self.run_on()

    def test_small_clusters(self):
        self.run_on("-o", "cluster_size=4k")

    def test_version_2(self):
        self.run_on("-o", "compat=0.10")

    def test_backing(self):
        image(self.path("base"), "128M")
        subprocess.run(["qemu-io", "-f", "qcow2", "-c", "write -P 7 0 8M", self.path("base")], check=True,
                       stdout=subprocess.DEVNULL)
        self.run_on("-b", self.path("base"), "-F", "qcow2")

    def test_compressed(self):
        """Clusters that are compressed and shared are counted as others see them."""
        raw = self.path("raw")
        with open(raw, "wb") as file:
            file.write(b"".join(bytes([i % 251]) * 5000 for i in range(2000)))
        qemu_img("convert", "-c", "-O", "qcow2", raw, self.path("d"))
        with Door(*node("d", self.path("d")), qmp=True) as door:
            for name in ("one", "two"):
                self.assertEqual(self.human(door, "savevm " + name), "")
            self.assertEqual(self.human(door, "loadvm one"), "")
            self.assertEqual(self.human(door, "delvm one"), "")
            door.qmp.command("quit")
            door.wait()
        self.check("d")
        self.assertIn("identical", qemu_img("compare", "-f", "raw", "-F", "qcow2", raw, self.path("d")))

    def test_below_others(self):
        """A node that passes on what it is given has the snapshots of the image below, its length too."""
        image(self.path("d"), "1M")
        with Door(*node("d", self.path("d")), "-object", "throttle-group,id=g", "-blockdev",
                  "driver=throttle,node-name=t,throttle-group=g,file=d", "-blockdev", "driver=raw,node-name=r,file=t",
                  "-device", "virtio-blk-pci,drive=r,addr=4", qmp=True) as door:
            disk = Disk(door, 4)
            disk.start()
            self.assertEqual(disk.write(8, b"x" * 512), 0)
            self.assertEqual(self.human(door, "savevm one"), "")
            self.assertEqual(disk.write(8, b"y" * 512), 0)
            door.qmp.command("block_resize", node_name="r", size=4 << 20)
            self.assertEqual(self.job(door.qmp, "snapshot-save", tag="two", vmstate="r", devices=["r", "d"])[0], None)
            for name, size, byte in (("one", 1, b"x"), ("two", 4, b"y")):
                self.assertEqual(self.human(door, "loadvm " + name), "")
                disk.put(0x14, 0, 1)
                disk.start()
                self.assertEqual(disk.read(8, 1), (0, byte * 512))
                info, = door.qmp.command("query-block")
                self.assertEqual(info["inserted"]["image"]["virtual-size"], size << 20)
            for name in ("one", "two"):
                self.assertEqual(self.human(door, "delvm " + name), "")
            self.assertEqual(self.human(door, "info snapshots"), "There is no snapshot available.\r\n")
            door.qmp.command("quit")
            door.wait()
        self.check("d")

    def test_narrow_counts(self):
        """An image whose reference counts can't count two users keeps no snapshots."""
        image(self.path("d"), "1M", "-o", "refcount_bits=1")
        with Door(*node("d", self.path("d")), qmp=True) as door:
            self.assertEqual(self.human(door, "savevm one"),
                             "Error: Device 'd' is writable but does not support snapshots\r\n")
        self.check("d")

    @unittest.skipUnless(shutil.which("qemu-system-x86_64"), "there is no QEMU")
    def test_qemus(self):
        """QEMU's snapshots are listed, reverted to on the disk's side, refused as machines, and deleted."""
        image(self.path("d"), "1M")
        subprocess.run(["qemu-system-x86_64", "-S", "-nodefaults", "-display", "none", "-m", "16", "-monitor",
                        "stdio", "-drive", f"file={self.path('d')},format=qcow2,if=virtio"], check=True,
                       input=b"savevm theirs\nquit\n", stdout=subprocess.DEVNULL)
        with Door(*node("d", self.path("d")), qmp=True) as door:
            self.assertRegex(self.human(door, "info snapshots"), r"\r\n--        theirs ")
            self.assertEqual(self.human(door, "loadvm theirs"),
                             "Error: snapshot: it is not one of Godwit's\r\n")
            self.assertEqual(self.human(door, "savevm ours"), "")
            self.assertEqual(self.human(door, "delvm theirs"), "")
            door.qmp.command("quit")
            door.wait()
        self.check("d")
        self.assertRegex(qemu_img("snapshot", "-l", self.path("d")), r"(?m)^2 +ours ")
        qemu_img("snapshot", "-a", "ours", self.path("d"))
        self.check("d")

    def test_broken_tables(self):
        """Images whose snapshots make no sense: an error each time, and no more than that."""
        image(self.path("good"), "1M")
        with Door(*node("d", self.path("good")), qmp=True) as door:
            self.assertEqual(self.human(door, "savevm one"), "")
            door.qmp.command("quit")
            door.wait()
        with open(self.path("good"), "rb") as file:
            good = file.read()
        table = int.from_bytes(good[64:72], "big")
        l1 = int.from_bytes(good[table:table + 8], "big")
        for offset, value in ((60, b"\0\0\xff\xff"), (table, b"\xff" * 8), (table, b"\0" * 7 + b"\1"),
                              (table + 8, b"\xff" * 4), (table + 8, b"\0\0\0\1"), (table + 12, b"\xff" * 4),
                              (table + 36, b"\xff" * 4), (table + 40, b"\x7f" + b"\xff" * 7),
                              (table + 48, b"\x7f" + b"\xff" * 7), (table + 42, b"\x80"), (l1 + 8, b"\0" * 6 + b"\x12\1"),
                              (l1 + 8, b"\0\xff" + b"\xff" * 4 + b"\0\0")):
            bad = bytearray(good)
            bad[offset:offset + len(value)] = value
            with open(self.path("bad"), "wb") as file:
                file.write(bad)
            with Door(*node("d", self.path("bad")), qmp=True) as door:
                for command in ("info snapshots", "loadvm one", "delvm one", "savevm two"):
                    self.human(door, command)
                self.assertEqual(door.qmp.command("query-name"), {})

    def test_broken_state(self):
        """The image of the machine is hostile, too: flipped bits are refused or harmless."""
        image(self.path("good"), "1M")
        with Door(*node("d", self.path("good")), qmp=True) as door:
            self.assertEqual(self.human(door, "savevm one"), "")
            door.qmp.command("quit")
            door.wait()
        with open(self.path("good"), "rb") as file:
            good = file.read()
        at = good.index(b"GODWITSN")
        for offset in (0, 8, 12, 16, 24, 32, 40, 64, 64 + 112, 64 + 120, 4092, 65536, 65536 + 20, 65536 + 3000):
            bad = bytearray(good)
            bad[at + offset] ^= 0x10
            with open(self.path("bad"), "wb") as file:
                file.write(bad)
            with Door(*node("d", self.path("bad")), qmp=True) as door:
                self.assertRegex(self.human(door, "loadvm one"), "^Error: ", offset)
                if offset > 65536 + 1000:  # after the machine was touched: it can't go on as it is
                    answer = door.qmp.request("cont")
                    self.assertIn("Resetting", answer["error"]["desc"])
                    self.assertEqual(door.qmp.command("query-status")["status"], "restore-vm")
                    door.qmp.command("system_reset")
                door.qmp.command("cont")


if __name__ == "__main__":
    if not shutil.which("qemu-img"):
        print("skipped: there is no qemu-img")
        sys.exit(77)
    unittest.main(verbosity=2)
