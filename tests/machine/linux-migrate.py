#!/usr/bin/env python3
"""A Linux guest that checks its memory and appends to a log on its disk goes from process to process: no line
is lost or comes twice, and the sums are right. MOVES=N has it go N times for each number of CPUs, with most of
its memory in use."""
import itertools
import os
import re
import socket
import sys
import tempfile
import time
import unittest

import godwit
import initramfs
from godwit import Machine

LIMIT = 120 * godwit.TIME_FACTOR
MOVES = int(os.environ.get("MOVES", "0"))
RAM, FILE = (192, 54) if MOVES else (192, 8)  # MiB; two of such files lie in memory
MODULES = ["virtio_pci", "virtio_blk"]
# A file of memory is copied and summed up, then a sector of the disk gets the number of the round.
WORK = f"""#!/bin/sh
dd if=/dev/urandom of=/tmp/a bs=1M count={FILE} 2>/dev/null
want=$(md5sum </tmp/a)
n=0
while [ ! -e /tmp/stop ]; do
    n=$((n + 1))
    cp /tmp/a /tmp/b
    [ "$(md5sum </tmp/b)" = "$want" ] || echo "BAD SUM at $n"
    printf '%-511s\\n' "$n" | dd of=/dev/vda bs=512 seek=$n conv=notrunc,fsync 2>/dev/null || echo "BAD DISK at $n"
    echo "round $n."
done
"""


class Travels(initramfs.Shell, unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="godwit-test-")
        self.addCleanup(folder.cleanup)
        self.dir = folder.name
        self.disk = os.path.join(self.dir, "disk")
        with open(self.disk, "wb") as file:
            file.truncate(8 << 20)

    def machine(self, *args):
        m = Machine("-smp", str(self.cpus), "-cpu", "qemu64,-pni", "-m", str(RAM), "-kernel",
                    self.kernel.image, "-initrd", self.initrd, "-append", "console=ttyS0 quiet",
                    "-blockdev", f"driver=file,node-name=d0,filename={self.disk}",
                    "-device", "virtio-blk-pci,drive=d0", *args)
        self.addCleanup(m.close)
        return m

    def wait_status(self, m, command, name, value):
        end = time.monotonic() + LIMIT
        while (now := m.qmp.command(command).get("status")) != value:
            if now == "failed" or time.monotonic() > end:
                self.fail(f"{name}: {m.qmp.command(command)} instead of {value}; {m.errors}")
            time.sleep(0.05)

    def move(self, source, how):
        """To another process; the first one ends."""
        path = os.path.join(self.dir, how)
        source.qmp.command("migrate-set-capabilities", capabilities=[
            {"capability": "return-path", "state": how in ("unix", "fd")},
            {"capability": "events", "state": True}])
        source.qmp.command("migrate-set-parameters", max_bandwidth=1 << 30)
        to = None
        if how == "exec":
            uri = f"exec:cat >{path}"
        else:
            to = self.machine("-incoming", "defer")
            uri = {"unix": f"unix:{path}", "tcp": "tcp:127.0.0.1:0", "fd": "fd:m"}[how]
        if how == "fd":
            for side, sock in zip((source, to), socket.socketpair()):
                socket.send_fds(side.qmp.sock, [b'{"execute": "getfd", "arguments": {"fdname": "m"}}'],
                                [sock.fileno()])
                self.assertEqual(side.qmp.read(), {"return": {}})
                sock.close()
        if to:
            to.qmp.command("migrate-incoming", uri=uri)
        if how == "tcp":
            uri = "tcp:127.0.0.1:" + to.qmp.command("query-migrate")["socket-address"][0]["port"]
        source.qmp.command("migrate", uri=uri)
        self.wait_status(source, "query-migrate", how, "completed")
        passes = source.qmp.command("query-migrate")["ram"]["dirty-sync-count"]
        self.assertGreaterEqual(passes, 2)
        if not to:
            to = self.machine("-incoming", f"exec:cat {path}")
        self.wait_status(to, "query-status", how, "running")
        source.qmp.command("quit")
        self.assertEqual(source.wait(), 0)
        self.text += source.output
        return to

    def travel(self, cpus, ways):
        self.cpus, self.text = cpus, b""
        m = self.machine()
        self.shell(m)
        m.send("sh /work\n")
        m.expect(r"round 2\.", LIMIT)
        for how in itertools.islice(itertools.cycle(ways), MOVES) if MOVES else ways:
            m = self.move(m, how)
            m.expect(r"round \d+\.\r\nround \d+\.", LIMIT)
        m.send("\x03")
        self.shell(m)
        m.send("sync; poweroff -f\n")
        self.assertEqual(m.wait(LIMIT), 0)
        text = (self.text + m.output).decode(errors="replace")
        self.assertNotIn("BAD", text)
        rounds = [int(n) for n in re.findall(r"^round (\d+)\.\r$", text, re.MULTILINE)]
        self.assertEqual(rounds, list(range(1, len(rounds) + 1)))
        with open(self.disk, "rb") as file:
            for n in rounds:
                file.seek(512 * n)
                self.assertEqual(file.read(512).strip(), str(n).encode())

    def test_one_cpu(self):
        self.travel(1, ("unix", "exec", "tcp", "fd"))

    def test_two_cpus(self):
        self.travel(2, ("fd", "unix", "tcp", "exec") if MOVES else ("fd", "unix"))


if __name__ == "__main__":
    try:
        with tempfile.TemporaryDirectory(prefix="godwit-test-") as folder:
            Travels.kernel = initramfs.Kernel()
            work = os.path.join(folder, "work")
            with open(work, "w", encoding="ascii") as file:
                file.write(WORK)
            Travels.initrd = initramfs.make(folder, Travels.kernel, MODULES, {"/work": work},
                                            rc="mount -t tmpfs -o size=80% tmpfs /tmp 2>/dev/null\nload virtio_pci virtio_blk\n")
            unittest.main(verbosity=2)
    except initramfs.Missing as why:
        print(f"skipped: {why}")
        sys.exit(77)
