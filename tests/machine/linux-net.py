#!/usr/bin/env python3
"""Linux with its own virtio_net: the user network (DHCP, TCP and UDP both ways, TFTP), tap, links, and other
machines at the other end, QEMU among them.

Needs what scripts/get-kernel gets; skips and says so where that can't be had.
"""
import contextlib
import hashlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import godwit
import initramfs
import linux_net
from godwit import TIME_FACTOR

MIB = 1 << 20


class Server:
    """A TCP server on the host, for one connection: sends `data`, then keeps what it gets."""

    def __init__(self, data=b""):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.got = b""
        self.thread = threading.Thread(target=self.serve, args=(data,), daemon=True)
        self.thread.start()

    def serve(self, data):
        sock, _ = self.listener.accept()
        self.listener.close()
        with sock, contextlib.suppress(OSError):  # the guest may go away in the middle
            if data:
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)
            while part := sock.recv(65536):
                self.got += part

    def wait(self):
        self.thread.join(60 * TIME_FACTOR)
        assert not self.thread.is_alive(), "the guest did not end the connection"


class Net(linux_net.Guest, unittest.TestCase):
    kernel = initrd = None

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="godwit-net-")
        self.addCleanup(shutil.rmtree, self.dir)

    def fetch_and_send(self, m, size=4 * MIB):
        """Both ways over TCP, to a server on the host."""
        data = os.urandom(size)
        server = Server(data)
        out = self.command(m, f"nc 10.0.2.2 {server.port} </dev/null | md5sum", 120)
        self.assertIn(hashlib.md5(data).hexdigest(), out)
        server.wait()
        self.command(m, f"head -c {size} /dev/urandom >/tmp/x")
        server = Server()
        want = self.command(m, "md5sum /tmp/x").split()[0]
        self.command(m, f"nc 10.0.2.2 {server.port} </tmp/x", 120)
        server.wait()
        self.assertEqual((len(server.got), hashlib.md5(server.got).hexdigest()), (size, want))

    def variant(self, *device):
        m = self.boot("-netdev", "user,id=u0", "-device",
                      ",".join(["virtio-net-pci,netdev=u0,id=n0", *device]))
        self.assertEqual(self.dhcp(m), "10.0.2.15")
        self.fetch_and_send(m)
        return m


class User(Net):
    def test_network(self):
        with open(self.dir + "/file", "wb") as f:
            f.write(os.urandom(100000))
        with open(self.dir + "/file", "rb") as f:
            digest = hashlib.md5(f.read()).hexdigest()
        m = self.boot("-netdev", f"user,id=u0,hostfwd=tcp:127.0.0.1:0-:7,tftp={self.dir},"
                                 "guestfwd=tcp:10.0.2.100:99-cmd:cat,dnssearch=a.example,"
                                 "dnssearch=b.example,hostname=kea",
                      "-device", "virtio-net-pci,netdev=u0,id=n0")
        self.assertEqual(self.dhcp(m), "10.0.2.15")
        self.assertIn("nameserver 10.0.2.3", self.command(m, "cat /etc/resolv.conf"))
        # what it offers the guest: checksums and segmentation by the host
        features = self.command(m, "cat /sys/class/net/eth0/device/features").strip()
        self.assertEqual([features[i] for i in (0, 1, 5, 11, 15, 16, 17, 32)], ["1"] * 8)
        self.fetch_and_send(m, 16 * MIB)
        self.assertIn(digest, self.command(m, "tftp -g -r file -l /tmp/f 10.0.2.2; md5sum /tmp/f"))
        self.assertIn("to and fro", self.command(m, "echo to and fro | nc 10.0.2.100 99"))
        self.hostfwd(m)
        self.link(m)

    def hostfwd(self, m):
        table = m.qmp.command("human-monitor-command", command_line="info usernet")
        port = int(re.search(r"TCP\[HOST_FORWARD\] +\d+ +127.0.0.1 +(\d+)", table).group(1))
        m.send("nc -l -p 7 -e /etc/count\n")
        data = os.urandom(3 * MIB)
        end = time.monotonic() + 60 * TIME_FACTOR
        answer = b""
        while answer != str(len(data)).encode():  # it may not listen yet
            self.assertLess(time.monotonic(), end)
            with socket.create_connection(("127.0.0.1", port)) as sock:
                sock.settimeout(60 * TIME_FACTOR)
                try:
                    sock.sendall(data)
                    sock.shutdown(socket.SHUT_WR)
                    answer = sock.makefile("rb").read().strip()
                except OSError:  # not only ConnectionError: shutdown() says ENOTCONN after a reset
                    time.sleep(0.1)
        m.expect(initramfs.PROMPT)

    def link(self, m):
        for name in "n0", "u0":
            m.qmp.command("set_link", name=name, up=False)
            self.command(m, "until [ $(cat /sys/class/net/eth0/carrier) = 0 ]; do sleep 0.1; done")
            m.qmp.command("set_link", name=name, up=True)
            self.command(m, "until [ $(cat /sys/class/net/eth0/carrier) = 1 ]; do sleep 0.1; done")
        self.assertIn(" 0% packet loss", self.command(m, "ping -c 2 10.0.2.2"))
        m.qmp.command("netdev_del", id="u0")
        self.command(m, "until [ $(cat /sys/class/net/eth0/carrier) = 0 ]; do sleep 0.1; done")

    def test_restricted(self):
        m = self.boot("-nic", "user,restrict=on,net=192.168.76.0/24,mac=52:54:00:12:34:99")
        self.assertEqual(self.dhcp(m), "192.168.76.15")
        self.assertIn("52:54:00:12:34:99", self.command(m, "cat /sys/class/net/eth0/address"))
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            out = self.command(m, f"nc -w 5 192.168.76.2 {port} </dev/null || echo no way")
            self.assertIn("no way", out)

    def test_reset_and_stop(self):
        """The card works again after a reset in the middle of work, and goes on after a stop."""
        m = self.boot("-nic", "user")
        self.dhcp(m)
        server = Server(os.urandom(64 * MIB))
        m.send(f"nc 10.0.2.2 {server.port} </dev/null >/dev/null\n")
        time.sleep(0.2)
        m.qmp.command("system_reset")
        self.shell(m)
        self.assertEqual(self.dhcp(m), "10.0.2.15")
        data = os.urandom(8 * MIB)
        server = Server(data)
        m.send(f"nc 10.0.2.2 {server.port} </dev/null | md5sum\n")
        for _ in range(5):
            m.qmp.command("stop")
            m.qmp.command("cont")
        m.expect(hashlib.md5(data).hexdigest(), 120)


class Variants(Net):
    def test_packed(self):
        self.variant("packed=on")

    def test_legacy(self):
        m = self.variant("disable-modern=on")
        features = self.command(m, "cat /sys/class/net/eth0/device/features").strip()
        self.assertEqual(features[32], "0")  # not VERSION_1

    def test_plain(self):
        self.variant("mrg_rxbuf=off,csum=off,guest_csum=off,event_idx=off,indirect_desc=off,vectors=0,"
                     "ctrl_vq=off")

    def test_big_buffers(self):
        self.variant("mrg_rxbuf=off")

    def test_announce(self):
        m = self.variant()
        m.qmp.command("announce-self", initial=10, max=10, rounds=2, step=1)
        # the guest says so too, and that it did
        self.command(m, "until [ $(cat /sys/class/net/eth0/statistics/tx_packets) -gt 3 ]; do :; done")


class Plugged(Net):
    def test_plug(self):
        """A card that is plugged in and taken out of a running machine, with its back end."""
        m = self.boot("-device", "pcie-root-port,id=rp0,chassis=1")
        m.qmp.command("netdev_add", type="user", id="u0")
        m.qmp.command("device_add", driver="virtio-net-pci", netdev="u0", id="n0", bus="rp0")
        self.command(m, "until [ -e /sys/class/net/eth0 ]; do sleep 0.1; done", 120)
        self.assertEqual(self.dhcp(m), "10.0.2.15")
        self.fetch_and_send(m)
        m.qmp.command("device_del", id="n0")
        while m.qmp.event("DEVICE_DELETED", 120)["data"].get("device") != "n0":
            pass
        self.command(m, "until [ ! -e /sys/class/net/eth0 ]; do sleep 0.1; done", 120)
        m.qmp.command("netdev_del", id="u0")


class Peers(Net):
    """Two machines and a cable."""

    def pair(self, first, second):
        """Two guests, 192.168.9.1 and .2, which reach one another."""
        a = self.boot("-nic", first + ",mac=52:54:00:00:00:01")
        b = self.boot("-nic", second + ",mac=52:54:00:00:00:02")
        for m, n in ((a, 1), (b, 2)):
            self.command(m, f"ip addr add 192.168.9.{n}/24 dev eth0; ip link set eth0 up")
        self.command(a, "until ping -c 1 -W 1 192.168.9.2; do :; done", 120)
        self.command(b, "head -c 3000000 /dev/urandom >/tmp/x")
        want = self.command(b, "md5sum /tmp/x").split()[0]
        a.send("nc -l -p 5 -e /etc/digest\n")
        out = self.command(b, "until nc 192.168.9.1 5 </tmp/x; do sleep 0.1; done", 120)
        self.assertIn(want, out)
        self.shell(a)
        return a, b

    def test_stream(self):
        path = self.dir + "/cable"
        a, b = self.pair(f"stream,id=s,server=on,addr.type=unix,addr.path={path}",
                         f"stream,id=s,addr.type=unix,addr.path={path}")
        self.assertEqual(a.qmp.event("NETDEV_STREAM_CONNECTED")["data"]["addr"]["path"], path)
        b.close()
        a.qmp.event("NETDEV_STREAM_DISCONNECTED")

    def test_dgram(self):
        one, two = self.dir + "/1", self.dir + "/2"
        self.pair(*(f"dgram,id=d,local.type=unix,local.path={x},remote.type=unix,remote.path={y}"
                    for x, y in ((one, two), (two, one))))

    def test_multicast(self):
        port = 20000 + os.getpid() % 20000
        self.pair(*[f"socket,id=m,mcast=230.0.0.78:{port},localaddr=127.0.0.1"] * 2)

    def qemu(self, *args):
        """A QEMU without a machine: its user network behind a hub with another back end."""
        if not shutil.which("qemu-system-x86_64"):
            self.skipTest("QEMU is not installed")
        process = subprocess.Popen(
            ["qemu-system-x86_64", "-M", "none", "-display", "none", "-nodefaults", "-netdev",
             "user,id=u", "-netdev", "hubport,id=h0,hubid=0,netdev=u", "-netdev", *args, "-netdev",
             "hubport,id=h1,hubid=0,netdev=x"])
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)

    def behind_qemu(self, nic):
        """The network is QEMU's: our guest gets its address there."""
        m = self.boot("-nic", nic)
        self.assertEqual(self.dhcp(m), "10.0.2.15")
        self.fetch_and_send(m)

    def test_qemu_stream(self):
        path = self.dir + "/cable"
        self.qemu(f"stream,id=x,server=on,addr.type=unix,addr.path={path}")
        while not os.path.exists(path):
            time.sleep(0.05)
        self.behind_qemu(f"stream,id=s,addr.type=unix,addr.path={path}")

    def test_qemu_dgram(self):
        one, two = self.dir + "/1", self.dir + "/2"
        self.qemu(f"dgram,id=x,local.type=unix,local.path={one},remote.type=unix,remote.path={two}")
        self.behind_qemu(f"dgram,id=d,local.type=unix,local.path={two},remote.type=unix,"
                         f"remote.path={one}")

    def test_qemu_socket(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        self.qemu(f"socket,id=x,listen=127.0.0.1:{port}")
        while True:  # a server takes the first that comes, so look instead of trying
            with open("/proc/net/tcp", encoding="ascii") as f:
                if f":{port:04X} 00000000:0000 0A" in f.read():
                    break
            time.sleep(0.05)
        self.behind_qemu(f"socket,id=s,connect=127.0.0.1:{port}")


class Tap(Net):
    """A tap interface in a network namespace of the test's own, where the host is 192.168.9.1."""

    def setUp(self):
        super().setUp()
        self.name = f"godwit-{os.getpid()}"
        if not os.path.exists("/dev/net/tun"):
            self.skipTest("there is no /dev/net/tun")
        made = subprocess.run(["ip", "netns", "add", self.name], capture_output=True, text=True) \
            if shutil.which("ip") else None
        if not made or made.returncode:
            self.skipTest("no network namespace: " + (made.stderr.strip() if made else "no ip(8)"))
        self.addCleanup(subprocess.run, ["ip", "netns", "del", self.name])

    def inside(self, *args, **kwargs):
        return subprocess.run(["ip", "netns", "exec", self.name, *args], check=True,
                              capture_output=True, text=True, **kwargs).stdout

    def boot_with(self, netdev, *device, smp="1"):
        """A guest whose process is in the namespace; 192.168.9.2."""
        wrapper = self.dir + "/godwit"
        with open(wrapper, "w", encoding="ascii") as f:
            f.write(f'#!/bin/sh\nexec ip netns exec {self.name} {godwit.GODWIT} "$@"\n')
        os.chmod(wrapper, 0o755)
        real, godwit.GODWIT = godwit.GODWIT, wrapper
        try:
            m = self.boot("-smp", smp, "-netdev", netdev, "-device",
                          ",".join(["virtio-net-pci,netdev=t", *device]))
        finally:
            godwit.GODWIT = real
        self.command(m, "ip addr add 192.168.9.2/24 dev eth0; ip link set eth0 up")
        return m

    def both_ways(self, m):
        """Files over TCP between the guest and a process in the namespace, and what the host counted."""
        server = ("import socket, sys, hashlib, os\n"
                  "s = socket.create_server(('192.168.9.1', 5)); print('up', flush=True)\n"
                  "c, _ = s.accept(); data = os.urandom(8 << 20); got = b''\n"
                  "c.sendall(data); c.shutdown(socket.SHUT_WR)\n"
                  "c, _ = s.accept()\n"
                  "while part := c.recv(65536): got += part\n"
                  "print(hashlib.md5(data).hexdigest(), hashlib.md5(got).hexdigest())\n")
        process = subprocess.Popen(["ip", "netns", "exec", self.name, sys.executable, "-c", server],
                                   stdout=subprocess.PIPE, text=True)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        self.assertEqual(process.stdout.readline(), "up\n")
        got = self.command(m, "nc 192.168.9.1 5 </dev/null | md5sum", 120).split()[0]
        sent = self.command(m, "head -c 8000000 /dev/urandom >/tmp/x; md5sum /tmp/x").split()[0]
        self.command(m, "nc 192.168.9.1 5 </tmp/x", 120)
        self.assertEqual(process.stdout.read().split(), [got, sent])

    def script(self):
        path = self.dir + "/up"
        with open(path, "w", encoding="ascii") as f:
            f.write(f"#!/bin/sh\nip addr add 192.168.9.1/24 dev $1\nip link set $1 up\n"
                    f"echo $1 >{self.dir}/name\n")
        os.chmod(path, 0o755)
        return path

    def test_script(self):
        """Made by the machine, set up by a script; with offloads, then without a header."""
        for more in "", ",vnet_hdr=off":
            down = self.dir + "/down"
            with open(down, "w", encoding="ascii") as f:
                f.write(f"#!/bin/sh\necho down >>{self.dir}/name\n")
            os.chmod(down, 0o755)
            m = self.boot_with(f"tap,id=t,script={self.script()},downscript={down}{more}")
            features = self.command(m, "cat /sys/class/net/eth0/device/features").strip()
            self.assertEqual([features[i] for i in (0, 1, 7, 11)], [str(int(not more))] * 4)
            self.both_ways(m)
            m.close()
            with open(self.dir + "/name", encoding="ascii") as f:
                self.assertEqual(f.read(), "tap0\ndown\n")

    def test_queues(self):
        """Several pairs of queues, all of which the guest uses."""
        m = self.boot_with(f"tap,id=t,ifname=godwit0,queues=2,script={self.script()},downscript=no,"
                           "vhost=on",  # a wish
                           "mq=on", smp="2")
        self.assertEqual(self.command(m, "ls /sys/class/net/eth0/queues").split(),
                         ["rx-0", "rx-1", "tx-0", "tx-1"])
        self.both_ways(m)
        self.assertIn("index=1,type=tap,ifname=godwit0", m.qmp.command(
            "human-monitor-command", command_line="info network"))

    def test_vhost(self):
        """Without /dev/vhost-net Godwit moves the frames itself, and says so. With it: linux-vhost.py."""
        if os.path.exists("/dev/vhost-net"):
            self.skipTest("/dev/vhost-net is there")

        def run(more):
            return subprocess.run(
                ["ip", "netns", "exec", self.name, godwit.GODWIT, "-display", "none", "-S", "-netdev",
                 f"tap,id=t,script=no,downscript=no,{more}", "-qmp", "stdio"],
                input='{"execute":"qmp_capabilities"}{"execute":"quit"}', capture_output=True, text=True)

        forced = run("vhost=on,vhostforce=on")
        self.assertEqual(forced.returncode, 1)
        self.assertIn("/dev/vhost-net", forced.stderr)
        wished = run("vhost=on")
        self.assertEqual(wished.returncode, 0)
        self.assertIn("moves the frames itself", wished.stderr)
        self.assertNotIn("moves the frames itself", run("vhost=off").stderr)

    def test_no_rights(self):
        result = godwit.run("-display", "none", "-netdev", "tap,id=t,ifname=much-too-long-a-name")
        self.assertEqual(result.returncode, 1)
        self.assertIn("1 to 15 characters", result.stderr)


def main():
    with tempfile.TemporaryDirectory(prefix="godwit-linux-net-") as folder:
        try:
            Net.kernel = initramfs.Kernel()
            Net.initrd = linux_net.make(folder, Net.kernel)
        except initramfs.Missing as why:
            print(f"skipped: {why}")
            return 77
        program = unittest.main(verbosity=2, exit=False, argv=[sys.argv[0]] + sys.argv[1:])
        return 0 if program.result.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main())
