"""Dumps of a Linux guest, read by those for whom they are made: makedumpfile, crash and gdb; and a Linux guest
that goes on from a snapshot.

The kernel's symbols are used when they are there: `scripts/get-kernel symbols` fetches them (280 MB).
"""
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

import dumpfile
import initramfs
from godwit import TIME_FACTOR, Machine


def symbols(release):
    """vmlinux of the kernel's package of symbols, if it was fetched; else None."""
    cache = os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache"))
    folder = os.environ.get("GODWIT_KERNEL_SYMBOLS_DIR", os.path.join(cache, "godwit/kernel-symbols"))
    found = glob.glob(os.path.join(folder, "usr/lib/debug/boot", "vmlinux-" + release))
    return found[0] if found else None


def run(*argv, text="", **kwargs):
    return subprocess.run(argv, input=text, capture_output=True, text=True, timeout=120 * TIME_FACTOR,
                          **kwargs)


class Dumps(initramfs.Shell, unittest.TestCase):
    kernel = initrd = folder = None

    @classmethod
    def setUpClass(cls):
        """One guest, dumped in each format while it runs, and that runs on."""
        cls.files, self = {}, cls()
        with Machine("-m", "192", "-smp", "2", "-kernel", cls.kernel.image, "-initrd", cls.initrd,
                     "-append", "console=ttyS0 quiet", "-device", "vmcoreinfo") as m:
            self.shell(m)
            m.send("sleep 98765 & echo a-line-of-the-test >/dev/kmsg\n")
            m.expect(initramfs.PROMPT)
            for fmt in (*m.qmp.command("query-dump-guest-memory-capability")["formats"], "paging"):
                cls.files[fmt] = os.path.join(cls.folder, "dump." + fmt)
                m.qmp.command("dump-guest-memory", 100, paging=fmt == "paging",
                              protocol="file:" + cls.files[fmt], format="elf" if fmt == "paging" else fmt)
            m.send("echo still $((6 * 7))\n")
            m.expect("still 42")

    def test_notes(self):
        notes = dumpfile.Elf(self.files["elf"]).notes
        self.assertEqual([note[0] for note in notes], ["CORE", "CORE", "QEMU", "QEMU", "VMCOREINFO"])
        self.assertIn(f"OSRELEASE={self.kernel.release}\n".encode(), notes[-1][2])

    @unittest.skipUnless(shutil.which("makedumpfile"), "there is no makedumpfile")
    def test_makedumpfile(self):
        """It finds the kernel's log in every format."""
        for fmt in self.files.keys() - {"paging"}:
            path = self.files[fmt]
            if fmt != "elf":
                with open(path, "rb") as file:
                    subprocess.run(["makedumpfile", "-R", path + ".plain"], stdin=file, check=True,
                                   stdout=subprocess.DEVNULL)
                path += ".plain"
            result = run("makedumpfile", "--dump-dmesg", path, path + ".log")
            if "compression unsupported" in result.stderr:  # by how it was built
                continue
            self.assertEqual(result.returncode, 0, f"{fmt}: {result.stdout} {result.stderr}")
            with open(path + ".log") as file:
                log = file.read()
            self.assertIn("a-line-of-the-test", log, fmt)
            self.assertRegex(log, r"Linux version " + re.escape(self.kernel.release))

    @unittest.skipUnless(shutil.which("crash"), "there is no crash")
    def test_crash(self):
        vmlinux = symbols(self.kernel.release)
        if not vmlinux:
            self.skipTest("the kernel's symbols are not there")
        for fmt in "elf", list(self.files)[-2]:  # the last of the compressed ones
            result = run("crash", "-s", vmlinux, self.files[fmt], text="sys\nlog\nps 0\nquit\n")
            self.assertRegex(result.stdout, r"(?m)^ +CPUS: 2$", fmt)
            self.assertRegex(result.stdout, r"(?m)^ +RELEASE: " + re.escape(self.kernel.release) + "$", fmt)
            self.assertIn("a-line-of-the-test", result.stdout, fmt)
            self.assertIn("[swapper/1]", result.stdout, fmt)

    @unittest.skipUnless(shutil.which("gdb"), "there is no gdb")
    def test_gdb(self):
        """With linear addresses gdb walks the kernel's list of processes."""
        vmlinux = symbols(self.kernel.release)
        if not vmlinux:
            self.skipTest("the kernel's symbols are not there")
        path = self.files["paging"]
        info = dumpfile.Elf(path).notes[-1][2].decode()
        offset = int(re.search(r"KERNELOFFSET=([0-9a-f]+)", info).group(1), 16)
        script = os.path.join(self.folder, "walk.gdb")
        with open(script, "w") as file:
            file.write("set $t = &init_task\n"
                       "set $o = (unsigned long)&((struct task_struct *)0)->tasks\n"
                       "set $n = 0\n"
                       "while $n < 500\n"
                       "  printf \"TASK %d %s\\n\", $t->pid, $t->comm\n"
                       "  set $t = (struct task_struct *)((unsigned long)$t->tasks.next - $o)\n"
                       "  set $n = $t == &init_task ? 500 : $n + 1\n"
                       "end\n"
                       "printf \"BANNER %s\", linux_banner\n"
                       "info threads\n")
        result = run("gdb", "-q", "-nx", "-batch", "-ex", f"core-file {path}",
                     "-ex", f"symbol-file {vmlinux} -o {offset:#x}", "-x", script)
        tasks = re.findall(r"^TASK (\d+) (\S+)", result.stdout, re.M)
        self.assertGreater(len(tasks), 20, result.stdout + result.stderr)
        self.assertEqual(tasks[0], ("0", "swapper/0"))
        self.assertIn("1", [pid for pid, _ in tasks])
        self.assertIn("kthreadd", [name for _, name in tasks])
        self.assertIn("sleep", [name for _, name in tasks])
        self.assertIn(f"BANNER Linux version {self.kernel.release}", result.stdout)


class Generation(initramfs.Shell, unittest.TestCase):
    """Linux takes new random numbers when it goes on from a snapshot."""

    def test_reseeds(self):
        try:
            kernel = initramfs.Kernel("generic")
        except initramfs.Missing as e:
            self.skipTest(str(e))
        folder = os.path.join(Dumps.folder, "generation")
        initrd = initramfs.make(folder, kernel)
        snapshot = os.path.join(folder, "snapshot")
        args = ("-m", "256", "-kernel", kernel.image, "-initrd", initrd, "-append", "console=ttyS0 quiet",
                "-device", "vmgenid")
        with Machine(*args) as m:
            self.shell(m)
            self.assertNotIn("reseeded", self.command(m, "dmesg | grep fork"))
            m.qmp.command("godwit-snapshot-file", 60, filename=snapshot)
        for _ in range(2):
            with Machine(*args, "-restore", snapshot) as m:
                self.assertIn("crng reseeded due to virtual machine fork", self.command(m, "dmesg | grep fork"))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        try:
            Dumps.kernel = initramfs.Kernel("cloud")
            Dumps.initrd = initramfs.make(folder, Dumps.kernel, ["qemu_fw_cfg"], rc="load qemu_fw_cfg\n")
        except (initramfs.Missing, subprocess.CalledProcessError) as e:
            print("skipped:", e)
            sys.exit(77)
        Dumps.folder = folder
        unittest.main(verbosity=2, exit=False).result.wasSuccessful() or sys.exit(1)
