#!/usr/bin/env python3
"""What must wait while a guest is on its way, and what a machine that waits for one, or has let its
one go, must leave alone: its disks are another's. Texts as QEMU 7.2 has them."""
import hashlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
import unittest

from godwit import TIME_FACTOR
from qtest import Door

LIMIT = 60 * TIME_FACTOR
IN_PROGRESS = "There's a migration process in progress"
NO_SNAPSHOTS = "Device '{}' is writable but does not support snapshots"


class Case(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="godwit-waits-")
        self.addCleanup(shutil.rmtree, self.dir)

    def path(self, name):
        return os.path.join(self.dir, name)

    def door(self, *args, machine="q35"):
        door = Door(*args, qmp=True, machine=machine)
        self.addCleanup(door.close)
        return door

    def hmp(self, door, line):
        return door.qmp.command("human-monitor-command", **{"command-line": line})

    def refused(self, door, text, command, **arguments):
        answer = door.qmp.request(command, **arguments)
        self.assertEqual(answer.get("error", answer).get("desc"), text)

    def until(self, door, *statuses):
        end = time.monotonic() + LIMIT
        while (info := door.qmp.command("query-migrate")).get("status") not in statuses:
            self.assertLess(time.monotonic(), end, info)
            time.sleep(0.01)
        return info

    def leave_slowly(self, door):
        """The machine's guest sets out, at a byte a second."""
        door.qmp.command("migrate-set-parameters", **{"max-bandwidth": 1})
        door.qmp.command("migrate", uri="exec:cat >/dev/null")
        self.until(door, "active")

    def run_job(self, door, command, **arguments):
        """The error of a job; None: none."""
        door.qmp.command(command, **{"job-id": "j"}, **arguments)
        end = time.monotonic() + LIMIT
        while (job := door.qmp.command("query-jobs")[0])["status"] != "concluded":
            self.assertLess(time.monotonic(), end, job)
            time.sleep(0.01)
        door.qmp.command("job-dismiss", id="j")
        return job.get("error")


class OnTheWay(Case):
    def test_refusals(self):
        image = self.path("disk")
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", image, "8M"], check=True)
        door = self.door("-drive", f"if=none,id=d,format=qcow2,file={image}", "-device",
                         "virtio-rng-pci,id=rng", "-device", "isa-debug-exit,id=exit", machine="pc")
        self.assertEqual(self.hmp(door, "savevm before"), "")
        self.leave_slowly(door)
        self.refused(door, "device_add not allowed while migrating", "device_add",
                     driver="virtio-rng-pci", id="more")
        self.refused(door, "device_del not allowed while migrating", "device_del", id="rng")
        # What is wrong anyway is said first.
        self.refused(door, "'nosuch' is not a valid device model name", "device_add", driver="nosuch")
        self.refused(door, "Device 'nosuch' not found", "device_del", id="nosuch")
        self.refused(door, "Bus 'isa.0' does not support hotplugging", "device_del", id="exit")
        for line in "device_add virtio-rng-pci,id=more", "device_del rng":
            self.assertEqual(self.hmp(door, line), f"Error: {line.split()[0]} not allowed while migrating\r\n")
        self.refused(door, IN_PROGRESS, "migrate", uri="exec:true")
        self.refused(door, IN_PROGRESS, "migrate-set-capabilities", capabilities=[
            {"capability": "events", "state": True}])
        self.refused(door, "disallowing migration blocker (migration/snapshot in progress) for: "
                     "Live migration disabled: dump-guest-memory in progress", "dump-guest-memory",
                     paging=False, protocol=f"file:{self.path('dump')}")
        self.assertFalse(os.path.exists(self.path("dump")))
        self.refused(door, IN_PROGRESS, "godwit-snapshot-file",
                     filename=self.path("snap"))
        for line in "savevm x", "loadvm before":
            self.assertEqual(self.hmp(door, line).strip(), f"Error: {IN_PROGRESS}")
        nodes = [n["node-name"] for n in door.qmp.command("query-named-block-nodes")
                 if n["drv"] == "qcow2"]
        self.assertEqual(self.run_job(door, "snapshot-save", tag="y", vmstate=nodes[0],
                                      devices=nodes), IN_PROGRESS)
        self.assertEqual(self.hmp(door, "delvm before"), "")
        door.qmp.command("migrate_cancel")
        self.until(door, "cancelled")
        door.qmp.command("device_add", driver="virtio-rng-pci", id="more")
        door.qmp.command("device_del", id="rng")
        self.assertEqual(self.hmp(door, "savevm after"), "")

    def test_device_given_back(self):
        """Asked before the guest set out, it lets a device with memory go while that is sent. The
        other side has the device still, so the migration can't be."""
        door = self.door("-device", "bochs-display,id=v", machine="pc")
        door.qmp.command("device_del", id="v")
        self.leave_slowly(door)
        door.qmp.command("system_reset")
        door.qmp.event("DEVICE_DELETED")
        door.qmp.command("migrate-set-parameters", **{"max-bandwidth": 0})
        self.assertEqual(self.until(door, "failed", "completed").get("error-desc"),
                         "the guest gave a device or CPU back while it was moved")
        self.assertEqual(door.qmp.command("query-status")["status"], "running")
        door.qmp.command("migrate", uri=f"file:{self.path('stream')}")
        self.until(door, "completed")


class NotItsDisks(Case):
    """Whatever clients ask for, not a byte of the image changes."""

    def setUp(self):
        super().setUp()
        self.image = self.path("disk")
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", self.image, "8M"], check=True)
        self.sum = self.sum_now()

    def sum_now(self):
        with open(self.image, "rb") as f:
            return hashlib.md5(f.read()).digest()

    def disk(self, *args):
        return self.door("-blockdev", f"file,node-name=f,filename={self.image}", "-blockdev",
                         "qcow2,node-name=n,file=f", *args)

    def leave_alone(self, door):
        text = NO_SNAPSHOTS.format("n")
        for line in "savevm x", "loadvm x", "delvm x":
            self.assertEqual(self.hmp(door, line).strip(), f"Error: {text}")
        self.assertEqual(self.hmp(door, "info snapshots").strip(),
                         "no block device can store vmstate for snapshot")
        for command, more in (("snapshot-save", {"vmstate": "n"}), ("snapshot-delete", {}),
                              ("snapshot-load", {"vmstate": "n"})):
            self.assertEqual(self.run_job(door, command, tag="x", devices=["n"], **more), text)
        for name in "n", "f":
            self.refused(door, f"Node '{name}' can't be resized: the machine does not own its disks "
                         "now", "block_resize", **{"node-name": name, "size": 16 << 20})
        self.assertEqual(self.sum_now(), self.sum)

    def test_waiting(self):
        door = self.disk("-incoming", "defer")
        self.leave_alone(door)
        self.refused(door, "Guest is waiting for an incoming migration", "godwit-snapshot-file",
                     filename=self.path("snap"))
        self.refused(door, "Dump not allowed during incoming migration.", "dump-guest-memory",
                     paging=False, protocol=f"file:{self.path('dump')}")
        self.assertEqual(door.qmp.command("query-status")["status"], "inmigrate")

    def test_gone(self):
        door = self.disk()
        door.qmp.command("migrate", uri="exec:cat >/dev/null")
        self.until(door, "completed")
        self.sum = self.sum_now()
        self.leave_alone(door)
        self.assertEqual(door.qmp.command("query-status")["status"], "postmigrate")

    def test_taken_back(self):
        """After cont the disks are the machine's own again."""
        door = self.disk()
        door.qmp.command("migrate", uri="exec:cat >/dev/null")
        self.until(door, "completed")
        door.qmp.command("cont")
        self.assertEqual(self.hmp(door, "savevm x"), "")
        door.qmp.command("block_resize", **{"node-name": "n", "size": 16 << 20})


class Addresses(Case):
    def test_out(self):
        door = self.door()
        long = "/" + 150 * "x"
        for uri, text in (("tcp:", "error parsing address ''"),
                          ("tcp::", "error parsing port in address ':'"),
                          ("tcp:host", "error parsing address 'host'"),
                          ("tcp:[::1:1", "error parsing IPv6 address '[::1:1'"),
                          ("tcp:[::1]:", "error parsing IPv6 address '[::1]:'"),
                          ("tcp:a:1,ipv4=maybe", "error parsing 'ipv4' flag '=maybe'"),
                          ("tcp:a:1,ipv4=off,ipv6=off", "Cannot disable IPv4 and IPv6 at same time"),
                          ("tcp:a:1,to=65536", "error parsing to= argument '65536'"),
                          ("tcp:a:1,toward=2",
                           "tcp: 'toward=2' is none of to=, ipv4, ipv6 and keep-alive"),
                          ("unix:", "invalid Unix socket address"),
                          ("nonsense", "Parameter 'uri' expects a valid migration protocol")):
            self.refused(door, text, "migrate", uri=uri)
        door.qmp.command("migrate", uri=f"unix:{long}")
        self.assertEqual(self.until(door, "failed")["error-desc"],
                         f"UNIX socket path '{long}' is too long")

    def test_in(self):
        door = self.door("-incoming", "defer")
        for uri, text in (("nonsense", "unknown migration protocol: nonsense"),
                          ("tcp:", "error parsing address ''"),
                          ("unix:", "invalid Unix socket address"),
                          ("fd:1000000", "fd:1000000: the descriptor is not open"),
                          ("tcp:127.0.0.1:0,ipv6=on,ipv4=off",
                           "address resolution failed for 127.0.0.1:0: "
                           "Address family for hostname not supported"),
                          ("tcp:127.0.0.1:x", "address resolution failed for 127.0.0.1:x: "
                           "Servname not supported for ai_socktype")):
            self.refused(door, text, "migrate-incoming", uri=uri)
            self.assertEqual(door.qmp.command("query-migrate"), {})
        self.refused(door, "Migration not in expected state: none", "migrate-continue",
                     state="pre-switchover")

    def test_range_of_ports(self):
        """The first port is taken: the guest comes to one of the next."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            first = taken.getsockname()[1]
            to = self.door("-incoming", "defer")
            last = min(first + 50, 65535)
            self.refused(to, f"cannot listen on '127.0.0.1:{first}': Address already in use",
                         "migrate-incoming", uri=f"tcp:127.0.0.1:{first}")
            to.qmp.command("migrate-incoming", uri=f"tcp:127.0.0.1:{first},to={last},ipv4=on")
            at = to.qmp.command("query-migrate")["socket-address"][0]
            self.assertIn(int(at["port"]), range(first + 1, last + 1))
            source = self.door()
            # An address of version 4 is none of version 6.
            source.qmp.command("migrate", uri=f"tcp:127.0.0.1:{at['port']},ipv6")
            self.assertIn("address resolution failed", self.until(source, "failed")["error-desc"])
            source.qmp.command("migrate", uri=f"tcp:127.0.0.1:{at['port']},ipv4,keep-alive=on")
            self.until(source, "completed")

    def test_events_of_one_that_listens_already(self):
        path = self.path("m")
        source, to = self.door(), self.door("-incoming", f"unix:{path}")
        to.qmp.command("migrate-set-capabilities", capabilities=[
            {"capability": "events", "state": True}])
        source.qmp.command("migrate", uri=f"unix:{path}")
        statuses = []
        while not statuses or statuses[-1] != "completed":
            statuses.append(to.qmp.event("MIGRATION")["data"]["status"])
        self.assertEqual(statuses[-2:], ["active", "completed"])


class Arguments(Case):
    def test_dump(self):
        door = self.door()
        self.refused(door, "Invalid parameter 'begin'", "dump-guest-memory", paging=False,
                     protocol=f"file:{self.path('dump')}", begin=-1, length=4096)

    def test_snapshot_of_nothing(self):
        door = self.door()
        for command, more in (("snapshot-save", {"vmstate": "n"}), ("snapshot-delete", {}),
                              ("snapshot-load", {"vmstate": "n"})):
            self.assertEqual(self.run_job(door, command, tag="x", devices=[], **more),
                             "At least one device is required for snapshot")


if __name__ == "__main__":
    unittest.main(verbosity=2)
