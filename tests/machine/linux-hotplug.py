#!/usr/bin/env python3
"""Linux has devices plugged in and taken out while it runs, and uses them.

Needs what scripts/get-kernel gets; skips and says so where that can't be had.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

from godwit import Machine

SCRIPTS = os.environ.get("SCRIPTS", "scripts")
PROMPT = r"godwit# "
BOOT_S = 180


def prepare(folder):
    """(kernel image, initramfs that loads all its modules), or the reason why there is none."""
    result = subprocess.run([os.path.join(SCRIPTS, "get-kernel")], capture_output=True, text=True)
    if result.returncode:
        return None, "no kernel: " + result.stderr.strip()
    kernel = result.stdout.strip()
    images = [f for f in os.listdir(os.path.join(kernel, "boot")) if f.startswith("vmlinuz-")]
    initrd, extra = os.path.join(folder, "initramfs.gz"), os.path.join(folder, "rc")
    with open(extra, "w", encoding="ascii") as file:
        file.write("for m in $(cat /lib/modules/order); do insmod /lib/modules/$m 2>/dev/null; done\n")
    result = subprocess.run([os.path.join(SCRIPTS, "make-initramfs"), initrd, kernel, extra],
                            capture_output=True, text=True)
    if result.returncode:
        return None, "no initramfs: " + result.stderr.strip()
    return (os.path.join(kernel, "boot", sorted(images)[-1]), initrd), None


class Hotplug(unittest.TestCase):
    image = initrd = None

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="godwit-plug-")
        self.addCleanup(shutil.rmtree, self.folder)

    def boot(self, *args, append=""):
        m = Machine("-kernel", self.image, "-initrd", self.initrd, "-append",
                    f"console=ttyS0 quiet {append}", *args)
        self.addCleanup(m.close)
        m.expect(PROMPT, BOOT_S)
        return m

    def command(self, m, text, timeout=120):
        """What a command printed in the guest's shell."""
        m.send(text + "\n")
        m.expect("\n", timeout)
        start = m.at
        match = m.expect(PROMPT, timeout)
        return m.output[start:match.start()].decode(errors="replace").replace("\r", "")

    def deleted(self, m, device):
        while m.qmp.event("DEVICE_DELETED", 120)["data"].get("device") != device:
            pass

    def disk_comes_and_goes(self, m, bus, times):
        """Each time another image, whose data the guest must read; the last time in full use."""
        for i in range(times):
            path = os.path.join(self.folder, f"disk{i}")
            data = os.urandom(1 << 20)
            with open(path, "wb") as file:
                file.write(data)
            m.qmp.command("blockdev-add", driver="file", node_name="n", filename=path)
            where = {"bus": bus} if bus else {}
            m.qmp.command("device_add", driver="virtio-blk-pci", id="disk", drive="n",
                          serial=f"S{i}", **where)
            self.command(m, "until [ -b /dev/vda ]; do usleep 20000; done")
            self.assertIn(f"S{i}", self.command(m, "cat /sys/block/vda/serial"))
            self.command(m, "dd if=/dev/vda of=/tmp/x bs=64k; echo again >>/tmp/x")
            self.command(m, "dd if=/tmp/x of=/dev/vda bs=4096 count=16 seek=64 conv=fsync")
            if i + 1 == times:
                m.send("while dd if=/dev/vda of=/dev/null bs=4096 iflag=direct; do :; done 2>/dev/null &\n")
                m.expect(PROMPT)
            m.qmp.command("device_del", id="disk")
            self.deleted(m, "disk")
            m.qmp.command("blockdev-del", node_name="n")
            self.command(m, "while [ -b /dev/vda ]; do usleep 20000; done")
            with open(path, "rb") as file:
                now = file.read()
            self.assertEqual(now, data[:262144] + data[:65536] + data[327680:])

    def test_native(self):
        """A root port's own slot: the guest thinks for five seconds before it lets go."""
        m = self.boot("-device", "pcie-root-port,id=rp0,slot=1", "-device",
                      "pcie-root-port,id=rp1,slot=2", "-device", "virtio-rng-pci,id=r,bus=rp0")
        self.assertIn("virtio_rng", self.command(m, "cat /sys/class/misc/hw_random/rng_current"))
        self.disk_comes_and_goes(m, "rp1", 2)
        self.command(m, "echo 0 >/sys/bus/pci/slots/1/power")  # of its own accord
        self.deleted(m, "r")
        self.assertNotIn("virtio_rng", self.command(m, "cat /sys/class/misc/hw_random/rng_current"))


    def test_acpi(self):
        """The pc board's slots, again and again."""
        self.disk_comes_and_goes(self.boot("-M", "pc"), None, 20)

    def memory(self, m, state):
        """128 MiB more; the guest uses them as `state` says."""
        m.qmp.command("object-add", **{"qom-type": "memory-backend-ram", "id": "m",
                                       "size": 128 << 20})
        m.qmp.command("device_add", driver="pc-dimm", id="d", memdev="m")
        wanted = {"device": "d", "slot": "0", "slot-type": "DIMM", "source": 1, "status": 0}
        while m.qmp.event("ACPI_DEVICE_OST", 60)["data"]["info"] != wanted:
            pass
        before = self.total(m)
        self.command(m, f"echo {state} >/sys/devices/system/memory/memory32/state")
        self.assertEqual(self.total(m), before + 131072)

    def total(self, m):
        return int(re.search(r"MemTotal: *(\d+)", self.command(m, "cat /proc/meminfo")).group(1))

    def test_memory(self):
        m = self.boot("-m", "256,slots=2,maxmem=1G")
        for _ in range(2):
            self.memory(m, "online_movable")
            self.command(m, "head -c 60000000 /dev/urandom >/tmp/x; rm /tmp/x")
            m.qmp.command("device_del", id="d")
            self.deleted(m, "d")
            m.qmp.command("object-del", id="m")

    def test_memory_that_cannot_move(self):
        m = self.boot("-m", "256,slots=2,maxmem=1G")
        self.memory(m, "online_kernel")
        self.command(m, "mkdir /tmp/f; cd /tmp/f; seq 1 30000 | xargs touch 2>/dev/null; cd /")
        m.qmp.command("device_del", id="d")
        self.assertEqual(m.qmp.event("MEM_UNPLUG_ERROR", 120)["data"]["device"], "d")
        self.assertEqual(m.qmp.event("DEVICE_UNPLUG_GUEST_ERROR")["data"],
                         {"device": "d", "path": "/machine/peripheral/d"})
        self.assertEqual(len(m.qmp.command("query-memory-devices")), 1)

    def test_virtio_mem(self):
        """As much more as the host asks for, while the guest works; then some of it back."""
        m = self.boot("-m", "256,maxmem=1G", "-object", "memory-backend-ram,id=m0,size=512M",
                      "-device", "virtio-mem-pci,id=vm0,memdev=m0",
                      append="memhp_default_state=online_movable")
        before = self.total(m)
        for size in (256 << 20, 128 << 20):
            m.qmp.command("qom-set", path="/machine/peripheral/vm0", property="requested-size",
                          value=size)
            while m.qmp.event("MEMORY_DEVICE_SIZE_CHANGE", 120)["data"]["size"] != size:
                pass
            self.assertEqual(m.qmp.command("query-memory-devices")[0]["data"]["size"], size)
            self.command(m, "head -c 90000000 /dev/zero >/tmp/x; rm /tmp/x")
            self.assertEqual(self.total(m), before + size // 1024)
        m.qmp.command("system_reset")
        while m.qmp.event("MEMORY_DEVICE_SIZE_CHANGE", 120)["data"]["size"]:
            pass
        m.expect(PROMPT, BOOT_S)
        while m.qmp.command("query-memory-devices")[0]["data"]["size"] != 128 << 20:
            self.command(m, "usleep 99999")

    def test_cpus(self):
        """Two more in any order, then one out and in again; a reset keeps them."""
        m = self.boot("-smp", "1,maxcpus=3,sockets=1,cores=3")
        place = {"driver": "max-x86_64-cpu", "socket-id": 0, "thread-id": 0}
        for core in (2, 1):
            m.qmp.command("device_add", id=f"c{core}", **{"core-id": core}, **place)
        self.command(m, "cd /sys/devices/system/cpu; until [ -e cpu1 -a -e cpu2 ]; do usleep 9999; done")
        self.command(m, "for c in cpu[12]; do echo 1 >$c/online; done")
        self.assertEqual(self.command(m, "cat online").strip(), "0-2")
        self.assertIn("2", self.command(m, "taskset 6 nproc"))
        m.qmp.command("device_del", id="c2")
        self.deleted(m, "c2")
        self.assertEqual(len(m.qmp.command("query-cpus-fast")), 2)
        m.qmp.command("device_add", id="c2", **{"core-id": 2}, **place)
        self.command(m, "until [ $(cat present) = 0-2 ]; do usleep 9999; done")
        m.qmp.command("system_reset")
        m.expect(PROMPT, BOOT_S)
        self.assertEqual(self.command(m, "cat /sys/devices/system/cpu/online").strip(), "0-2")

    def test_nodes(self):
        """Where memory and processors are, as the guest sees it."""
        m = self.boot("-smp", "2", "-m", "256", "-object", "memory-backend-ram,id=a,size=160M",
                      "-object", "memory-backend-ram,id=b,size=96M", "-numa",
                      "node,cpus=0,memdev=a", "-numa", "node,cpus=1,memdev=b", "-numa",
                      "dist,src=0,dst=1,val=33")
        self.command(m, "cd /sys/devices/system/node")
        self.assertEqual(self.command(m, "cat node?/cpulist").split(), ["0", "1"])
        self.assertEqual(self.command(m, "cat node1/distance").split(), ["33", "10"])
        found = self.command(m, "cat node?/meminfo")
        sizes = [int(n) for n in re.findall(r"MemTotal: *(\d+)", found)]
        self.assertLess(sizes[1], 96 << 10)
        self.assertGreater(sizes[1], 60 << 10)


def main():
    with tempfile.TemporaryDirectory(prefix="godwit-linux-") as folder:
        found, why = prepare(folder)
        if not found:
            print(f"skipped: {why}")
            return 77
        Hotplug.image, Hotplug.initrd = found
        program = unittest.main(verbosity=2, exit=False, argv=[sys.argv[0]] + sys.argv[1:])
        return 0 if program.result.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main())
