#!/usr/bin/env python3
"""Linux with its own virtio drivers: each device does its work for it.

Needs what scripts/get-kernel gets; skips and says so where that can't be had.
"""
import hashlib
import os
import re
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import unittest

import initramfs
from godwit import Machine


class Linux(initramfs.Shell, unittest.TestCase):
    image = initrd = None

    def setUp(self):
        handle, self.disk = tempfile.mkstemp(prefix="godwit-linux-")
        os.ftruncate(handle, 64 << 20)
        os.close(handle)
        self.addCleanup(os.unlink, self.disk)

    def boot(self, *args):
        m = Machine("-m", "256", "-kernel", self.image, "-initrd", self.initrd, "-append",
                    "console=ttyS0 quiet", *args)
        self.addCleanup(m.close)
        self.shell(m)
        return m

    def md5(self, m, path):
        return re.search(r"[0-9a-f]{32}", self.command(m, f"md5sum {path}")).group()

    def host_md5(self, size):
        with open(self.disk, "rb") as file:
            return hashlib.md5(file.read(size)).hexdigest()

    def copy_and_compare(self, *device):
        m = self.boot("-smp", "2", "-blockdev", f"file,node-name=d0,filename={self.disk}",
                      "-device", ",".join(["virtio-blk-pci,drive=d0,serial=ABC", *device]))
        self.assertIn("ABC", self.command(m, "cat /sys/block/vda/serial"))
        self.command(m, "head -c 8000000 /dev/urandom >/tmp/x; head -c 388608 /dev/zero >>/tmp/x")
        self.command(m, "dd if=/tmp/x of=/dev/vda bs=64k conv=fsync")
        want = self.md5(m, "/tmp/x")
        self.assertEqual(self.host_md5(8388608), want)
        self.command(m, "echo 3 >/proc/sys/vm/drop_caches")
        self.assertEqual(self.md5(m, "/dev/vda"), self.host_md5(64 << 20))
        return m

    def test_disk(self):
        m = self.copy_and_compare()
        self.assertIn("virtio", self.command(m, "grep virtio1-req /proc/interrupts; echo virtio"))
        m.qmp.command("block_resize", node_name="d0", size=80 << 20)
        self.command(m, "until [ $(cat /sys/block/vda/size) = 163840 ]; do sleep 0.1; done")

    def test_disk_packed(self):
        self.copy_and_compare("packed=on,num-queues=2")

    def test_disk_legacy(self):
        m = self.copy_and_compare("disable-modern=on")
        features = self.command(m, "cat /sys/bus/virtio/devices/virtio0/features")
        self.assertEqual(features.strip()[32], "0")  # not VERSION_1

    def test_disk_plain(self):
        self.copy_and_compare("event_idx=off,indirect_desc=off,vectors=0")

    def test_microvm(self):
        """No PCI, none of a PC's timers: devices in slots that ACPI tells of, and each way to end."""
        m = self.boot("-M", "microvm,x-option-roms=off,pit=off,pic=off,rtc=off", "-smp", "2",
                      "-drive", f"file={self.disk},format=raw", "-device", "virtio-rng-device,packed=on")
        self.assertEqual(self.command(m, "ls /sys/bus/pci/devices 2>/dev/null").strip(), "")
        self.assertIn("virtio_rng", self.command(m, "cat /sys/class/misc/hw_random/rng_current"))
        self.command(m, "head -c 8000000 /dev/urandom >/tmp/x; head -c 388608 /dev/hwrng >>/tmp/x")
        self.command(m, "dd if=/tmp/x of=/dev/vda bs=64k conv=fsync")
        self.assertEqual(self.host_md5(8388608), self.md5(m, "/tmp/x"))
        self.command(m, "echo 3 >/proc/sys/vm/drop_caches")
        self.assertEqual(self.md5(m, "/dev/vda"), self.host_md5(64 << 20))
        self.assertRegex(self.command(m, "cat /proc/interrupts"), r"16:.*IO-APIC.*virtio0")
        m.qmp.command("block_resize", device="virtio0", size=80 << 20)
        self.command(m, "until [ $(cat /sys/block/vda/size) = 163840 ]; do sleep 0.1; done")
        m.send("reboot\n")
        m.expect("Restarting system", 60)
        self.assertEqual(m.qmp.event("RESET", 60)["data"]["reason"], "guest-reset")
        self.shell(m)
        m.qmp.command("system_powerdown")
        self.assertEqual(m.qmp.event("SHUTDOWN", 60)["data"]["reason"], "guest-shutdown")

    def test_io_error(self):
        m = self.boot("-blockdev", f"file,node-name=d0,filename={self.disk}",
                      "-device", "virtio-blk-pci,drive=d0,werror=stop")
        pid = m.process.pid
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (4 << 20, resource.RLIM_INFINITY))
        self.command(m, "head -c 8388608 /dev/urandom >/tmp/x")
        m.send("dd if=/tmp/x of=/dev/vda bs=64k conv=fsync && echo done with it\n")
        m.qmp.event("BLOCK_IO_ERROR", 60)
        m.qmp.event("STOP")
        resource.prlimit(pid, resource.RLIMIT_FSIZE,
                         (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        while m.qmp.command("query-status")["status"] == "io-error":
            m.qmp.command("cont")
        m.expect("\ndone with it", 60)
        self.shell(m)
        self.assertEqual(self.host_md5(8388608), self.md5(m, "/tmp/x"))
        self.assertEqual(self.command(m, "dmesg | grep -c 'I/O error'").strip(), "0")

    def test_rng(self):
        m = self.boot("-object", "rng-random,id=r,filename=/dev/urandom", "-device",
                      "virtio-rng-pci,rng=r")
        self.assertIn("virtio_rng", self.command(m, "cat /sys/class/misc/hw_random/rng_current"))
        a, b = (self.command(m, "head -c 64 /dev/hwrng | md5sum") for _ in range(2))
        self.assertNotEqual(a, b)

    def test_qcow2(self):
        """A file system's worth of writes on an image that qemu-img made and checks."""
        if not shutil.which("qemu-img"):
            self.skipTest("qemu-img is not there")
        image = self.disk + ".qcow2"
        self.addCleanup(os.unlink, image)
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", image, "64M"], check=True)
        m = self.boot("-smp", "2", "-drive", f"file={image},if=virtio,format=qcow2,discard=unmap")
        self.command(m, "head -c 8388608 /dev/urandom >/tmp/x; mkfs.ext2 /dev/vda")
        self.command(m, "mkdir /m; mount -t ext2 /dev/vda /m || mount -t ext4 /dev/vda /m")
        self.command(m, "dd if=/tmp/x of=/dev/vda bs=64k seek=512 conv=fsync")
        want = self.md5(m, "/tmp/x")
        self.command(m, "sync; umount /m; echo 3 >/proc/sys/vm/drop_caches")
        self.command(m, "dd if=/dev/vda bs=64k skip=512 count=128 of=/tmp/y")
        self.assertEqual(self.md5(m, "/tmp/y"), want)
        m.qmp.command("stop")
        m.close()
        subprocess.run(["qemu-img", "check", "-q", image], check=True)
        raw = subprocess.run(["qemu-img", "dd", "-f", "qcow2", "-O", "raw", "bs=65536", "skip=512",
                              "count=640", f"if={image}", f"of={self.disk}"], check=True)
        self.assertEqual(raw.returncode, 0)
        self.assertEqual(self.host_md5(8388608), want)

    def test_serial(self):
        with tempfile.TemporaryDirectory(prefix="godwit-port-") as folder:
            path = os.path.join(folder, "port")
            m = self.boot("-chardev", f"socket,id=c,path={path},server=on,wait=off", "-device",
                          "virtio-serial-pci", "-device",
                          "virtserialport,chardev=c,id=channel0,name=org.example.0")
            self.assertEqual(self.command(m, "cat /sys/class/virtio-ports/vport*/name").strip(),
                             "org.example.0")
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(path)
            sock.settimeout(60)
            m.send("head -n 1 /dev/vport0p1; echo good-bye >/dev/vport0p1\n")
            self.assertEqual(m.qmp.event("VSERPORT_CHANGE", 60)["data"],
                             {"id": "channel0", "open": True})
            sock.sendall(b"hello from outside\n")
            m.expect("hello from outside")
            self.assertEqual(sock.makefile("rb").readline(), b"good-bye\n")
            self.assertFalse(m.qmp.event("VSERPORT_CHANGE", 60)["data"]["open"])
            sock.close()

    def test_balloon(self):
        m = self.boot("-device", "virtio-balloon-pci")
        small, large = 160 << 20, 256 << 20
        for value in (small, large):
            m.qmp.command("balloon", value=value)
            while m.qmp.event("BALLOON_CHANGE", 120)["data"]["actual"] != value:
                pass
            self.assertEqual(m.qmp.command("query-balloon"), {"actual": value})
            total = int(re.search(r"MemTotal: *(\d+)", self.command(m, "cat /proc/meminfo")).group(1))
            self.assertLess(total * 1024, value)

    def test_balloon_statistics(self):
        m = self.boot("-device", "virtio-balloon-pci,id=b")
        path = "/machine/peripheral/b"
        m.qmp.command("qom-set", path=path, property="guest-stats-polling-interval", value=1)

        def stats():
            return m.qmp.command("qom-get", path=path, property="guest-stats")
        seen = set()
        while len(seen) < 3:
            self.assertIsNotNone(self.command(m, "echo tick"))
            seen.add(stats()["last-update"])
            if len(seen) == 2:
                m.qmp.command("stop")  # the buffer goes back, and is found again
                m.qmp.command("cont")
        total = int(re.search(r"MemTotal: *(\d+)", self.command(m, "cat /proc/meminfo")).group(1))
        self.assertEqual(stats()["stats"]["stat-total-memory"], total * 1024)

    def test_reset(self):
        """The devices work again after a reset in the middle of work."""
        m = self.boot("-drive", f"file={self.disk},if=virtio,format=raw", "-device",
                      "virtio-rng-pci")
        m.send("cat /dev/hwrng >/dev/null & dd if=/dev/urandom of=/dev/vda bs=64k count=1000\n")
        m.expect("count=1000\r\n")  # or the next life's shell reads it
        m.qmp.command("system_reset")
        m.expect("BusyBox", initramfs.BOOT_S)
        self.shell(m)
        self.command(m, "echo 12345 | dd of=/dev/vda conv=fsync")
        with open(self.disk, "rb") as file:
            self.assertEqual(file.read(6), b"12345\n")


def main():
    with tempfile.TemporaryDirectory(prefix="godwit-linux-") as folder:
        try:
            kernel = initramfs.Kernel()
            Linux.image, Linux.initrd = kernel.image, initramfs.make(folder, kernel)
        except initramfs.Missing as e:
            print(f"skipped: {e}")
            return 77
        program = unittest.main(verbosity=2, exit=False, argv=[sys.argv[0]] + sys.argv[1:])
        return 0 if program.result.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main())
