#!/usr/bin/env python3
"""libvirt, as it comes from Debian, drives Godwit with a Linux guest: the whole of a domain's life.

usage: test-libvirt.py GODWIT

virsh has libvirt's driver in its own process (qemu:///embed) below a folder of the test's own: no daemon, nothing
of the host's. Only the driver wants a user libvirt-qemu to exist; where it does not, the test has an /etc/passwd of
its own in a mount namespace.
"""
import glob
import os
import queue
import re
import select
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import initramfs
from godwit import TIME_FACTOR

GODWIT = os.path.abspath(sys.argv[1])
USER = "libvirt-qemu"
CONFIG = """user = "root"
group = "root"
dynamic_ownership = 0
security_driver = "none"
stdio_handler = "file"
cgroup_controllers = [ ]
namespaces = [ ]
remember_owner = 0
"""
IN_NAMESPACE = """set -e
echo {user}:x:64055:64055::/:/bin/false | cat /etc/passwd - >{dir}/passwd
echo {user}:x:64055: | cat /etc/group - >{dir}/group
mount --bind {dir}/passwd /etc/passwd
mount --bind {dir}/group /etc/group
exec "$@"
"""


class Virsh:
    """One virsh that takes commands, as at a terminal."""

    def __init__(self, folder):
        self.folder = os.path.realpath(folder)
        os.makedirs(f"{folder}/etc")
        with open(f"{folder}/etc/qemu.conf", "w") as f:
            f.write(CONFIG)
        command = ["stdbuf", "-oL", "virsh", "-q", "-c", f"qemu:///embed?root={folder}"]
        if subprocess.run(["getent", "passwd", USER], stdout=subprocess.DEVNULL).returncode:
            command = ["unshare", "--mount", "sh", "-c", IN_NAMESPACE.format(user=USER, dir=folder), "sh", *command]
        env = {**os.environ, "LC_ALL": "C", "LIBVIRT_LOG_OUTPUTS": f"3:file:{folder}/libvirt.log"}
        self.lines = queue.Queue()
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env,
                                        stderr=subprocess.STDOUT, text=True, bufsize=1, cwd=folder)
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def run(self, command, timeout=60):
        """What it printed."""
        self.process.stdin.write(f"{command}\npwd\n")  # whose line ends what the command prints
        out, end = [], time.monotonic() + timeout * TIME_FACTOR
        while True:
            line = self.lines.get(timeout=max(end - time.monotonic(), 0.001))
            if line is None:
                raise EOFError("".join(out))
            if line == self.folder + "\n":
                return "".join(out).strip()
            if not line.startswith("virsh # "):
                out.append(line)

    def close(self):
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()


class Console(initramfs.Shell):
    """The guest's console on the pseudo terminal that libvirt tells."""

    def __init__(self, path):
        self.fd, self.output, self.at = os.open(path, os.O_RDWR | os.O_NOCTTY), b"", 0

    def send(self, text):
        os.write(self.fd, text.encode())

    def expect(self, pattern, timeout):
        end = time.monotonic() + timeout * TIME_FACTOR
        while True:
            match = re.compile(pattern.encode() if isinstance(pattern, str) else pattern).search(self.output, self.at)
            if match:
                self.at = match.end()
                return match
            ready, _, _ = select.select([self.fd], [], [], max(end - time.monotonic(), 0))
            if not ready:
                raise TimeoutError(f"{pattern} not in {self.output[self.at:][-2000:]}")
            self.output += os.read(self.fd, 65536)

    def run(self, text):
        return self.command(self, text)

    def close(self):
        os.close(self.fd)


def domain(folder, machine, kernel, initrd, other):
    cd = ("hda", "ide") if machine == "pc" else ("sda", "sata")
    return f"""<domain type='qemu'><name>g</name><maxMemory slots='2' unit='MiB'>512</maxMemory><memory unit='MiB'>256</memory><vcpu current='2'>3</vcpu>
<cpu mode='custom' match='exact'><model fallback='forbid'>qemu64</model>
<numa><cell id='0' cpus='0-2' memory='256' unit='MiB'/></numa></cpu>
<os><type arch='x86_64' machine='{machine}'>hvm</type><kernel>{kernel}</kernel><initrd>{initrd}</initrd>
<cmdline>console=ttyS0 quiet</cmdline></os>
<features><acpi/></features><pm><suspend-to-mem enabled='yes'/><suspend-to-disk enabled='yes'/></pm>
<devices><emulator>{GODWIT}</emulator>
<disk type='file' device='disk'><driver name='qemu' type='qcow2' cache='none' discard='unmap'/>
<source file='{folder}/a.qcow2'/><target dev='vda' bus='virtio'/><serial>DISKA</serial></disk>
<disk type='file' device='disk'><driver name='qemu' type='{other}'/><source file='{folder}/b.{other}'/>
<target dev='vdb' bus='virtio'/></disk>
<disk type='file' device='cdrom'><source file='{folder}/cd1'/><target dev='{cd[0]}' bus='{cd[1]}'/><readonly/></disk>
<controller type='usb' model='none'/><serial type='pty'/><console type='pty'/>
<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
<interface type='user'><model type='virtio'/></interface>
<watchdog model='i6300esb' action='pause'/><panic model='isa'/>
<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
<memballoon model='virtio'><stats period='1'/></memballoon>
<video><model type='none'/></video></devices></domain>""".replace("\n", " ")


class Libvirt(unittest.TestCase):
    kernel = initrd = None

    def start(self, machine, other="raw"):
        self.dir = tempfile.mkdtemp(prefix="godwit-libvirt-")
        self.addCleanup(shutil.rmtree, self.dir)
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", f"{self.dir}/a.qcow2", "64M"], check=True)
        subprocess.run(["qemu-img", "create", "-q", "-f", other, f"{self.dir}/b.{other}", "64M"], check=True)
        for i in 1, 2:
            with open(f"{self.dir}/cd{i}", "wb") as f:
                f.write(b"CD %d" % i + bytes(1 << 20))
        with open(f"{self.dir}/g.xml", "w") as f:
            f.write(domain(self.dir, machine, self.kernel, self.initrd, other))
        self.virsh = Virsh(os.path.join(self.dir, "root"))
        self.addCleanup(self.virsh.close)
        self.assertEqual(self.v(f"define {self.dir}/g.xml"), "")
        self.assertEqual(self.v("start g", 120), "")
        self.addCleanup(self.v, "destroy g")
        self.check_sandbox()
        self.open_console()
        self.console.shell(self.console)

    def check_sandbox(self):
        """libvirt has its machines in a sandbox where query-command-line-options tells of one."""
        pidfile, = glob.glob(f"{self.dir}/root/**/g.pid", recursive=True)
        with open(pidfile, encoding="ascii") as file:
            pid = file.read().strip()
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            self.assertRegex(file.read(), r"(?m)^Seccomp:\t2$")

    def v(self, command, timeout=60):
        return self.virsh.run(command, timeout)

    def open_console(self):
        self.console = Console(self.v("ttyconsole g"))
        self.addCleanup(self.console.close)

    def state(self):
        return self.v("domstate g --reason")

    def await_state(self, text):
        end = time.monotonic() + 60 * TIME_FACTOR
        while self.state() != text and time.monotonic() < end:
            time.sleep(0.05)
        self.assertEqual(self.state(), text)

    def life(self):
        """Stop, go on, look, change, save, come back, end."""
        self.assertEqual(self.state(), "running (booted)")
        self.assertEqual(self.v("suspend g"), "")
        self.assertEqual(self.state(), "paused (user)")
        self.assertEqual(self.v("resume g"), "")
        self.assertEqual(self.state(), "running (unpaused)")
        self.assertIn("vcpu.current=2", self.v("domstats g"))
        self.assertRegex(self.v("vcpuinfo g"), r"VCPU: +1\n")
        self.assertIn("DISKA", self.console.run("cat /sys/block/vda/serial"))

        self.assertEqual(self.v("setmem g 200M --live"), "")
        end = time.monotonic() + 60 * TIME_FACTOR
        while "actual 204800" not in self.v("dommemstat g") and time.monotonic() < end:
            time.sleep(0.1)
        self.assertIn("actual 204800", self.v("dommemstat g"))

        self.assertEqual(self.v("blockresize g vdb 128M"), "")
        self.assertIn("262144", self.console.run("cat /sys/block/vdb/size"))

        self.console.run("echo kept > /kept; dd if=/dev/zero of=/dev/vda count=8 2>&1")
        self.assertEqual(self.v(f"save g {self.dir}/saved", 120), "")
        self.assertEqual(self.state(), "shut off (saved)")
        self.assertEqual(self.v(f"restore {self.dir}/saved", 120), "")
        self.assertEqual(self.state(), "running (restored)")
        self.open_console()
        self.console.send("\n")
        self.console.shell(self.console)
        self.assertEqual(self.console.run("cat /kept"), "kept\n")

        self.assertEqual(self.v(f"dump g {self.dir}/core --memory-only", 120), "")
        with open(f"{self.dir}/core", "rb") as f:
            self.assertEqual(f.read(4), b"\x7fELF")
        self.assertEqual(self.state(), "running (unpaused)")

        self.assertEqual(self.v("reset g"), "")
        self.console.shell(self.console)
        self.assertIn("can't open", self.console.run("cat /kept 2>&1"))
        self.console.send("poweroff -f\n")
        self.await_state("shut off (shutdown)")

    def test_q35(self):
        self.start("q35")
        self.life()

    def test_pc(self):
        self.start("pc")
        self.life()

    def test_hot_plug(self):
        self.start("q35")
        with open(f"{self.dir}/c.raw", "wb") as f:
            f.write(b"hot plugged".ljust(1 << 20, b"\0"))
        for _ in range(2):
            self.assertNotIn("error", self.v(f"attach-disk g {self.dir}/c.raw vdc --live --subdriver raw"))
            self.console.run("until [ -e /dev/vdc ]; do sleep 0.1; done")
            self.assertIn("hot plugged", self.console.run("head -c 11 /dev/vdc; echo"))
            self.v("detach-disk g vdc --live", 90)
            self.console.run("until [ ! -e /dev/vdc ]; do sleep 0.1; done")
            end = time.monotonic() + 60 * TIME_FACTOR
            while "vdc" in self.v("domblklist g") and time.monotonic() < end:
                time.sleep(0.1)
            self.assertNotIn("vdc", self.v("domblklist g"))

        self.assertEqual(self.v("setvcpus g 3 --live"), "")
        self.console.run("until echo 1 > /sys/devices/system/cpu/cpu2/online; do sleep 0.1; done 2>/dev/null")
        self.assertEqual(self.console.run("cat /sys/devices/system/cpu/online"), "0-2\n")
        self.assertEqual(self.v("setvcpus g 2 --live", 90), "")
        self.assertEqual(self.console.run("cat /sys/devices/system/cpu/online"), "0-1\n")

        with open(f"{self.dir}/dimm.xml", "w") as f:
            f.write("<memory model='dimm'><target><size unit='MiB'>128</size><node>0</node></target></memory>")
        before = int(self.console.run("ls -d /sys/devices/system/memory/memory[0-9]* | wc -l"))
        self.assertEqual(self.v(f"attach-device g {self.dir}/dimm.xml --live"), "")
        self.console.run(f"until [ $(ls -d /sys/devices/system/memory/memory[0-9]* | wc -l) -gt {before} ]; "
                         "do sleep 0.1; done")
        self.assertIn("balloon.maximum=393216", self.v("domstats g --balloon"))

    def test_media(self):
        self.start("pc")
        cd = "head -c 4 /dev/sr0 2>&1; echo"
        self.assertEqual(self.console.run(cd), "CD 1\n")
        self.assertIn("Successfully ejected", self.v("change-media g hda --eject"))
        self.assertIn("No medium", self.console.run(cd))
        self.assertIn("Successfully inserted", self.v(f"change-media g hda {self.dir}/cd2 --insert"))
        self.console.run("until head -c 1 /dev/sr0 2>/dev/null; do sleep 0.1; done")
        self.assertEqual(self.console.run(cd), "CD 2\n")

    def test_snapshots(self):
        self.start("q35", "qcow2")
        self.console.run("echo before > /mark; dd if=/mark of=/dev/vdb conv=sync,fsync 2>/dev/null")
        self.assertNotIn("error", self.v("snapshot-create-as g inside", 90))
        self.console.run("echo after > /mark; dd if=/mark of=/dev/vdb conv=sync,fsync 2>/dev/null")
        self.assertEqual(self.v("snapshot-revert g inside", 90), "")
        self.open_console()
        self.console.send("\n")
        self.console.shell(self.console)
        self.assertEqual(self.console.run("cat /mark; head -n 1 /dev/vdb"), "before\nbefore\n")
        self.assertNotIn("error", self.v("snapshot-delete g inside", 90))

        self.assertNotIn("error", self.v("snapshot-create-as g outside --atomic --disk-only", 90))
        self.assertIn("a.outside", self.v("domblklist g"))
        self.console.run("echo over > /mark; dd if=/mark of=/dev/vdb conv=sync,fsync 2>/dev/null")
        self.v("destroy g")
        for name, text in (("b.qcow2", b"before\n"), ("b.outside", b"over\n")):
            out = subprocess.run(["qemu-img", "dd", "-U", "-O", "raw", "bs=512", "count=1",
                                  f"if={self.dir}/{name}", f"of={self.dir}/sector"], capture_output=True)
            self.assertEqual(out.returncode, 0, out.stderr)
            with open(f"{self.dir}/sector", "rb") as f:
                self.assertTrue(f.read().startswith(text), name)

    def test_panic(self):
        """The guest's own panic becomes libvirt's state and its action."""
        self.start("q35")
        self.console.send("echo c > /proc/sysrq-trigger\n")
        self.await_state("shut off (crashed)")


def main():
    for name in "virsh", "qemu-img":
        if not shutil.which(name):
            print(f"skipped: there is no {name}")
            return 77
    with tempfile.TemporaryDirectory(prefix="godwit-libvirt-") as folder:
        try:
            kernel = initramfs.Kernel("generic")
            modules = ["virtio_pci", "virtio_blk", "virtio_net", "virtio_balloon", "virtio_console", "pvpanic_mmio",
                       "pvpanic", "i6300esb", "ahci", "ata_piix", "cdrom", "sr_mod"]
            Libvirt.kernel, Libvirt.initrd = kernel.image, initramfs.make(
                folder, kernel, modules, rc="load " + " ".join(modules) + "\n")
        except initramfs.Missing as e:
            print(f"skipped: {e}")
            return 77
        try:
            virsh = Virsh(os.path.join(folder, "root"))
            version = virsh.run("version")
            virsh.close()
        except EOFError as e:
            version = str(e)
        if "Using library" not in version:
            print(f"skipped: libvirt's driver does not start here: {version}")
            return 77
        result = unittest.main(argv=sys.argv[:1], verbosity=2, exit=False).result
        return not result.wasSuccessful()


if __name__ == "__main__":
    sys.exit(main())
