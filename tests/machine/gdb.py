"""The gdb stub: driven by a client of the protocol, by gdb itself, and side by side with QEMU's.

$ACCEL is the accelerator, tcg when not given.
"""
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
import unittest

import godwit
from godwit import TIME_FACTOR, guest
from rsp import Rsp, escape, frame

ACCEL = os.environ.get("ACCEL", "tcg")
DEBUG = guest("debug")
INT3 = 0xcc

EMULATED_KVM = ACCEL == "kvm" and not godwit.hardware_virtualisation()
needs_watchpoints = unittest.skipIf(
    EMULATED_KVM, "this host's KVM emulates the kernel mode of guests, without watchpoints")
soft_only = unittest.skipIf(ACCEL == "kvm", "of the software CPU only")


def symbols():
    text = subprocess.run(["nm", DEBUG], check=True, capture_output=True, text=True).stdout
    return {line.split()[2]: int(line.split()[0], 16) for line in text.splitlines()}


class Debugged:
    """A stopped machine with a client at its stub."""

    def __init__(self, append="", *args, options=("-S",), connect=True, kernel=DEBUG):
        self.dir = tempfile.mkdtemp(prefix="godwit-gdb-")
        self.path = os.path.join(self.dir, "gdb")
        self.m = self.rsp = None
        try:
            self.m = godwit.Machine("-accel", ACCEL, "-kernel", kernel, "-append", append,
                                    *options, "-gdb", f"unix:{self.path},server=on,wait=off", *args)
            self.qmp = self.m.qmp
            if connect:
                self.rsp = Rsp(self.path)
        except Exception:
            self.close()
            raise

    def status(self):
        return self.qmp.command("query-status")["status"]

    def close(self):
        if self.rsp:
            self.rsp.close()
        if self.m:
            self.m.close()
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


def reason_to_skip():
    if ACCEL != "kvm":
        return None
    result = godwit.run("-accel", "kvm", "-kernel", guest("hello"), "-display", "none")
    return None if result.returncode == 0 else result.stderr.strip()


class Protocol(unittest.TestCase):
    def test_handshake(self):
        with Debugged() as d:
            answer = d.rsp.ask("qSupported:multiprocess+;swbreak+;hwbreak+;vContSupported+")
            for feature in ("PacketSize=4000", "qXfer:features:read+", "multiprocess+", "swbreak+",
                            "hwbreak+", "QStartNoAckMode+", "vContSupported+"):
                self.assertIn(feature, answer.split(";"))
            self.assertTrue(d.rsp.start_no_ack())
            self.assertEqual(d.rsp.ask("?"), "T05thread:p01.01;")
            self.assertEqual(d.rsp.ask("qAttached:1"), "1")
            self.assertEqual(d.rsp.ask("qC"), "QCp01.01")
            self.assertEqual(d.rsp.ask("vCont?"), "vCont;c;C;s;S;r")
            self.assertEqual(d.rsp.ask("vMustReplyEmpty"), "")
            self.assertEqual(d.rsp.ask("qqemu.Supported"), "sstepbits;sstep;PhyMemMode")
            self.assertEqual(d.rsp.ask("qqemu.sstepbits"), "ENABLE=1,NOIRQ=2,NOTIMER=4")
            self.assertEqual(d.rsp.ask("qqemu.sstep"), "0x7")
            d.rsp.expect("Qqemu.sstep=0x1")
            self.assertEqual(d.rsp.ask("qqemu.sstep"), "0x1")
            self.assertEqual(d.rsp.ask("Qqemu.sstep=99"), "E22")

    def test_threads(self):
        with Debugged("", "-smp", "3") as d:
            self.assertEqual(d.rsp.ask("qfThreadInfo"), "mp01.01,p01.02,p01.03")
            self.assertEqual(d.rsp.ask("qsThreadInfo"), "l")
            info = bytes.fromhex(d.rsp.ask("qThreadExtraInfo,p1.1")).decode()
            self.assertEqual(info, "CPU#0 [running]")
            info = bytes.fromhex(d.rsp.ask("qThreadExtraInfo,p1.3")).decode()
            self.assertIn("CPU#2", info)
            d.rsp.expect("Hgp1.2")
            self.assertEqual(d.rsp.register("rip"), 0xfff0)
            d.rsp.expect("Tp1.3")
            for bad in ("Hgp1.4", "Hgp2.1", "Hg", "Hx1", "Tp1.99", "Hgp1.1x"):
                self.assertEqual(d.rsp.ask(bad), "E22", bad)

    def test_nonsense(self):
        with Debugged() as d:
            rsp = d.rsp
            for bad in ("m", "m0", "m0,", "m0,xyz", "m0,fffffffff", "M0,2:00", "M0,1:zz", "p", "pzz",
                        "p999", "P0=", "P0=zz", "Z0", "Z0,0", "vCont", "vCont;", "vCont;x",
                        "vCont;s:p9.9", "Gzz", "qRcmd,zz", "D;7", "C", "czz", "qXfer:features:read:"
                        "target.xml:fffff,4", "qThreadExtraInfo,p1.9", "Qqemu.PhyMemMode:2",
                        "m00000000000000000,1", "Z2,1000,0", "Z2,1000,ffffffff"):
                self.assertEqual(rsp.ask(bad), "E22", bad)
            for unknown in ("", "vFile:open:2f", "Z9,0,0", "b", "qNothing", "QNothing"):
                self.assertEqual(rsp.ask(unknown), "", unknown)
            self.assertEqual(rsp.ask("qXfer:features:read:other.xml:0,4"), "E00")
            # A wrong checksum is asked for again; what is too long is refused; what is cut short
            # counts for nothing.
            rsp.raw(b"$?#00")
            self.assertEqual(rsp.byte(), b"-")
            self.assertEqual(rsp.ask("m" + "0" * 0x8000), "E22")
            rsp.raw(b"$m0")
            rsp.raw(bytes(range(4, 35)) + b"junk")
            self.assertEqual(rsp.ask("?"), "T05thread:p01.01;")
            rsp.raw(b"-")
            self.assertEqual(rsp.answer(), "T05thread:p01.01;")

    def test_client_that_goes_and_comes(self):
        with Debugged() as d:
            d.rsp.expect(f"Z0,{symbols()['walk']:x},1")
            d.rsp.raw(b"$m0")
            d.rsp.close()
            d.rsp = Rsp(d.path)
            self.assertEqual(d.rsp.ask("?"), "T05thread:p01.01;")
            d.rsp.expect("D;1")  # no breakpoint is left that would stop it
            d.m.expect("total 571\n")
            self.assertEqual(d.m.wait(), 0)

    def test_pipelined_commands_and_no_reading(self):
        """Far more output than sockets hold is asked for before any is read."""
        with Debugged() as d:
            d.rsp.start_no_ack()
            d.rsp.sock.setblocking(False)
            sent, count = 0, 1000
            data = frame(b"m100000,1000") * count
            try:
                while sent < len(data):
                    sent += d.rsp.sock.send(data[sent:])
            except BlockingIOError:
                pass
            self.assertEqual(d.status(), "prelaunch")
            d.rsp.sock.settimeout(30 * TIME_FACTOR)
            for _ in range(sent // len(frame(b"m100000,1000"))):
                self.assertEqual(len(d.rsp.answer()), 0x2000)


class Registers(unittest.TestCase):
    def test_write_each_by_number_and_all_at_once(self):
        with Debugged() as d:
            rsp = d.rsp
            self.assertEqual(rsp.ask(f"P{rsp.number('rax'):x}=8877665544332211"), "OK")
            self.assertEqual(rsp.register("rax"), 0x1122334455667788)
            for name, value in (("r9", 99), ("rsp", 0x2000), ("xmm3", 1 << 100 | 5),
                                ("mxcsr", 0x1fa0), ("fctrl", 0x27f), ("st2", 0x3fff << 64 | 1 << 63),
                                ("fs_base", 0x1000), ("k_gs_base", 0xffff888000000000),
                                ("cr2", 0xabcd)):
                self.assertEqual(rsp.set_register(name, value), "OK", name)
                self.assertEqual(rsp.register(name), value, name)
            before = rsp.ask("g")
            self.assertEqual(rsp.ask("G" + before), "OK")
            self.assertEqual(rsp.ask("g"), before)
            layout = rsp.describe()
            self.assertEqual(len(before), 2 * sum(size for _, size in layout))
            # A control register no processor could have is refused and changes nothing.
            self.assertEqual(rsp.set_register("cr0", 0x80000000), "E22")
            self.assertEqual(rsp.ask("g"), before)

    def test_tags(self):
        with Debugged() as d:
            self.assertEqual(d.rsp.register("ftag"), 0xffff)
            self.assertEqual(d.rsp.set_register("ftag", 0x3fff), "OK")
            d.rsp.set_register("st7", 0x3fff << 64 | 1 << 63)
            self.assertEqual(d.rsp.register("ftag"), 0x3fff)
            d.rsp.set_register("st7", 0)
            self.assertEqual(d.rsp.register("ftag"), 0x7fff)

    def test_selector_brings_its_descriptor(self):
        with Debugged() as d:
            walk = symbols()["walk"]
            d.rsp.expect(f"Z1,{walk:x},1")
            self.assertIn("p01.01", d.rsp.ask("c"))
            self.assertEqual(d.rsp.register("ds"), 0x10)
            self.assertEqual(d.rsp.set_register("gs", 0x10), "OK")
            self.assertEqual(d.rsp.set_register("fs", 0), "OK")
            self.assertIn("FS =0000", d.rsp.monitor("info registers"))


class Memory(unittest.TestCase):
    def test_forms(self):
        with Debugged() as d:
            rsp = d.rsp
            data = bytes(range(256)) + b"#$}*" * 4
            self.assertEqual(rsp.write(0x200000, data), "OK")
            self.assertEqual(rsp.read(0x200000, len(data)), data)
            rsp.expect(b"X201000,%x:" % len(data) + escape(data))
            self.assertEqual(rsp.read(0x201000, len(data)), data)
            rsp.expect("X0,0:")
            self.assertEqual(rsp.ask("X201000,5:ab"), "E22")
            rsp.write(0x2ffffe, b"\1\2\3\4")
            self.assertEqual(rsp.read(0x2ffffe, 4), b"\1\2\3\4")
            self.assertEqual(rsp.ask("mc0000000,4"), "E14")
            self.assertEqual(len(rsp.read(0x100000, 0x2000)), 0x2000)
            self.assertEqual(rsp.ask("m100000,2001"), "E22")

    def test_devices(self):
        """The I/O APIC's version register, behind its index."""
        with Debugged() as d:
            d.rsp.expect("Qqemu.PhyMemMode:1")
            self.assertEqual(d.rsp.write(0xfec00000, b"\1\0\0\0"), "OK")
            self.assertEqual(d.rsp.read(0xfec00010, 4)[2], 23)

    @soft_only
    def test_virtual_and_physical(self):
        """Under the guest's page tables, which map the first 16 MiB only."""
        with Debugged("steps") as d:
            rsp = d.rsp
            rsp.expect(f"Z1,{symbols()['long_mode']:x},1")
            self.assertIn("T05", rsp.ask("c"))
            self.assertEqual(rsp.register("efer") & 0x500, 0x500)
            self.assertEqual(rsp.read(0x320000, 2), b"\x23\x10")
            self.assertEqual(rsp.ask("m1000000,4"), "E14")
            self.assertEqual(rsp.ask("qqemu.PhyMemMode"), "0")
            rsp.expect("Qqemu.PhyMemMode:1")
            self.assertEqual(rsp.ask("qqemu.PhyMemMode"), "1")
            self.assertEqual(rsp.read(0x1000000, 4), bytes(4))
            rsp.write(0x1000000, b"phys")
            self.assertEqual(rsp.read(0x1000000, 4), b"phys")


class Running(unittest.TestCase):
    def test_run_states_and_events(self):
        with Debugged("spin", options=()) as d:
            self.assertEqual(d.qmp.event("STOP")["event"], "STOP")  # it attached
            self.assertEqual(d.status(), "paused")
            spin = symbols()["spin"]
            d.rsp.expect(f"Z0,{spin:x},1")
            d.rsp.set_register("rip", spin)
            self.assertIn("T05", d.rsp.ask("qSupported:swbreak+") and d.rsp.ask("c"))
            d.qmp.event("RESUME")
            d.qmp.event("STOP")
            self.assertEqual(d.status(), "debug")
            d.rsp.expect(f"z0,{spin:x},1")
            self.assertEqual(d.rsp.ask("s"), "T05thread:p01.01;")
            d.qmp.event("RESUME")
            d.qmp.event("STOP")
            self.assertEqual(d.status(), "debug")
            d.rsp.send("vCont;c")
            d.qmp.event("RESUME")
            d.rsp.interrupt()
            self.assertEqual(d.rsp.answer(), "T02thread:p01.01;")
            self.assertEqual(d.status(), "paused")
            d.rsp.send("c")
            d.qmp.event("RESUME")
            d.qmp.command("stop")
            self.assertEqual(d.rsp.answer(), "T02thread:p01.01;")
            d.rsp.expect("D")
            d.qmp.event("RESUME")
            self.assertEqual(d.status(), "running")

    def test_software_breakpoint(self):
        with Debugged() as d:
            walk = symbols()["walk"]
            d.rsp.ask("qSupported:swbreak+;hwbreak+")
            d.rsp.expect(f"Z0,{walk:x},1")
            d.rsp.expect(f"Z0,{walk:x},1")
            for i in range(1, 6):
                self.assertEqual(d.rsp.ask("c"), "T05thread:p01.01;swbreak:;")
                self.assertEqual(d.rsp.register("rip"), walk)
                stack = d.rsp.read(d.rsp.register("rsp"), 12)
                self.assertEqual(int.from_bytes(stack[8:], "little"), i)
                self.assertNotEqual(d.rsp.read(walk, 1)[0], INT3)
                d.rsp.expect(f"z0,{walk:x},1")
                d.rsp.ask("s")
                d.rsp.expect(f"Z0,{walk:x},1")
            d.rsp.expect(f"z0,{walk:x},1")
            self.assertEqual(d.rsp.ask(f"z0,{walk:x},1"), "E22")
            self.assertIn(d.rsp.ask("c")[:3], ("W00",))
            d.m.expect("total 571\n")
            self.assertEqual(d.m.wait(), 0)

    @soft_only
    def test_breakpoint_is_not_in_memory(self):
        """Through the machine's own eyes: the human monitor looks past the stub."""
        with Debugged() as d:
            walk = symbols()["walk"]
            before = d.rsp.monitor(f"xp/4xb {walk:#x}")
            d.rsp.expect(f"Z0,{walk:x},1")
            self.assertEqual(d.rsp.monitor(f"xp/4xb {walk:#x}"), before)
            d.rsp.ask("c")
            self.assertEqual(d.rsp.monitor(f"xp/4xb {walk:#x}"), before)

    def test_hardware_breakpoint(self):
        with Debugged() as d:
            note = symbols()["note"]
            d.rsp.ask("qSupported:hwbreak+")
            d.rsp.expect(f"Z1,{note:x},1")
            self.assertEqual(d.rsp.ask("vCont;c"), "T05thread:p01.01;hwbreak:;")
            self.assertEqual(d.rsp.register("rip"), note)
            self.assertIn("DR7=0000000000000400", d.rsp.monitor("info registers"))

    @needs_watchpoints
    def test_watchpoints(self):
        with Debugged() as d:
            total = symbols()["total"]
            d.rsp.expect(f"Z2,{total:x},4")
            value = 0
            for _ in range(3):
                self.assertEqual(d.rsp.ask("c"), f"T05thread:p01.01;watch:{total:x};")
                now = int.from_bytes(d.rsp.read(total, 4), "little")
                self.assertGreater(now, value)  # it is reported after the store
                value = now
            d.rsp.expect(f"z2,{total:x},4")
            d.rsp.expect(f"Z4,{total:x},4")
            self.assertEqual(d.rsp.ask("c"), f"T05thread:p01.01;awatch:{total:x};")
            d.rsp.expect(f"z4,{total:x},4")
            d.rsp.ask("c")
            d.m.expect("total 571\n")

    @soft_only
    def test_read_watchpoint_and_size(self):
        with Debugged() as d:
            here = symbols()["here"]
            d.rsp.expect(f"Z3,{here + 4:x},1")
            self.assertEqual(d.rsp.ask("c"), f"T05thread:p01.01;rwatch:{here + 4:x};")
            d.rsp.expect(f"z3,{here + 4:x},1")
            d.rsp.expect(f"Z2,{here + 12:x},4")  # of it one byte is written each time
            self.assertIn(f"watch:{here + 13:x};", d.rsp.ask("c"))
            self.assertIn(f"watch:{here + 14:x};", d.rsp.ask("c"))

    @soft_only
    def test_watchpoint_in_a_string_instruction(self):
        with Debugged("steps") as d:
            d.rsp.expect(f"Z2,{0x310207:x},1")
            self.assertIn("watch:310207;", d.rsp.ask("c"))
            self.assertEqual(d.rsp.register("rdi"), 0x310208)
            self.assertEqual(d.rsp.register("rcx"), 12)

    def test_step_does_not_show_in_flags(self):
        with Debugged("steps") as d:
            d.rsp.expect(f"Z1,{symbols()['steps']:x},1")
            d.rsp.ask("c")
            for _ in range(40):
                d.rsp.ask("s")
                self.assertEqual(d.rsp.register("eflags") & 0x100, 0)

    def test_range(self):
        """vCont;r: steps until RIP leaves the range, or something else happens."""
        with Debugged("") as d:
            walk = symbols()["walk"]
            end = min(at for at in symbols().values() if at > walk)
            d.rsp.expect(f"Z1,{walk:x},1")
            d.rsp.ask("c")
            d.rsp.expect(f"z1,{walk:x},1")
            caller = int.from_bytes(d.rsp.read(d.rsp.register("rsp"), 4), "little")
            d.qmp.command("query-status")  # events so far are read
            self.assertEqual(d.rsp.ask("s"), "T05thread:p01.01;")
            second = d.rsp.register("rip")
            self.assertEqual(d.rsp.ask(f"vCont;r{walk:x},{end:x}:p1.1;c:p1.-1"), "T05thread:p01.01;")
            self.assertEqual(d.rsp.register("rip"), caller)
            self.assertEqual(d.rsp.ask(f"vCont;r{walk:x},{walk:x}"), "T05thread:p01.01;")  # one step
            self.assertNotEqual(d.rsp.register("rip"), caller)
            d.rsp.expect(f"Z1,{walk:x},1")
            d.rsp.ask("c")
            d.rsp.expect(f"z1,{walk:x},1")
            d.rsp.expect(f"Z1,{second:x},1")
            self.assertEqual(d.rsp.ask("s"), "T05thread:p01.01;")
            d.rsp.expect(f"z1,{second:x},1")
            for wrong in ("r", "r1", "r1,", "rx,2", "r1,2:", "r1,2;"):
                self.assertEqual(d.rsp.ask("vCont;" + wrong), "E22")
        with Debugged("spin") as d:
            d.rsp.send("vCont;r0,ffffffffffffffff")
            d.m.expect("spinning\n")
            d.rsp.interrupt()
            self.assertEqual(d.rsp.answer(), "T02thread:p01.01;")
            self.assertEqual(d.status(), "paused")

    @soft_only
    def test_range_ends_at_a_watchpoint(self):
        with Debugged("") as d:
            total = symbols()["total"]
            d.rsp.expect(f"Z2,{total:x},4")
            self.assertEqual(d.rsp.ask("vCont;r0,ffffffff"), f"T05thread:p01.01;watch:{total:x};")

    def test_one_vcpu_of_two(self):
        """The other one stands still while the first is stepped."""
        with Debugged("", "-smp", "2", options=("-S",)) as d:
            d.rsp.expect("Hgp1.2")
            before = d.rsp.ask("g")
            d.rsp.expect("Hgp1.1")
            rip = d.rsp.register("rip")
            self.assertEqual(d.rsp.ask("vCont;s:p1.1"), "T05thread:p01.01;")
            self.assertNotEqual(d.rsp.register("rip"), rip)
            d.rsp.expect("Hgp1.2")
            self.assertEqual(d.rsp.ask("g"), before)

    def test_monitor_and_kill(self):
        with Debugged("spin") as d:
            self.assertIn("VM status: paused (prelaunch)", d.rsp.monitor("info status"))
            self.assertGreater(len(d.rsp.monitor("xp/2000xb 0x100000")), 10000)
            self.assertIn("cannot close", d.rsp.monitor("gdbserver none"))
            d.rsp.ask("vKill;1")
            self.assertEqual(d.qmp.event("SHUTDOWN")["data"], {"guest": False, "reason": "host-ui"})
            self.assertEqual(d.m.wait(), 0)

    def test_guest_that_ends(self):
        with Debugged() as d:
            self.assertEqual(d.rsp.ask("c"), "W00;process:1")
            self.assertEqual(d.m.wait(), 0)

    def test_start_that_is_refused(self):
        with Debugged("", "-no-shutdown") as d:
            self.assertEqual(d.rsp.ask("c"), "T03thread:p01.01;")
            self.assertEqual(d.rsp.ask("c"), "T03thread:p01.01;")
            self.assertIn("Resetting", d.rsp.console.decode())


class Doors(unittest.TestCase):
    def test_gdbserver_of_the_human_monitor(self):
        with Debugged("spin", connect=False) as d:
            def hmp(line):
                return d.qmp.command("human-monitor-command", command_line=line)
            other = os.path.join(d.dir, "other")
            self.assertEqual(hmp(f"gdbserver unix:{other},server=on,wait=off"),
                             f"Waiting for gdb connection on device 'unix:{other},server=on,"
                             "wait=off'\r\n")
            with Rsp(other) as rsp:
                self.assertEqual(rsp.ask("?"), "T05thread:p01.01;")
                rsp.expect(f"Z0,{symbols()['spin']:x},1")
                self.assertFalse(os.path.exists(d.path))
                self.assertEqual(hmp("gdbserver none"), "Disabled gdbserver\r\n")
                with self.assertRaises((EOFError, OSError)):
                    rsp.ask("?")
            self.assertIn("Could not open gdbserver on device 'bogus:'", hmp("gdbserver bogus:"))
            d.qmp.command("cont")  # the breakpoint went with its debugger
            d.m.expect("spinning\n")
            self.assertEqual(d.status(), "running")

    def test_tcp_and_chardev(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        with godwit.Machine("-accel", ACCEL, "-kernel", DEBUG, "-S", "-gdb",
                            f"tcp:127.0.0.1:{port}"):
            with Rsp(("127.0.0.1", port)) as rsp:
                self.assertEqual(rsp.ask("?"), "T05thread:p01.01;")
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "g")
            with godwit.Machine("-accel", ACCEL, "-kernel", DEBUG, "-S", "-chardev",
                                f"socket,id=g,path={path},server=on,wait=off", "-gdb", "chardev:g"):
                with Rsp(path) as rsp:
                    self.assertEqual(rsp.ask("?"), "T05thread:p01.01;")

    def test_errors(self):
        for args, why in ((("-gdb", "chardev:x"), "there is no chardev 'x'"),
                          (("-gdb", "tcp:nohost.invalid:1"), "nohost.invalid"),
                          (("-gdb", "bogus"), "bogus"),
                          (("-gdb", "stdio", "-serial", "stdio"), "stdio"),
                          (("-M", "none", "-gdb", "tcp::0"), "machine 'none' has no vCPU")):
            result = godwit.run("-display", "none", *args)
            self.assertEqual(result.returncode, 1, args)
            self.assertIn(why, result.stderr)


def gdb(script, *, path, timeout=60):
    """What gdb prints; the machine's stub is at path."""
    commands = ["set confirm off", "set height 0", "set width 0", "set style enabled off",
                f"target remote {path}", *script]
    argv = ["gdb", "-q", "-nx", "-batch"]
    for command in commands:
        argv += ["-ex", command]
    done = subprocess.run([*argv, DEBUG], capture_output=True, text=True, stdin=subprocess.DEVNULL,
                          timeout=timeout * TIME_FACTOR)
    return done.stdout + done.stderr


class Gdb(unittest.TestCase):
    """With gdb itself."""

    def setUp(self):
        if not shutil.which("gdb"):
            self.skipTest("gdb is not installed")

    def run_gdb(self, path, *script):
        """What gdb prints."""
        argv = ["gdb", "-q", "-nx", "-batch"]
        for command in ("set confirm off", "set height 0", "set width 0",
                        "set style enabled off", f"target remote {path}", *script):
            argv += ["-ex", command]
        done = subprocess.run([*argv, guest("debug64")], capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=60 * TIME_FACTOR)
        return done.stdout + done.stderr

    def expect_in_order(self, output, *patterns):
        at = 0
        for pattern in patterns:
            match = re.compile(pattern).search(output, at)
            self.assertIsNotNone(match, f"{pattern!r} is not in:\n{output[at:]}")
            at = match.end()

    def test_session(self):
        with Debugged(connect=False, kernel=guest("debug64")) as d:
            output = self.run_gdb(
                d.path, "break walk", "continue", "print *p", "print by", "backtrace", "finish",
                "print here", "print $rip == (long)&total", "print $cs", "print $cr0 & 1", "print $efer & 0x400", "print $eflags", "print $efer", "print $cr3", "delete",
                "hbreak note", "continue", "stepi", "info threads", "monitor info status",
                "print/x $xmm1.uint128", "print $k_gs_base", "set var total = 77", "print total",
                "print total = 11", "delete", "detach")
            self.expect_in_order(
                output, r"Breakpoint 1, walk \(p=.*0x[0-9a-f]+ <here>, by=.*1\)",
                r'x = 3, y = -4, name = 0x[0-9a-f]+ "start", visits = "\\001\\002\\003\\004"',
                r" = 1\n", r"#1 .*debug_main", r"Value returned is .* = 11",
                r'x = 4, y = -5, name = 0x[0-9a-f]+ "on the way"', r" = 0\n", r" = 8\n",
                r" = 1\n", r" = 1024\n", r"\[ .*IOPL=0", r"\[ .*LMA", r"\[ .*PDBR=\d+ PCID=0|PCID=0 PDBR=\d+", r"Hardware assisted breakpoint \d", r"note \(n=", r"CPU#0 \[running\]",
                r" = 0x0\n", r" = 0\n", r" = 77\n", r" = 11\n", r"detached")
            self.assertIn("VM status: paused (debug)", output)
            d.m.expect("done\n")
            self.assertEqual(d.m.wait(), 0)

    @needs_watchpoints
    def test_watch(self):
        with Debugged(connect=False, kernel=guest("debug64")) as d:
            output = self.run_gdb(d.path, "thbreak debug_main", "continue", "watch total",
                                  "continue", "continue", "delete", "continue")
            self.expect_in_order(output, r"Hardware watchpoint \d: total",
                                 r"Old value = 0\nNew value = 11", r"note \(n=11\)",
                                 r"Old value = 11\nNew value = 40", r"exited normally")
            self.assertEqual(d.m.wait(), 0)

    def test_kill(self):
        with Debugged(connect=False, kernel=guest("debug64")) as d:
            self.assertIn("killed", self.run_gdb(d.path, "stepi", "kill"))
            self.assertEqual(d.m.wait(), 0)


@soft_only
@unittest.skipUnless(shutil.which("qemu-system-x86_64"), "qemu-system-x86_64 is not installed")
class SideBySide(unittest.TestCase):
    """The same guest under QEMU's software CPU and ours, after each of more than 1,000 steps."""

    # QEMU's stub has no value for these.
    LEFT_OUT = {"ftag", "fiseg", "fioff", "foseg", "fooff", "fop"}

    def qemu(self, folder):
        path = os.path.join(folder, "qemu")
        process = subprocess.Popen(
            ["qemu-system-x86_64", "-accel", "tcg", "-M", "q35", "-cpu", "qemu64", "-S", "-display",
             "none", "-serial", "null", "-monitor", "none", "-net", "none", "-kernel", DEBUG,
             "-append", "steps", "-gdb", f"unix:{path},server=on,wait=off"],
            stdin=subprocess.DEVNULL)
        return process, path

    def test_steps(self):
        where = symbols()
        with tempfile.TemporaryDirectory() as folder:
            process, path = self.qemu(folder)
            try:
                with Debugged("steps", "-cpu", "qemu64") as ours, Rsp(path) as theirs:
                    self.compare(ours.rsp, theirs, where)
            finally:
                process.kill()
                process.wait()

    def compare(self, ours, theirs, where):
        for rsp in (ours, theirs):
            rsp.start_no_ack()
            rsp.expect(f"Z1,{where['steps_begin']:x},1")
            self.assertIn("T05", rsp.ask("vCont;c"))
            rsp.expect(f"z1,{where['steps_begin']:x},1")
            # What firmware leaves behind in registers that the guest does not set.
            for name in ("rax", "rbx", "rcx", "rdx", "rdi", "rsi", "rbp"):
                rsp.set_register(name, 0)
        names = {n for n, _ in ours.describe()} & {n for n, _ in theirs.describe()} - self.LEFT_OUT
        self.assertIn("xmm15", names)
        before, last, steps = None, None, 0
        while True:
            a, b = ours.registers(), theirs.registers()
            for _ in range(100):  # a step of QEMU's may be interrupted before it did anything
                if b != last:
                    break
                self.assertIn("T05", theirs.ask("vCont;s:p1.1"))
                b = theirs.registers()
            last = dict(b)
            top = b["fstat"] >> 11 & 7  # QEMU's st0 is the physical register R0, not ST(0)
            b.update({f"st{i}": v for i, v in enumerate([b[f"st{top + i & 7}"] for i in range(8)])})
            if steps > 4:  # stack and flags are the guest's own by then
                differ = {n: (hex(a[n]), hex(b[n])) for n in names if a[n] != b[n]}
                self.assertEqual(differ, {}, f"after step {steps} to {a['rip']:#x}, from {before}")
            if a["rip"] == where["steps_end"]:
                break
            before, steps = hex(a["rip"]), steps + 1
            for rsp in (ours, theirs):
                rsp.send("vCont;s:p1.1")
            for rsp in (ours, theirs):
                self.assertIn("T05", rsp.answer())
        self.assertGreater(steps, 1000)
        self.assertEqual(ours.read(0x310000, 0x700), theirs.read(0x310000, 0x700))


if __name__ == "__main__":
    reason = reason_to_skip()
    if reason:
        print(f"SKIP: {reason}")
        raise SystemExit(77)
    unittest.main()
