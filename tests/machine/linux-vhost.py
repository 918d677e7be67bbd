#!/usr/bin/env python3
"""The host's kernel serves virtqueues (vhost). The host is a Linux guest of Godwit's own, the outer one, whose
kernel has what such a kernel needs: there Godwit runs another, the inner one, on its software CPU. The inner
machine's QMP socket and serial port are reached through the outer one's network.

Needs what scripts/get-kernel gets; skips and says so where that can't be had.
"""
import contextlib
import os
import re
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import godwit
import initramfs
import qtest
import virtio
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
nc -ll -p 2000 -e /bin/md5sum &
"""
INNER_RC = """load virtio_pci virtio_net vmw_vsock_virtio_transport
ip link set lo up
vsock listen 1000 md5sum &
nc -ll -p 1000 -e /bin/md5sum &
"""
# A command line of its own: the shell breaks long ones.
INNER = """#!/bin/sh
exec godwit -M q35 -m 160 -display none -kernel /inner/vmlinuz -initrd /inner/initrd \\
    -append "console=ttyS0 quiet" -qmp tcp:0.0.0.0:4444,server=on,wait=off \\
    -serial tcp:0.0.0.0:4445,server=on,wait=off "$@" >/tmp/log 2>&1 </dev/null
"""
DOOR = """#!/bin/sh
port=$1
shift
exec godwit -M q35 -m 96 -display none -accel qtest -qtest tcp:10.0.2.2:$port -kernel /inner/vmlinuz \\
    -d guest_errors "$@" >/tmp/log 2>&1 </dev/null
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
    for name, text in ("start-inner", INNER), ("start-door", DOOR):
        script = os.path.join(folder, name)
        with open(script, "w", encoding="ascii") as f:
            f.write(text)
        os.chmod(script, 0o755)
        files["/bin/" + name] = script
    files.update(libraries(godwit.GODWIT))
    files.update({"/bin/godwit": godwit.GODWIT, "/inner/vmlinuz": kernel.image, "/inner/initrd": inner})
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
        self.thread = threading.Thread(target=self._drain, args=(self.sock, "output"), daemon=True)
        self.thread.start()

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

    def migrate(self, inner, busy, *args):
        """Into a file, while the guest is busy(), and out of it."""
        inner.qmp.command("migrate-set-parameters", max_bandwidth=1 << 20)
        inner.qmp.command("migrate", uri="exec:cat >/tmp/stream")
        busy()
        self.assertEqual(inner.qmp.command("query-migrate")["status"], "active")
        inner.qmp.command("migrate-set-parameters", max_bandwidth=1 << 40)
        while (status := inner.qmp.command("query-migrate")["status"]) != "completed":
            self.assertIn(status, ("active", "device"))
            time.sleep(0.1)
        inner.qmp.command("quit")
        self.command(self.outer, "wait")  # an address is taken until its process is gone
        inner = self.start(*args, "-incoming 'exec:cat /tmp/stream'")
        inner.qmp.event("RESUME", 120)
        inner.send("\n")
        self.shell(inner)
        return inner

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
        inner = self.start("-m 160,slots=1,maxmem=1G -device vhost-vsock-pci,guest-cid=3,id=v0")
        self.shell(inner, INNER_BOOT_S)
        self.vsock_works(inner)
        self.refusals()
        # memory that comes while the kernel is at work
        before = self.command(inner, "grep -c . /proc/iomem; grep 'System RAM' /proc/iomem")
        inner.qmp.command("object-add", qom_type="memory-backend-ram", id="m0", size=128 << 20)
        inner.qmp.command("device_add", driver="pc-dimm", id="d0", memdev="m0")
        self.command(inner, "until ls /sys/bus/acpi/devices | grep PNP0C80; do sleep 0.1; done")
        self.assertNotEqual(self.command(inner, "grep -c . /proc/iomem; grep 'System RAM' /proc/iomem"), before)
        self.vsock_works(inner)
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

    def refusals(self):
        """What the kernel refuses, and what no kernel is asked for."""
        for device, text in (("guest-cid=3", "another guest has it"), ("guest-cid=2", "greater than 2"),
                             ("guest-cid=4,vhostfd=77", "'77' has not been found"),
                             ("guest-cid=4294967295", "32-bit number")):
            out = self.command(self.outer, "godwit -display none -S -kernel /inner/vmlinuz "
                                           f"-device vhost-vsock-pci,{device} 2>&1")
            self.assertIn(text, out)

    def test_microvm(self):
        """Without PCI: the interrupt is a line of the board's."""
        inner = self.start("-M microvm -device vhost-vsock-device,guest-cid=3")
        self.shell(inner, INNER_BOOT_S)
        self.vsock_works(inner)

    def test_reset_of_connections(self):
        """The guest that comes out of a stream is told that its connections are gone."""
        inner = self.start("-device vhost-vsock-pci,guest-cid=3,id=v0")
        self.shell(inner, INNER_BOOT_S)
        self.command(inner, "(vsock connect 2 2001 </dev/null; echo it is gone) >/tmp/gone 2>&1 &")

        def busy():
            self.vsock_works(inner)
            self.assertEqual(self.command(inner, "cat /tmp/gone"), "")

        inner = self.migrate(inner, busy, "-device vhost-vsock-pci,guest-cid=3,id=v0")
        self.command(inner, "until grep gone /tmp/gone; do sleep 0.1; done")
        self.vsock_works(inner)


class Door(qtest.Door):
    """A register door in the outer machine: its devices, without a processor."""

    def __init__(self, test, *args):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(60 * TIME_FACTOR)
            port = listener.getsockname()[1]
            test.command(test.outer, f"start-door {port} " + " ".join(args) + " &")
            self.sock, _ = listener.accept()
        self.sock.settimeout(60 * TIME_FACTOR)
        self.file = self.sock.makefile("rb")
        self.irqs = []
        self.qmp = None

    def close(self):
        self.file.close()
        self.sock.close()


class Hostile(Vhost):
    """What breaks the rules is not the kernel's, nor does the kernel's refusal go unnoticed."""

    port = 7000

    def device(self):
        door = Door(self, "-device vhost-vsock-pci,guest-cid=9,addr=5")
        self.addCleanup(door.close)
        return door, virtio.Device(door, 5)

    def broken(self, device, text):
        """Waits for the device to say that it needs a reset, and has it work again after that."""
        end = time.monotonic() + 30 * TIME_FACTOR
        while not device.status & 0x40:
            self.assertLess(time.monotonic(), end, self.log())
            time.sleep(0.01)
        self.assertIn(text, self.log())
        device.start(queues=3)
        self.assertEqual(device.status, 15)
        self.hello(device)

    def hello(self, device):
        """Asks for a connection to the outer guest's port 2000, and gets it."""
        receive = device.queues[0]
        self.ask(device)
        head, n = receive.take()
        self.assertEqual(n, 44)
        (packet,) = receive.written(head, [], [44])
        self.assertEqual(struct.unpack("<QQIIIHH", packet[:32]), (2, 9, 2000, self.port, 0, 1, 2))

    def ask(self, device):
        self.port += 1  # the kernel keeps connections
        device.queues[0].offer([], [4096])
        device.queues[1].offer([struct.pack("<QQIIIHHIII", 9, 2, self.port, 2000, 0, 1, 1, 0, 65536, 0)])

    @staticmethod
    def up(device, where):
        """All the way up; where(queue, part) is the address of that part of its ring."""
        for at, value, size in (0x14, 0, 1), (0x14, 3, 1), (0x08, 1, 4), (0x0c, 1, 4), (0x14, 11, 1):
            device.put(at, value, size)
        for n in range(3):
            device.put(0x16, n, 2)
            device.put(0x18, 8, 2)
            for part in range(3):
                device.put(0x20 + 8 * part, where(n, part), 8)
            device.put(0x1c, 1, 2)
        device.put(0x14, 15, 1)

    def test_rings(self):
        door, device = self.device()
        device.start(queues=3)
        self.hello(device)
        # a buffer that is nowhere: the kernel finds it
        queue = device.queues[1]
        door.write(virtio.DESC + 0x40000 + 16, struct.pack("<QIHH", 0xd0000000, 44, 0, 0))
        door.write(virtio.AVAIL + 0x40000 + 4 + 2 * (queue.avail % 8), struct.pack("<H", 1))
        door.write(virtio.AVAIL + 0x40000 + 2, struct.pack("<H", queue.avail + 1))
        queue.ring()
        self.broken(device, "finds a buffer that is not in RAM")
        # a ring that is nowhere, and one in ROM
        for where in 0xd0000000, 0xfffff000:
            self.up(device, lambda n, part: where if (n, part) == (1, 2) else 0x10000 * (n + 1) + part * 0x2000)
            self.broken(device, "queue 1 is not in the guest's RAM")
        self.memory_goes(door, device)
        self.no_master(device)

    def memory_goes(self, door, device):
        """A ring in memory that the chipset takes away while it is served."""
        def pam(value):  # 0xd0000 to 0xd7fff
            door.outl(0xcf8, 0x80000090)
            door.outl(0xcfc, value << 24)

        pam(0x33)
        door.write(0xd0000, bytes(0x4000))
        self.up(device, lambda n, part: 0xd0000 + n * 0x1000 + part * 0x400)
        self.assertEqual(device.status, 15)
        pam(0x11)
        self.broken(device, "the memory of a queue is taken away")

    def no_master(self, device):
        """Without the right to use memory the device does nothing, and goes on when it has it."""
        device.set_config(0x04, 2)
        device.queues[1].take()  # what hello() sent
        self.ask(device)
        time.sleep(0.2)
        self.assertFalse(device.queues[0].done() or device.queues[1].done())
        device.set_config(0x04, 6)
        self.assertEqual(device.queues[0].take()[1], 44)


class Net(Vhost):
    TAP = "tap,id=t,ifname=tap0,script=no,downscript=no"

    def begin(self, netdev, device, *args):
        inner = self.start(*args, f"-netdev {netdev} -device virtio-net-pci,netdev=t,id=n0{device}")
        self.host_address()
        return inner

    def host_address(self):
        """The same each time: the guest keeps the other end's in mind."""
        self.command(self.outer, "ip link set tap0 address 52:54:00:00:00:01; "
                                 "ip addr add 192.168.9.1/24 dev tap0; ip link set tap0 up")

    def address(self, inner):
        self.command(inner, "ip addr add 192.168.9.2/24 dev eth0; ip link set eth0 up")

    def runs(self):
        """How often the kernel's threads for this have run."""
        out = self.command(self.outer, "for i in /proc/[0-9]*; do case $(cat $i/comm) in vhost-*) "
                                       "cut -d' ' -f3 $i/schedstat;; esac; done")
        return sum(int(n) for n in out.split())

    def net_works(self, inner, by_kernel=True):
        before = self.runs()
        for m, other, port in (inner, "192.168.9.1", 2000), (self.outer, "192.168.9.2", 1000):
            self.command(m, f"head -c {BYTES} /dev/urandom >/tmp/x")
            want = self.command(m, "md5sum </tmp/x").split()[0]
            got = self.command(m, f"nc -w 60 {other} {port} </tmp/x").split()
            self.assertEqual(got[:1], [want], self.log())
        (self.assertGreater if by_kernel else self.assertEqual)(self.runs(), before)

    def test_net(self):
        device = ",bus=rp0"
        port = "-device pcie-root-port,id=rp0,chassis=1"
        inner = self.begin(self.TAP + ",vhost=on", device, port)
        self.shell(inner, INNER_BOOT_S)
        self.address(inner)
        self.net_works(inner)
        # in the middle of work
        inner.send("head -c 1000000 /dev/urandom | tee /tmp/y | nc 192.168.9.1 2000 >/tmp/z\n")
        for _ in range(5):
            inner.qmp.command("stop")
            inner.qmp.command("cont")
        self.shell(inner)
        self.assertRegex(self.command(inner, "echo $(cat /tmp/z; md5sum /tmp/y)"), r"^(\w{32}) - \1 ")
        for up in False, True:
            inner.qmp.command("set_link", name="n0", up=up)
            self.command(inner, f"until [ $(cat /sys/class/net/eth0/carrier) = {int(up)} ]; do :; done")
        self.net_works(inner)
        inner = self.migrate(inner, lambda: self.net_works(inner),
                             port, f"-netdev {self.TAP},vhost=on",
                             f"-device virtio-net-pci,netdev=t,id=n0{device}")
        self.host_address()
        self.net_works(inner)
        # a card that goes, and another at the same back end; then that goes
        inner.qmp.command("device_del", id="n0")
        while inner.qmp.event("DEVICE_DELETED", 120)["data"].get("device") != "n0":
            pass
        self.assertEqual(self.runs(), 0)
        inner.qmp.command("device_add", driver="virtio-net-pci", netdev="t", id="n1", bus="rp0")
        self.command(inner, "until [ -e /sys/class/net/eth0 ]; do sleep 0.1; done")
        self.address(inner)
        self.net_works(inner)
        inner.qmp.command("netdev_del", id="t")
        self.assertNotIn("tap0", self.command(self.outer, "ls /sys/class/net"))

    def test_legacy(self):
        """Without a header of the tap's, without MSI-X, for an old driver."""
        inner = self.begin(self.TAP + ",vhostforce=on,vnet_hdr=off", ",disable-modern=on,vectors=0")
        self.shell(inner, INNER_BOOT_S)
        self.address(inner)
        self.net_works(inner)

    def test_queues(self):
        inner = self.begin(self.TAP + ",vhost=on,queues=2", ",mq=on,mrg_rxbuf=off", "-smp 2")
        self.shell(inner, INNER_BOOT_S)
        self.address(inner)
        self.net_works(inner)
        self.assertEqual(len(self.command(inner, "ls -d /sys/class/net/eth0/queues/rx*").split()), 2)

    def test_given(self):
        """Descriptors that somebody else has opened, of both kinds."""
        inner = self.begin(self.TAP + ",vhost=on,vhostfd=8", "", "-device vhost-vsock-pci,guest-cid=3,vhostfd=9",
                           "8<>/dev/vhost-net 9<>/dev/vhost-vsock")
        self.shell(inner, INNER_BOOT_S)
        self.address(inner)
        self.net_works(inner)
        self.vsock_works(inner)

    def test_without(self):
        """No such file in the outer machine: a wish is told, a must is an error."""
        self.command(self.outer, "mv /dev/vhost-net /dev/elsewhere")
        out = self.command(self.outer, f"godwit -display none -S -kernel /inner/vmlinuz -netdev "
                                       f"{self.TAP},vhostforce=on 2>&1")
        self.assertIn("/dev/vhost-net: No such file or directory: load the module vhost_net", out)
        inner = self.begin(self.TAP + ",vhost=on", "")
        self.assertIn("moves the frames itself", self.log())
        self.shell(inner, INNER_BOOT_S)
        self.address(inner)
        self.net_works(inner, by_kernel=False)


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
