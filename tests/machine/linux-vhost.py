#!/usr/bin/env python3
"""The host's kernel serves virtqueues (vhost). The host is a Linux guest of Godwit's own, the outer one, whose
kernel has what such a kernel needs: there Godwit runs another, the inner one, on its software CPU. The inner
machine's QMP socket and serial port are reached through the outer one's network.

Needs what scripts/get-kernel gets; skips and says so where that can't be had.
"""
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import godwit
import initramfs
from godwit import TIME_FACTOR

VSOCK = os.environ["VSOCK"]
BYTES = 300000
QMP_PORT, SERIAL_PORT = 4444, 4445
INNER_BOOT_S = 240
OUTER_RC = """load virtio_pci virtio_net vhost_vsock vhost_net tun
ip link set lo up
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
vsock listen 2000 md5sum &
vsock listen 2001 sleep 1000 &
"""
INNER_RC = """load virtio_pci virtio_net vmw_vsock_virtio_transport
ip link set lo up
vsock listen 1000 md5sum &
"""
# A command line of its own: the shell breaks long ones.
INNER = """#!/bin/sh
exec godwit -M q35 -m 160 -display none -kernel /inner/vmlinuz -initrd /inner/initrd \\
    -append "console=ttyS0 quiet" -qmp tcp:0.0.0.0:4444,server=on,wait=off \\
    -serial tcp:0.0.0.0:4445,server=on,wait=off "$@" >/tmp/log 2>&1 </dev/null
"""


def libraries(program):
    out = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    return {path: os.path.realpath(path) for path in re.findall(r"(/\S+) \(0x", out)}


def make(folder, kernel):
    """The outer guest's initramfs, which has the inner one's and Godwit in it."""
    modules = ["virtio_pci", "virtio_net"]
    files = {"/bin/vsock": VSOCK}
    inner = initramfs.make(folder + "/inner", kernel, files=files, rc=INNER_RC,
                           modules=modules + ["vmw_vsock_virtio_transport"])
    script = os.path.join(folder, "inner.sh")
    with open(script, "w", encoding="ascii") as f:
        f.write(INNER)
    os.chmod(script, 0o755)
    files.update(libraries(godwit.GODWIT))
    files.update({"/bin/start-inner": script, "/bin/godwit": godwit.GODWIT, "/inner/vmlinuz": kernel.image, "/inner/initrd": inner})
    return initramfs.make(folder + "/outer", kernel, files=files, rc=OUTER_RC,
                          modules=modules + ["vhost_vsock", "vhost_net", "tun"])


def connect(port):
    """The outer guest takes connections for the inner machine as soon as its network is up."""
    end = time.monotonic() + 60 * TIME_FACTOR
    while True:
        sock = socket.create_connection(("127.0.0.1", port))
        sock.settimeout(2 * TIME_FACTOR)
        try:
            first = sock.recv(65536)
        except TimeoutError:
            first = b""
        except OSError:
            first = None
        if first:
            return sock, first
        sock.close()
        if time.monotonic() > end:
            raise TimeoutError(f"nobody at port {port}")
        time.sleep(0.2)


class Qmp(godwit.Qmp):
    def __init__(self, port):
        self.sock, _ = connect(port)  # the greeting
        self.file = self.sock.makefile("rb")
        self.events = []
        self.command("qmp_capabilities")


class Console(godwit.Machine):
    """The inner machine as seen from outside: only what expect() and send() need."""

    def __init__(self, qmp_port, serial_port):
        self.output = self.errors = b""
        self.at = 0
        self.condition = threading.Condition()
        self.qmp = Qmp(qmp_port)
        self.sock = socket.create_connection(("127.0.0.1", serial_port))
        threading.Thread(target=self._drain, args=(self.sock, "output"), daemon=True).start()

    def close(self):
        self.qmp.sock.close()
        self.sock.close()

    def send(self, text):
        self.sock.sendall(text.encode())


class Vhost(initramfs.Shell, unittest.TestCase):
    kernel = initrd = None

    def setUp(self):
        with socket.create_server(("127.0.0.1", 0)) as a, socket.create_server(("127.0.0.1", 0)) as b:
            self.ports = [a.getsockname()[1], b.getsockname()[1]]
        forward = ",".join(f"hostfwd=tcp:127.0.0.1:{at}-10.0.2.15:{to}"
                           for at, to in zip(self.ports, (QMP_PORT, SERIAL_PORT)))
        self.outer = godwit.Machine("-m", "1024", "-kernel", self.kernel.image, "-initrd", self.initrd,
                                    "-append", "console=ttyS0 quiet", "-netdev", f"user,id=u,{forward}",
                                    "-device", "virtio-net-pci,netdev=u")
        self.addCleanup(self.outer.close)
        self.shell(self.outer)
        if "/dev/vhost-vsock" not in self.command(self.outer, "ls /dev/vhost*"):
            self.skipTest("the kernel has no vhost")

    def start(self, *args):
        """Begins the inner machine, in the background of the outer shell."""
        self.command(self.outer, "start-inner " + " ".join(args) + " &")
        try:
            inner = Console(*self.ports)
        except TimeoutError as error:
            error.add_note(self.log())
            raise
        self.addCleanup(inner.close)
        return inner

    def log(self):
        return self.command(self.outer, "cat /tmp/log")

    def send_by_vsock(self, m, cid, port):
        """From that machine to the other, which answers with what it got."""
        self.command(m, f"head -c {BYTES} /dev/urandom >/tmp/x")
        want = self.command(m, "md5sum </tmp/x").split()[0]
        got = self.command(m, f"vsock connect {cid} {port} </tmp/x").split()
        self.assertEqual(got[:1], [want], self.log())

    def vsock_works(self, inner):
        self.send_by_vsock(inner, 2, 2000)
        self.send_by_vsock(self.outer, 3, 1000)


class Vsock(Vhost):
    def test_vsock(self):
        inner = self.start("-device vhost-vsock-pci,guest-cid=3,id=v0")
        self.shell(inner, INNER_BOOT_S)
        self.vsock_works(inner)
        self.refusals()
        # stopped and going on in the middle of a stream
        inner.send("head -c 1000000 /dev/urandom | tee /tmp/y | vsock connect 2 2000 >/tmp/z\n")
        for _ in range(5):
            inner.qmp.command("stop")
            inner.qmp.command("cont")
        self.shell(inner)
        self.assertRegex(self.command(inner, "echo $(cat /tmp/z; md5sum /tmp/y)"), r"^(\w{32}) - \1 ")
        # the driver lets go of the device, and takes it again
        driver = "/sys/bus/virtio/drivers/vmw_vsock_virtio_transport"
        name = self.command(inner, f"cd {driver}; ls -d virtio*").strip()
        self.command(inner, f"echo {name} >unbind; echo {name} >bind; cd /")
        self.vsock_works(inner)
        self.migrate(inner)

    def refusals(self):
        """What the kernel refuses, and what no kernel is asked for."""
        for device, text in (("guest-cid=3", "another guest has it"), ("guest-cid=2", "greater than 2"),
                             ("guest-cid=4,vhostfd=77", "'77' has not been found"),
                             ("guest-cid=4294967295", "32-bit number")):
            out = self.command(self.outer, "godwit -display none -S -kernel /inner/vmlinuz "
                                           f"-device vhost-vsock-pci,{device} 2>&1")
            self.assertIn(text, out)

    def migrate(self, inner):
        """A stream in a file, written while the guest works; the guest is told that its connections are gone."""
        self.command(inner, "(vsock connect 2 2001 </dev/null; echo it is gone) >/tmp/gone 2>&1 &")
        inner.qmp.command("migrate-set-parameters", max_bandwidth=1 << 20)
        inner.qmp.command("migrate", uri="exec:cat >/tmp/stream")
        self.vsock_works(inner)
        self.assertEqual(inner.qmp.command("query-migrate")["status"], "active")
        self.assertEqual(self.command(inner, "cat /tmp/gone"), "")
        inner.qmp.command("migrate-set-parameters", max_bandwidth=1 << 40)
        while (status := inner.qmp.command("query-migrate")["status"]) != "completed":
            self.assertIn(status, ("active", "device"))
            time.sleep(0.1)
        inner.qmp.command("quit")
        self.command(self.outer, "wait")  # the address is taken until its process is gone
        inner = self.start("-device vhost-vsock-pci,guest-cid=3,id=v0 -incoming 'exec:cat /tmp/stream'")
        inner.qmp.event("RESUME", 120)
        inner.send("\n")
        self.shell(inner)
        self.command(inner, "until grep gone /tmp/gone; do sleep 0.1; done")
        self.vsock_works(inner)


def main():
    with tempfile.TemporaryDirectory(prefix="godwit-linux-vhost-") as folder:
        try:
            Vhost.kernel = initramfs.Kernel()
            Vhost.initrd = make(folder, Vhost.kernel)
        except initramfs.Missing as why:
            print(f"skipped: {why}")
            return 77
        program = unittest.main(verbosity=2, exit=False, argv=[sys.argv[0]] + sys.argv[1:])
        return 0 if program.result.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main())
