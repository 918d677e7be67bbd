"""Dumps of small guests: what is in the files, by a reader of its own and by gdb; pipes and passed files."""
import array
import contextlib
import fcntl
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import unittest

import dumpfile
import godwit
from godwit import Machine, Qmp, guest
from qtest import Door
from rsp import Rsp

FORMATS = ("elf", "kdump-zlib", "kdump-lzo", "kdump-snappy")
COMPRESSED = {"kdump-zlib": 1, "kdump-lzo": 2, "kdump-snappy": 4}
RAM = 32 << 20


def open_dump(path, fmt):
    return dumpfile.Elf(path) if fmt == "elf" else dumpfile.Kdump(path)


class Case(unittest.TestCase):
    def start(self, *args, kernel="counter", **kwargs):
        kernel = ("-kernel", guest(kernel)) if kernel else ()
        m = Machine("-nodefaults", "-machine", "q35", "-m", "32", *kernel, *args, **kwargs)
        self.addCleanup(m.close)
        return m

    def dump(self, m, fmt="elf", paging=False, **more):
        path = os.path.join(m.dir, "dump-" + fmt)
        m.qmp.command("dump-guest-memory", 60, paging=paging, protocol="file:" + path, format=fmt, **more)
        return path

    def memory(self, m, start, size):
        path = os.path.join(m.dir, "memory")
        m.qmp.command("pmemsave", val=start, size=size, filename=path)
        with open(path, "rb") as file:
            return file.read()


class Contents(Case):
    def test_memory_and_registers(self):
        """Every format holds the memory and the registers that the machine has, and the others too."""
        m = self.start("-smp", "2")
        m.expect("1")
        m.qmp.command("stop")
        memory = self.memory(m, 0x100000, 1 << 20)
        registers = m.qmp.command("human-monitor-command", command_line="info registers")
        eip = int(registers.split("EIP=")[1].split()[0], 16)
        notes = []
        offered = m.qmp.command("query-dump-guest-memory-capability")["formats"]
        for fmt in offered:
            self.assertIn(fmt, FORMATS)
            path = self.dump(m, fmt)
            result = m.qmp.command("query-dump")
            self.assertEqual((result["status"], result["completed"]), ("completed", result["total"]))
            self.assertGreaterEqual(result["total"], RAM)
            if fmt in ("kdump-lzo", "kdump-snappy"):
                kdump = dumpfile.Kdump(path)
                self.assertEqual(kdump.status, COMPRESSED[fmt])
                notes.append(kdump.notes)
                continue
            dump = open_dump(path, fmt)
            self.assertEqual(dump.read(0x100000, 1 << 20), memory)
            notes.append(dump.notes)
            if fmt == "elf":
                self.assertEqual((dump.type, dump.machine), (4, 3))
                self.assertLess(os.stat(path).st_blocks * 512, os.stat(path).st_size / 4)  # mostly zeros
            else:
                self.assertEqual((dump.cpus, dump.status), (2, 1))
                self.assertEqual(dump.data[272:279], b"x86_64\0")  # by the layout, not by the vCPUs' mode
                self.assertEqual(len(dump.frames) * 4096, result["total"])
        self.assertIn("kdump-zlib", offered)
        for other in notes[1:]:
            self.assertEqual(other, notes[0])
        self.assertEqual([(owner, kind, len(text)) for owner, kind, text, _ in notes[0]],
                         [("CORE", 1, 144), ("CORE", 1, 144), ("QEMU", 0, 440), ("QEMU", 0, 440)])
        self.assertEqual([struct.unpack_from("<I", note[2], 24)[0] for note in notes[0][:2]], [1, 2])
        self.assertEqual(struct.unpack_from("<I", notes[0][0][2], 72 + 12 * 4)[0], eip)
        self.assertEqual(struct.unpack_from("<IIQ", notes[0][2][2], 0)[:2], (1, 440))
        self.assertEqual(struct.unpack_from("<Q", notes[0][2][2], 8 + 16 * 8)[0], eip)
        m.qmp.command("cont")
        m.expect("1")

    def test_range(self):
        m = self.start("-S", "-device", "VGA")
        dump = dumpfile.Elf(self.dump(m, begin=0x9f123, length=0x100000))
        self.assertEqual([(load["physical"], load["size"]) for load in dump.loads],
                         [(0x9f123, 0xedd), (0xc0000, 0xdf123)])
        self.assertEqual(dump.read(0x100010, 0x8f113), self.memory(m, 0x100010, 0x8f113))
        dump = dumpfile.Elf(self.dump(m, begin=0x100000, length=2**63 - 1))  # as far as there is memory
        self.assertEqual(dump.loads[0]["physical"], 0x100000)

    def test_library_comes_when_needed(self):
        m = self.start("-S")
        with open(f"/proc/{m.process.pid}/maps", encoding="utf-8") as file:
            self.assertNotRegex(file.read(), "libsnappy|libnbd")
        if "kdump-snappy" not in m.qmp.command("query-dump-guest-memory-capability")["formats"]:
            self.skipTest("built without snappy")
        with open(f"/proc/{m.process.pid}/maps", encoding="utf-8") as file:
            self.assertIn("libsnappy", file.read())

    def test_file_is_private(self):
        m = self.start("-S")
        self.assertEqual(os.stat(self.dump(m)).st_mode & 0o777, 0o600)


class Destination(Case):
    def passed(self, m, fd, name="dump"):
        m.qmp.sock.sendmsg([b'{"execute": "getfd", "arguments": {"fdname": "%s"}}\n' % name.encode()],
                           [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))])
        self.assertEqual(m.qmp.read(), {"return": {}})

    def drain(self, fd):
        data = bytearray()

        def run():
            with os.fdopen(fd, "rb") as file:
                data.extend(file.read())

        thread = threading.Thread(target=run)
        thread.start()
        return thread, data

    def test_passed_pipe_and_socket(self):
        m = self.start("-S")
        for fmt in ("elf", "kdump-zlib"):
            with open(self.dump(m, fmt), "rb") as file:
                expected = bytearray(file.read())
            for make in (os.pipe, lambda: [s.detach() for s in socket.socketpair()]):
                reader, writer = make()
                self.passed(m, writer)
                os.close(writer)
                thread, data = self.drain(reader)
                m.qmp.command("dump-guest-memory", 60, paging=False, protocol="fd:dump", format=fmt)
                thread.join()
                if fmt != "elf":  # its header tells the time
                    expected[4096 + 16 + 408:4096 + 16 + 424] = data[4096 + 16 + 408:4096 + 16 + 424]
                self.assertTrue(data == expected)
            answer = m.qmp.request("dump-guest-memory", paging=False, protocol="fd:dump")
            self.assertEqual(answer["error"]["desc"], "File descriptor named 'dump' has not been found")

    def test_set_of_descriptors(self):
        """A path that names a set is one of its descriptors, if that can be written."""
        m = self.start("-S")
        path = os.path.join(m.dir, "set")
        for fdset, flags in ((7, os.O_WRONLY), (8, os.O_RDONLY)):
            fd = os.open(path, flags | os.O_CREAT, 0o600)
            m.qmp.sock.sendmsg([b'{"execute": "add-fd", "arguments": {"fdset-id": %d}}\n' % fdset],
                               [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))])
            self.assertEqual(m.qmp.read()["return"]["fdset-id"], fdset)
            os.close(fd)
        m.qmp.command("dump-guest-memory", 60, paging=False, protocol="file:/dev/fdset/7")
        self.assertEqual(dumpfile.Elf(path).read(0x100000, 65536), self.memory(m, 0x100000, 65536))
        for fdset, why in ((8, "Permission denied"), (9, "No such file or directory")):
            answer = m.qmp.request("dump-guest-memory", paging=False, protocol=f"file:/dev/fdset/{fdset}")
            self.assertEqual(answer["error"]["desc"], f"Could not open '/dev/fdset/{fdset}': {why}")

    def test_file_that_is_not_empty(self):
        """Holes in a file that was passed would show what was there before."""
        m = self.start("-S")
        path = os.path.join(m.dir, "old")
        with open(path, "wb") as file:
            file.write(b"x" * (40 << 20))
        fd = os.open(path, os.O_WRONLY)
        self.passed(m, fd)
        os.close(fd)
        m.qmp.command("dump-guest-memory", 60, paging=False, protocol="fd:dump")
        with open(self.dump(m), "rb") as a, open(path, "rb") as b:
            self.assertTrue((text := a.read()) == b.read(len(text)))

    def test_reader_goes_away(self):
        """The dump fails in its middle, the guest goes on."""
        m = self.start()
        m.expect("1")
        for fmt in ("elf", "kdump-zlib"):
            reader, writer = os.pipe()
            self.passed(m, writer)
            os.close(writer)
            m.qmp.command("dump-guest-memory", paging=False, protocol="fd:dump", detach=True, format=fmt)
            os.read(reader, 10000)
            self.assertEqual(m.qmp.command("query-dump")["status"], "active")
            os.close(reader)
            event = m.qmp.event("DUMP_COMPLETED")["data"]
            self.assertEqual(event["result"]["status"], "failed")
            self.assertRegex(event["error"], "^dump: failed to .*: Broken pipe$")
            m.qmp.event("RESUME")
            m.expect("1")

    def test_pipe_without_reader(self):
        m = self.start("-S")
        path = os.path.join(m.dir, "fifo")
        os.mkfifo(path)
        answer = m.qmp.request("dump-guest-memory", paging=False, protocol="file:" + path)
        self.assertEqual(answer["error"]["desc"], f"Could not open '{path}': No such device or address")


class Human(Case):
    def ask(self, m, line):
        return m.qmp.command("human-monitor-command", command_line=line)

    def test_commands(self):
        m = self.start("-S")
        path = os.path.join(m.dir, "dump")
        self.assertEqual(self.ask(m, "info dump"), "Status: none\r\n")
        self.assertEqual(self.ask(m, f"dump-guest-memory {path} 0x1000 4096"), "")
        self.assertEqual(dumpfile.Elf(path).loads[0]["physical"], 0x1000)
        self.assertEqual(self.ask(m, f"dump-guest-memory -z {path}"), "")
        self.assertEqual(dumpfile.Kdump(path).status, 1)
        self.assertEqual(self.ask(m, "info dump"), "Status: completed\r\n")
        m.qmp.events.clear()
        self.assertEqual(self.ask(m, f"dump-guest-memory -d {path}"), "")
        m.qmp.event("DUMP_COMPLETED")
        try_help = '\r\nTry "help dump-guest-memory" for more information\r\n'
        for line, text in (
                ("", "dump-guest-memory: filename expected" + try_help),
                (f"-q {path}", "dump-guest-memory: unsupported option -q" + try_help),
                (f"{path} 1 2 3", "dump-guest-memory: extraneous characters at the end of line" + try_help),
                (f"{path} 1", "Error: Parameter 'length' is missing\r\n"),
                (f"-z -l {path}", "Error: only one of '-z|-l|-s|-w' can be set\r\n"),
                (f"-z -p {path}", "Error: kdump-compressed format doesn't support paging or filter\r\n"),
                (f"-w {path}", "Error: win-dmp is not available now\r\n"),
                ("/no/such/dir", "Error: Could not open '/no/such/dir': No such file or directory\r\n")):
            self.assertEqual(self.ask(m, "dump-guest-memory " + line), text, line)


class GuestNote(unittest.TestCase):
    """What the guest says of its note is not believed."""
    BUFFER = 0x10000

    def tell(self, door, key, where):
        door.write(self.BUFFER + 64, where)
        door.write(self.BUFFER, struct.pack(">IIQ", key << 16 | 0x18, len(where), self.BUFFER + 64))
        door.outl(0x518, struct.unpack("<I", struct.pack(">I", self.BUFFER))[0])
        self.assertEqual(door.readl(self.BUFFER), 0)

    def key(self, door):
        door.outw(0x510, 0x19)
        count = struct.unpack(">I", bytes(door.inb(0x511) for _ in range(4)))[0]
        for _ in range(count):
            entry = bytes(door.inb(0x511) for _ in range(64))
            if entry[8:].startswith(b"etc/vmcoreinfo\0"):
                return struct.unpack_from(">H", entry, 4)[0]
        raise KeyError("etc/vmcoreinfo")

    def dump(self, door, fmt="elf"):
        """Behind its vCPU's two notes."""
        path = os.path.join(door.dir, "dump")
        door.qmp.command("dump-guest-memory", 60, paging=False, protocol="file:" + path, format=fmt)
        dump = open_dump(path, fmt)
        self.assertEqual([n[0] for n in dump.notes[:2]], ["CORE", "QEMU"])
        dump.notes = dump.notes[2:]
        return dump

    def test_notes(self):
        text = b"OSRELEASE=1.2.3\nNUMBER(phys_base)=-4096\nKERNELOFFSET=0\n"
        note = struct.pack("<III", 11, len(text), 0) + b"VMCOREINFO\0\0" + text.ljust(len(text) + 3 & ~3, b"\0")
        with Door("-device", "vmcoreinfo", qmp=True) as door:
            key = self.key(door)
            self.assertEqual(self.dump(door).notes, [])  # nothing told
            door.write(0x20000, note)
            self.tell(door, key, struct.pack("<HHIQ", 1, 1, len(note), 0x20000))
            expected = [("VMCOREINFO", 0, text)]
            self.assertEqual([n[:3] for n in self.dump(door).notes], expected)
            kdump = self.dump(door, "kdump-zlib")
            self.assertEqual([n[:3] for n in kdump.notes], expected)
            self.assertEqual(kdump.vmcoreinfo, text)
            self.assertEqual(kdump.phys_base, 2**64 - 4096)
            for bad in (struct.pack("<HHIQ", 1, 2, len(note), 0x20000),       # not ELF
                        struct.pack("<HHIQ", 1, 1, 11, 0x20000),              # too short
                        struct.pack("<HHIQ", 1, 1, 0xffffffff, 0x20000),      # too long
                        struct.pack("<HHIQ", 1, 1, len(note) - 4, 0x20000),   # cut off
                        struct.pack("<HHIQ", 1, 1, len(note), 2**64 - 8),     # nowhere
                        struct.pack("<HHIQ", 1, 1, len(note), (16 << 20) - 8)):
                self.tell(door, key, bad)
                self.assertEqual(self.dump(door).notes, [], bad)
            door.write(0x20000, struct.pack("<III", 0xfffffffd, 0xfffffffd, 0))
            self.tell(door, key, struct.pack("<HHIQ", 1, 1, len(note), 0x20000))
            self.assertEqual(self.dump(door).notes, [])


class AutoDump(Case):
    """A dump that the machine makes by itself when the guest fails."""

    def files(self, m):
        return sorted(os.listdir(os.path.join(m.dir, "dumps")))

    def failing(self, does, *args, options="", action="panic=pause", ram=True):
        m = self.start("-S", "-append", does, "-action", action, "-auto-dump", "DIR/dumps" + options, *args,
                       kernel="script", prepare=lambda folder: os.mkdir(os.path.join(folder, "dumps")))
        m.qmp.command("cont")
        return m

    def events(self, m, last):
        while not any(e["event"] == last for e in m.qmp.events):
            m.qmp.events.append(m.qmp.read())
        return [e["event"] for e in m.qmp.events]

    def test_panic(self):
        for options, opener in (("", dumpfile.Elf), (",format=kdump-zlib,keep=1", dumpfile.Kdump)):
            m = self.failing("panic 1", "-device", "pvpanic", options=options)
            self.assertEqual(self.events(m, "STOP"), ["RESUME", "GUEST_PANICKED", "DUMP_COMPLETED", "STOP"])
            self.assertEqual(m.qmp.command("query-status")["status"], "guest-panicked")
            self.assertEqual(m.qmp.command("query-dump")["status"], "completed")
            name, = self.files(m)
            dump = opener(os.path.join(m.dir, "dumps", name))
            self.assertEqual(dump.read(0x100000, 65536), self.memory(m, 0x100000, 65536))

    def test_exit(self):
        """The process ends by the panic, but not before its memory is safe."""
        m = self.failing("panic 1", "-device", "pvpanic", action="panic=exit-failure")
        self.assertEqual(self.events(m, "SHUTDOWN")[1:], ["GUEST_PANICKED", "DUMP_COMPLETED", "SHUTDOWN"])
        self.assertEqual(m.wait(), 1)
        name, = self.files(m)
        self.assertRegex(name, r"^auto-dump-[0-9]{8}-[0-9]{6}\.[0-9]{6}-[0-9]+\.elf$")
        dumpfile.Elf(os.path.join(m.dir, "dumps", name))

    def test_watchdog_and_keep(self):
        """Each expiry makes a file; as many are kept as was said; the guest that is reset goes on."""
        m = self.failing("ib700 15", "-device", "ib700", "-action", "watchdog=reset", options=",keep=2")
        for _ in range(3):
            m.qmp.event("WATCHDOG", 30)
            self.assertEqual(m.qmp.event("DUMP_COMPLETED")["data"]["result"]["status"], "completed")
            self.assertLessEqual(len([name for name in self.files(m) if name.endswith(".elf")]), 2)
            m.qmp.event("RESET")

    def test_left_behind(self):
        """What a process left that was killed is cleared up; what somebody still writes, or may, is not."""
        names = [f"auto-dump-20200101-000000.00000{i}-1.elf.partial" for i in range(3)]
        m = self.start("-S", "-append", "panic 1", "-action", "panic=pause", "-auto-dump", "DIR/dumps", "-device",
                       "pvpanic", kernel="script", prepare=lambda folder: os.mkdir(os.path.join(folder, "dumps")))
        paths = [os.path.join(m.dir, "dumps", name) for name in (*names, "mine.partial")]
        with contextlib.ExitStack() as stack:
            files = [stack.enter_context(open(path, "wb")) for path in paths]
            fcntl.flock(files[1], fcntl.LOCK_EX)
            for at in (0, 1, 3):
                os.utime(paths[at], (0, 0))
            m.qmp.command("cont")
            m.qmp.event("DUMP_COMPLETED")
            self.assertEqual([os.path.exists(path) for path in paths], [False, True, True, True])

    def test_in_the_background(self):
        """The folders are what they were where the program was started."""
        with tempfile.TemporaryDirectory() as folder:
            os.mkdir(os.path.join(folder, "dumps"))
            subprocess.run([godwit.GODWIT, "-nodefaults", "-display", "none", "-daemonize", "-m", "32", "-kernel",
                            guest("script"), "-append", "panic 1", "-device", "pvpanic", "-action",
                            "panic=exit-failure", "-S", "-auto-dump", "dumps", "-black-box", "dumps", "-qmp",
                            "unix:q,server=on,wait=off"], cwd=folder, check=True)
            with contextlib.closing(Qmp(os.path.join(folder, "q"))) as qmp:
                qmp.command("cont")
                self.assertEqual(qmp.event("DUMP_COMPLETED")["data"]["result"]["status"], "completed")
            self.assertEqual({name.split("-")[0] for name in os.listdir(os.path.join(folder, "dumps"))},
                             {"auto", "black"})

    def test_panic_that_is_ignored(self):
        m = self.failing("panic 1 say on", "-device", "pvpanic", action="panic=none")
        m.expect("on")
        m.qmp.event("DUMP_COMPLETED")
        self.assertEqual(m.qmp.command("query-status")["status"], "running")

    def test_no_room(self):
        """Nothing is left of a file that has no room; the action comes all the same."""
        m = self.failing("delay 500 panic 1", "-device", "pvpanic")
        subprocess.run(["prlimit", f"--pid={m.process.pid}", "--fsize=20000"], check=True)
        event = m.qmp.event("DUMP_COMPLETED")["data"]
        self.assertEqual(event["result"]["status"], "failed")
        self.assertRegex(event["error"], "^dump: failed to .*: File too large$")
        m.qmp.event("STOP")
        self.assertEqual(m.qmp.command("query-status")["status"], "guest-panicked")
        self.assertEqual(self.files(m), [])

    def test_bad_options(self):
        for text, why in (("/no/such", "'/no/such' is not a folder"), ("/tmp,keep=0", "keep"),
                          ("/tmp,format=win-dmp", "format 'win-dmp' cannot be written"),
                          ("/tmp,bogus=1", "bogus"), ("", "folder")):
            result = godwit.run("-S", "-auto-dump", text, "-display", "none")
            self.assertEqual(result.returncode, 1, text)
            self.assertRegex(result.stderr, "-auto-dump.*" + why)


@unittest.skipUnless(shutil.which("gdb") and shutil.which("nm"), "there is no gdb, or no nm")
class Gdb(Case):
    def test_breakpoint(self):
        """A dump that was taken at a breakpoint: gdb shows variables by their linear addresses."""
        program = guest("debug64")
        symbols = subprocess.run(["nm", program], capture_output=True, text=True, check=True).stdout
        note = next(line.split()[0] for line in symbols.splitlines() if line.endswith(" T note"))
        m = self.start("-S", "-gdb", "unix:DIR/gdb,server=on,wait=off", kernel="debug64", serial=False)
        rsp = Rsp(os.path.join(m.dir, "gdb"))
        self.addCleanup(rsp.close)
        rsp.expect(f"Z1,{int(note, 16):x},1")
        self.assertTrue(rsp.ask("c").startswith("T05"))
        path = self.dump(m, paging=True)
        self.assertEqual(dumpfile.Elf(path).machine, 62)
        output = subprocess.run(
            ["gdb", "-q", "-nx", "-batch", "-ex", "info threads", "-ex", "bt", "-ex", "print total",
             "-ex", "print here", program, path],
            capture_output=True, text=True, timeout=60).stdout
        self.assertRegex(output, r"#0 +note \(n=11\)")
        self.assertRegex(output, r"#1 .*debug_main")
        self.assertRegex(output, r'\$2 = {x = 4, y = -5, name = 0x[0-9a-f]+ "on the way"')
        linear = dumpfile.Elf(path)
        self.assertTrue(all(load["linear"] == load["physical"] for load in linear.loads))
        self.assertEqual(linear.read_linear(int(note, 16), 16), self.memory(m, int(note, 16), 16))


if __name__ == "__main__":
    unittest.main(verbosity=2)
