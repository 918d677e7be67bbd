"""Debian's kernel on storage that fails: a full disk, and a quorum whose copies are damaged while it
runs."""
import os
import random
import shutil
import subprocess
import sys
import tempfile
import unittest

import initramfs
from godwit import Machine

DROP = "echo 3 >/proc/sys/vm/drop_caches; "
DISK = 48 << 20


class Storage(initramfs.Shell, unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="godwit-storage-")
        self.addCleanup(shutil.rmtree, self.folder)

    def path(self, name):
        return os.path.join(self.folder, name)

    def boot(self, *args):
        kernel = initramfs.Kernel("cloud")
        initrd = initramfs.make(self.folder, kernel, ["virtio_pci", "virtio_blk", "ext4"],
                                rc="load virtio_pci virtio_blk ext4\n")
        m = Machine("-M", "q35", "-m", "512", "-kernel", kernel.image, "-initrd", initrd, "-append",
                    "console=ttyS0 quiet cryptomgr.notests", *args)
        self.addCleanup(m.close)
        self.shell(m, 300)
        self.command(m, "while [ ! -b /dev/vda ]; do sleep 0.2; done; mkdir -p /mnt", 120)
        return m

    def md5(self, m, path):
        return self.command(m, DROP + f"md5sum <{path}", 240).split()[0]

    def test_full_disk(self):
        """The machine stops where the host's disk is full, and goes on when there is room."""
        place = self.path("small")
        os.mkdir(place)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8M", "tmpfs", place],
                          capture_output=True).returncode:
            self.skipTest("no tmpfs can be mounted here")
        self.addCleanup(subprocess.run, ["umount", "-l", place])
        image = os.path.join(place, "disk")
        with open(image, "wb") as file:
            file.truncate(DISK)
        m = self.boot("-drive", f"file={image},format=raw,if=none,id=d0",
                      "-object", "iothread,id=io",
                      "-device", "virtio-blk-pci,drive=d0,werror=enospc,iothread=io")
        self.command(m, "dd if=/dev/urandom of=/tmp/x bs=1M count=16 2>/dev/null", 240)
        m.send("dd if=/tmp/x of=/dev/vda bs=64k conv=fsync 2>/dev/null; echo dd=$?\n")
        event = m.qmp.event("BLOCK_IO_ERROR", timeout=240)["data"]
        self.assertEqual((event["device"], event["operation"], event["action"], event["nospace"],
                          event["reason"]),
                         ("d0", "write", "stop", True, "No space left on device"))
        m.qmp.event("STOP")
        self.assertEqual(m.qmp.command("query-status")["status"], "io-error")
        (drive,) = m.qmp.command("query-block")
        self.assertEqual(drive["io-status"], "nospace")
        subprocess.run(["mount", "-o", "remount,size=64M", place], check=True)
        m.qmp.command("cont")
        m.expect("dd=0\r\n", 240)
        self.assertEqual(self.md5(m, "/tmp/x"),
                         self.command(m, DROP + "head -c 16777216 /dev/vda | md5sum", 240).split()[0])
        self.assertEqual(m.qmp.command("query-block")[0]["io-status"], "ok")

    def damage(self, name, offset, length, seed):
        with open(self.path(name), "r+b") as file:
            file.seek(offset)
            file.write(random.Random(seed).randbytes(length))

    def quorum(self, *options):
        raw = self.path("fs.raw")
        with open(raw, "wb") as file:
            file.truncate(DISK)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-O", "^metadata_csum,^has_journal", raw], check=True)
        subprocess.run(["qemu-img", "convert", "-O", "qcow2", raw, self.path("c0")], check=True)
        args = []
        for n in range(3):
            if n:
                shutil.copy(self.path("c0"), self.path(f"c{n}"))
            args += ["-blockdev", f"raw,node-name=c{n},file.driver=file,file.filename="
                     + self.path(f"c{n}")]
        return self.boot(*args, "-blockdev", "quorum,node-name=q,vote-threshold=2,children.0=c0,"
                         "children.1=c1,children.2=c2,rewrite-corrupted=on",
                         "-blockdev", "qcow2,node-name=d,file=q",
                         "-device", "virtio-blk-pci,drive=d," + ",".join(options))

    def place_of_data(self):
        """Where the guest's file begins in the copies: each of its pages names itself."""
        with open(self.path("c0"), "rb") as file:
            return file.read().index(b"page 0000\n")

    def write_file(self, m):
        self.command(m, "mount -t ext4 /dev/vda /mnt")
        self.command(m, "i=0; while [ $i -lt 512 ]; do printf 'page %04d\\n%1014s' $i x; "
                        "i=$((i+1)); done >/mnt/file; sync", 240)
        return self.md5(m, "/mnt/file")

    def test_quorum(self):
        m = self.quorum("rerror=report")
        want = self.write_file(m)
        at = self.place_of_data()
        self.damage("c1", at, 65536, 1)
        self.assertEqual(self.md5(m, "/mnt/file"), want)
        event = m.qmp.event("QUORUM_REPORT_BAD")["data"]
        self.assertEqual((event["type"], event["node-name"]), ("read", "c1"))
        self.assertNotIn("error", event)
        first = event["sector-num"] * 512
        self.assertTrue(at - 65536 <= first < at + 65536, (event, at))
        # It is healed: all copies are the same again.
        copies = []
        for n in range(3):
            with open(self.path(f"c{n}"), "rb") as file:
                file.seek(at)
                copies.append(file.read(65536))
        self.assertEqual(copies[0], copies[1])
        self.assertEqual(copies[0], copies[2])
        # Two of three, each in its own way: nobody is believed, and nothing wrong is returned.
        self.damage("c0", at, 4096, 2)
        self.damage("c2", at, 4096, 3)
        out = self.command(m, DROP + "md5sum </mnt/file 2>&1; echo status=$?", 240)
        self.assertIn("I/O error", out)
        self.assertEqual(m.qmp.event("QUORUM_FAILURE")["data"]["reference"], "q")

    def test_quorum_stops(self):
        m = self.quorum("rerror=stop")
        want = self.write_file(m)
        at = self.place_of_data()
        with open(self.path("c0"), "rb") as file:
            file.seek(at)
            good = file.read(4096)
        self.damage("c0", at, 4096, 2)
        self.damage("c2", at, 4096, 3)
        m.send(DROP + "md5sum </mnt/file\n")
        m.qmp.event("QUORUM_FAILURE", timeout=120)
        event = m.qmp.event("BLOCK_IO_ERROR")["data"]
        self.assertEqual((event["operation"], event["action"]), ("read", "stop"))
        m.qmp.event("STOP")
        self.assertEqual(m.qmp.command("query-status")["status"], "io-error")
        for name in ("c0", "c2"):
            with open(self.path(name), "r+b") as file:
                file.seek(at)
                file.write(good)
        m.qmp.command("cont")
        m.expect(want, 240)


if __name__ == "__main__":
    for tool in ("qemu-img", "mkfs.ext4"):
        if not shutil.which(tool):
            print(f"skipped: {tool} is not there")
            sys.exit(77)
    try:
        initramfs.Kernel("cloud")
    except initramfs.Missing as e:
        print("skipped:", e)
        sys.exit(77)
    unittest.main(verbosity=2)
