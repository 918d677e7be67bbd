#!/usr/bin/env python3
"""A machine in -sandbox, -runas and -chroot: what it still does, and that all its threads are in it."""
import os
import shutil
import subprocess
import tempfile
import time
import unittest

from godwit import GODWIT, TIME_FACTOR, Machine, Qmp, guest

ALL = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
# A leak checker would look into the process at its end by ptrace(2), which is refused.
NO_LEAK_CHECK = {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"}
with open(GODWIT, "rb") as program:
    BUILT_WITH_NBD = b"libnbd.so" in program.read()


def statuses(pid):
    """What /proc tells about each thread."""
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/status", encoding="ascii") as file:
            yield dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


class Sandbox(unittest.TestCase):
    def start(self, *args):
        self.m = Machine("-m", "32", "-kernel", guest("script"), "-append", "hang", *args, env=NO_LEAK_CHECK)
        self.addCleanup(self.m.close)
        return self.m

    def migrated(self, m):
        end = time.monotonic() + 30 * TIME_FACTOR
        while (status := m.qmp.command("query-migrate").get("status")) != "completed":
            self.assertIn(status, ("setup", "active", "device"))
            self.assertLess(time.monotonic(), end)
            time.sleep(0.02)

    def test_every_thread(self):
        m = self.start("-sandbox", ALL, "-smp", "2", "-object", "iothread,id=io")
        m.qmp.command("object-add", **{"qom-type": "iothread", "id": "later"})
        found = list(statuses(m.process.pid))
        self.assertGreater(len(found), 4)
        for status in found:
            self.assertEqual((status["Seccomp"], status["NoNewPrivs"]), ("2", "1"), status["Name"])

    def test_without(self):
        m = self.start("-sandbox", "off")
        for status in statuses(m.process.pid):
            self.assertEqual(status["Seccomp"], "0")

    def test_no_programs(self):
        """What a client asks for fails; the machine goes on."""
        m = self.start("-sandbox", ALL)
        answer = m.qmp.request("migrate", uri="exec:cat >/dev/null")
        self.assertIn("Operation not permitted", answer["error"]["desc"])
        self.assertEqual(m.qmp.command("query-status")["status"], "running")
        self.assertEqual(m.qmp.command("query-migrate")["status"], "failed")

    def test_programs_are_allowed(self):
        m = self.start("-sandbox", "on")
        m.qmp.command("migrate", uri="exec:cat >/dev/null")
        self.migrated(m)

    def test_works(self):
        """What a machine does without other programs: reset, files that are opened later, plugging,
        dumps, a migration into a file, threads."""
        m = self.start("-sandbox", ALL, "-device", "pcie-root-port,id=rp")
        path = os.path.join(m.dir, "image")
        with open(path, "wb") as file:
            file.truncate(1 << 20)
        m.qmp.command("system_reset")
        m.qmp.event("RESET")
        m.qmp.command("blockdev-add", driver="file", filename=path, **{"node-name": "f"})
        m.qmp.command("device_add", driver="virtio-blk-pci", drive="f", id="d", bus="rp")
        m.qmp.command("chardev-add", id="p", backend={"type": "pty", "data": {}})
        m.qmp.command("dump-guest-memory", paging=False, protocol=f"file:{m.dir}/dump")
        m.qmp.command("migrate", uri=f"file:{m.dir}/state")
        self.migrated(m)
        m.qmp.command("quit")
        self.assertEqual(m.wait(), 0)

    def test_told_to_clients(self):
        m = self.start()
        options = m.qmp.command("query-command-line-options", option="sandbox")
        self.assertEqual({p["name"] for p in options[0]["parameters"]},
                         {"enable", "obsolete", "elevateprivileges", "spawn", "resourcecontrol"})


@unittest.skipIf(os.getuid(), "only root may change its user and its root")
class Elsewhere(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="godwit-confine-")
        os.chmod(self.dir, 0o777)
        self.addCleanup(shutil.rmtree, self.dir)

    def test_user(self):
        with Machine("-S", "-runas", "nobody", "-pidfile", f"{self.dir}/pid") as m:
            for status in statuses(m.process.pid):
                self.assertEqual(set(status["Uid"].split()), {"65534"}, status["Name"])
                self.assertEqual(status["CapEff"].strip("0"), "")
            m.qmp.command("pmemsave", val=0, size=16, filename=f"{self.dir}/memory")
            self.assertEqual(os.stat(f"{self.dir}/memory").st_uid, 65534)

    def test_root_in_the_background(self):
        os.mkdir(f"{self.dir}/root")
        result = subprocess.run(
            [GODWIT, "-M", "q35", "-S", "-nodefaults", "-display", "none", "-daemonize", "-chroot",
             f"{self.dir}/root", "-sandbox", ALL, "-runas", "12345:54321", "-qmp",
             f"unix:{self.dir}/q,server=on,wait=off"], stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=20 * TIME_FACTOR,
            env={**os.environ, **NO_LEAK_CHECK})
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        os.chmod(f"{self.dir}/root", 0o777)
        qmp = Qmp(f"{self.dir}/q")
        qmp.command("pmemsave", val=0, size=16, filename="/memory")
        self.assertEqual(os.stat(f"{self.dir}/root/memory").st_size, 16)
        if BUILT_WITH_NBD:  # its library is not under that root
            answer = qmp.request("blockdev-add", driver="nbd", node_name="n",
                                 server={"type": "unix", "path": "/nobody"})
            self.assertIn("Failed to connect to nbd+unix:", answer["error"]["desc"])
        qmp.command("quit")
        qmp.close()


if __name__ == "__main__":
    unittest.main()
