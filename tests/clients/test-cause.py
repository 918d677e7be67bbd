#!/usr/bin/env python3
"""Who made the machine stop, reset and shut down: causes of events, with real guests."""
import json
import os
import re
import signal
import socket
import time
import unittest

from godwit import Machine, Qmp, guest
from rsp import Rsp


def machine(kernel, word, *args, **how):
    m = Machine("-kernel", guest(kernel), "-append", word, "-S", *args, connect=False, **how)
    m.qmp = Qmp(m.socket, enable=["godwit-events"])
    return m


class Cause(unittest.TestCase):
    def only(self, cause, **members):
        """The cause has these members, and no other that is not named here."""
        for name, value in members.items():
            if value is not None:
                self.assertEqual(cause.get(name.replace("_", "-")), value, cause)
        self.assertEqual(set(cause), {n.replace("_", "-") for n in members}, cause)

    def access(self, address, value, size=1):
        return {"space": "port", "address": address, "size": size, "write": True, "value": value}

    def reset(self, how, **members):
        with machine("reset", how) as m:
            m.qmp.command("cont")
            event = m.qmp.event("RESET")
            self.assertEqual(event["data"], {"guest": True, "reason": "guest-reset"})
            cause = event["cause"]
            self.only(cause, who="guest", vcpu=0, rip=None, **members)
            self.assertRegex(cause["rip"], r"^0x10[0-9a-f]{4}$")
            last = {e["event"]: e for e in m.qmp.command("godwit-query-cause")["last"]}
            self.assertEqual({n: last["RESET"]["cause"][n] for n in members}, members)
            return cause

    def test_resets_are_told_apart(self):
        self.reset("cf9", what="cf9", access=self.access("0xcf9", "0x6"))
        self.reset("8042", what="i8042", access=self.access("0x64", "0xfe"))
        self.reset("port92", what="port92", access=self.access("0x92", "0x1"))
        self.reset("triple", what="triple fault", exception=13)

    def test_instruction_pointer_is_that_of_the_out(self):
        rip = int(self.reset("port92", what="port92", access=self.access("0x92", "0x1"))["rip"], 16)
        with machine("reset", "hang") as m:
            m.qmp.command("cont")
            m.expect("boot")
            path = os.path.join(m.dir, "code")
            m.qmp.command("pmemsave", val=rip, size=2, filename=path)
            with open(path, "rb") as f:
                self.assertEqual(f.read(), b"\xe6\x92")  # out %al, $0x92

    def test_watchdog_resets(self):
        with machine("fire", "watchdog", "-device", "ib700") as m:
            m.qmp.command("cont")
            watchdog = m.qmp.event("WATCHDOG")
            reset = m.qmp.event("RESET")
            self.only(watchdog["cause"], who="device", what="ib700")
            self.only(reset["cause"], who="device", what="ib700",
                      parent={"event": "WATCHDOG", "seq": watchdog["seq"]})

    def test_watchdog_pauses(self):
        with machine("fire", "watchdog", "-device", "ib700", "-action", "watchdog=pause") as m:
            m.qmp.command("cont")
            watchdog = m.qmp.event("WATCHDOG")
            stop = m.qmp.event("STOP")
            parent = {"event": "WATCHDOG", "seq": watchdog["seq"]}
            self.only(stop["cause"], who="device", what="ib700", parent=parent)
            why = m.qmp.command("godwit-query-cause")
            self.assertEqual(why["status"], "watchdog")
            self.assertEqual(why["cause"], stop["cause"])
            self.assertEqual([(e["event"], e["seq"]) for e in why["chain"]],
                             [("WATCHDOG", watchdog["seq"])])
            self.assertEqual(why["chain"][0]["cause"], watchdog["cause"])
            self.assertEqual([(c["from"], c["to"]) for c in why["changes"]],
                             [("running", "watchdog"), ("prelaunch", "running")])

    def test_panic_then_shutdown_then_stop(self):
        with machine("fire", "panic", "-device", "pvpanic", "-action",
                     "panic=exit-failure,shutdown=pause") as m:
            m.qmp.command("cont")
            panic = m.qmp.event("GUEST_PANICKED")
            shutdown = m.qmp.event("SHUTDOWN")
            stop = m.qmp.event("STOP")
            root = {"who": "guest", "what": "panic", "vcpu": 0, "rip": None,
                    "access": self.access("0x505", "0x1")}
            self.only(panic["cause"], **root)
            self.only(shutdown["cause"], **root,
                      parent={"event": "GUEST_PANICKED", "seq": panic["seq"]})
            self.only(stop["cause"], **root, parent={"event": "SHUTDOWN", "seq": shutdown["seq"]})
            chain = m.qmp.command("godwit-query-cause")["chain"]
            self.assertEqual([e["event"] for e in chain], ["SHUTDOWN", "GUEST_PANICKED"])

    def test_clients(self):
        with machine("fire", "hang") as m:
            m.qmp.sock.sendall(b'{"execute": "cont", "id": "a"}')
            resume = m.qmp.event("RESUME")
            client = {"monitor": "compat_monitor0", "pid": os.getpid(), "uid": os.getuid(),
                      "gid": os.getgid()}
            self.only(resume["cause"], who="client", what="cont",
                      client={**client, "command": "cont", "id": "a"})
            m.qmp.sock.sendall(b'{"execute": "system_reset", "id": {"long": 1}}')
            self.only(m.qmp.event("RESET")["cause"], who="client", what="system_reset",
                      client={**client, "command": "system_reset"})
            m.qmp.sock.sendall(b'{"execute": "human-monitor-command", "id": 7, '
                               b'"arguments": {"command-line": "stop"}}')
            stop = m.qmp.event("STOP")
            self.only(stop["cause"], who="client", what="stop",
                      client={**client, "command": "human-monitor-command", "id": 7})
            m.qmp.command("quit")
            self.assertEqual(m.wait(), 0)
            self.assertIn(b"ended by client: quit, monitor 'compat_monitor0', pid ", m.errors)

    def chain(self, m):
        return [e["event"] for e in m.qmp.command("godwit-query-cause")["chain"]]

    def test_migration(self):
        with machine("fire", "hang") as m:
            m.qmp.command("cont")
            m.qmp.sock.sendall(json.dumps({"execute": "migrate", "id": 5, "arguments": {
                "uri": f"file:{m.dir}/moved"}}).encode())
            cause = m.qmp.event("STOP")["cause"]
            self.assertEqual((cause["who"], cause["what"], cause["client"]["id"]), ("client", "migrate", 5))
            while m.qmp.command("query-status")["status"] != "postmigrate":
                time.sleep(0.01)
            why = m.qmp.command("godwit-query-cause")
            self.assertEqual([(c["from"], c["to"], c["cause"]["what"]) for c in why["changes"][:2]],
                             [("finish-migrate", "postmigrate", "migrate"),
                              ("running", "finish-migrate", "migrate")])
            self.assertEqual([e["event"] for e in why["chain"]], ["STOP"])
            for options, who, what in ((f"file:{m.dir}/moved", "machine", "incoming"),
                                       ("defer", "client", "migrate-incoming")):
                with machine("fire", "hang", "-incoming", options) as there:
                    if options == "defer":
                        there.qmp.command("migrate-incoming", uri=f"file:{m.dir}/moved")
                    while there.qmp.command("query-status")["status"] == "inmigrate":
                        time.sleep(0.01)
                    cause = there.qmp.command("godwit-query-cause")["cause"]
                    self.assertEqual((cause["who"], cause["what"]), (who, what))

    def test_disk_error(self):
        def prepare(folder):
            with open(os.path.join(folder, "disk"), "wb") as file:
                file.truncate(1 << 20)

        with machine("disk", "blk write 8", "-blockdev",
                     "blkdebug,node-name=d0,image.driver=file,image.filename=DIR/disk,"
                     "inject-error.0.event=write_aio", "-device",
                     "virtio-blk-pci,drive=d0,werror=stop,id=vd", prepare=prepare) as m:
            m.qmp.command("cont")
            error = m.qmp.event("BLOCK_IO_ERROR")
            stop = m.qmp.event("STOP")
            path = "/machine/peripheral/vd/virtio-backend"
            self.only(error["cause"], who="device", what=path)
            self.only(stop["cause"], who="device", what=path,
                      parent={"event": "BLOCK_IO_ERROR", "seq": error["seq"]})
            self.assertEqual(self.chain(m), ["BLOCK_IO_ERROR"])

    def test_port(self):
        with machine("disk", "open 1", "-chardev", "null,id=c", "-device", "virtio-serial-pci", "-device",
                     "virtserialport,chardev=c,nr=1,id=p") as m:
            m.qmp.command("cont")
            self.only(m.qmp.event("VSERPORT_CHANGE")["cause"], who="guest", what="virtio-serial")
            time.sleep(1.1)  # the limit on the event
            m.qmp.command("system_reset")
            closed = m.qmp.event("VSERPORT_CHANGE")
            self.assertEqual((closed["data"]["open"], closed["cause"]["what"]), (False, "system_reset"))

    def test_quorum(self):
        def prepare(folder):
            for n in range(3):
                with open(os.path.join(folder, f"c{n}"), "wb") as file:
                    file.write(bytes([n == 1]) * 8192)

        children = [word for n in range(3) for word in (
            "-blockdev", f"raw,node-name=c{n},file.driver=file,file.filename=DIR/c{n}")]
        with machine("disk", "blk read 8", *children, "-blockdev",
                     "quorum,node-name=d0,vote-threshold=2,children.0=c0,children.1=c1,children.2=c2",
                     "-device", "virtio-blk-pci,drive=d0", prepare=prepare) as m:
            m.qmp.command("cont")
            self.only(m.qmp.event("QUORUM_REPORT_BAD")["cause"], who="device", what="quorum")

    def test_clock(self):
        with machine("script", "clock") as m:
            m.qmp.command("cont")
            self.only(m.qmp.event("RTC_CHANGE")["cause"], who="guest", what="rtc", vcpu=0, rip=None,
                      access=self.access("0x71", "0x2"))

    def test_memory_failure_by_command(self):
        with machine("mce", "off") as m:
            m.qmp.command("cont")
            m.expect("ready")
            m.qmp.command("human-monitor-command", command_line="mce 0 9 0xbd000000000000c0 5 0x1000 0x8c")
            client = {"monitor": "compat_monitor0", "pid": os.getpid(), "uid": os.getuid(),
                      "gid": os.getgid(), "command": "human-monitor-command"}
            failure = m.qmp.event("MEMORY_FAILURE")
            self.only(failure["cause"], who="client", what="mce", client=client,
                      memory={"guest-address": "0x1000"})
            self.assertEqual(m.qmp.event("RESET")["cause"]["parent"],
                             {"event": "MEMORY_FAILURE", "seq": failure["seq"]})

    def test_human_monitor(self):
        with machine("fire", "hang", "-chardev", "socket,id=h,path=DIR/hmp,server=on,wait=off", "-mon",
                     "chardev=h,mode=readline") as m:
            m.qmp.command("cont")
            with socket.socket(socket.AF_UNIX) as console:
                console.connect(os.path.join(m.dir, "hmp"))
                console.sendall(b"stop\r")
                self.only(m.qmp.event("STOP")["cause"], who="user", what="stop")

    def test_crash_register(self):
        with machine("hv-crash", "", "-cpu", "max,hv-crash=on", "-action", "panic=pause") as m:
            m.qmp.command("cont")
            access = {"space": "msr", "address": "0x40000105", "size": 8, "write": True,
                      "value": "0x8000000000000000"}
            self.only(m.qmp.event("GUEST_PANICKED")["cause"], who="guest", what="panic", vcpu=0, rip=None,
                      access=access)
            self.only(m.qmp.event("STOP")["cause"], who="guest", what="panic", vcpu=0, rip=None,
                      access=access, parent=None)

    def test_dump(self):
        with machine("fire", "hang") as m:
            m.qmp.command("cont")
            m.qmp.command("dump-guest-memory", paging=False, protocol=f"file:{m.dir}/dump")
            seq = {}
            for name in ("STOP", "DUMP_COMPLETED", "RESUME"):
                event = m.qmp.event(name)
                self.assertEqual(event["cause"]["what"], "dump-guest-memory")
                seq[name] = event
            self.assertEqual(seq["RESUME"]["cause"]["parent"]["seq"], seq["DUMP_COMPLETED"]["seq"])
            self.assertEqual(self.chain(m), ["DUMP_COMPLETED", "STOP"])

    def test_debugger(self):
        with machine("fire", "hang", "-gdb", "unix:DIR/gdb,server=on,wait=off") as m:
            m.qmp.command("cont")
            m.expect("ready|hang")
            gdb = Rsp(os.path.join(m.dir, "gdb"))
            self.only(m.qmp.event("STOP")["cause"], who="user", what="gdb")
            gdb.send("k")
            self.only(m.qmp.event("SHUTDOWN")["cause"], who="user", what="gdb")

    def test_signal(self):
        with machine("fire", "hang") as m:
            m.process.send_signal(signal.SIGTERM)
            self.only(m.qmp.event("SHUTDOWN")["cause"], who="signal", what="SIGTERM",
                      signal={"number": signal.SIGTERM, "name": "SIGTERM", "pid": os.getpid(),
                              "uid": os.getuid()})
            self.assertEqual(m.wait(), 0)
            self.assertRegex(m.errors.decode(), f"ended by signal: SIGTERM, from pid {os.getpid()}")

    def test_guest_power_off_and_last_words(self):
        with machine("fire", "poweroff") as m:
            m.qmp.command("cont")
            shutdown = m.qmp.event("SHUTDOWN")
            self.only(shutdown["cause"], who="guest", what="acpi", vcpu=0, rip=None, access=None)
            self.assertEqual(shutdown["cause"]["access"]["address"], "0x604")
            self.assertEqual(m.wait(), 0)
            self.assertTrue(re.search(r"ended by guest: acpi, vCPU 0 at 0x[0-9a-f]+, wrote "
                                      r"0x[0-9a-f]+ to port 0x604", m.errors.decode()), m.errors)

    def sleeper(self, words):
        """A guest that has gone to sleep by those words; the event that tells."""
        m = machine("script", words)
        self.addCleanup(m.close)
        m.qmp.command("cont")
        return m, m.qmp.event("SUSPEND")

    def state(self, m):
        why = m.qmp.command("godwit-query-cause")
        return why, why["changes"][0]["from"], why["changes"][0]["to"]

    def test_sleep_and_wake_by_command(self):
        m, suspend = self.sleeper("s3")
        self.only(suspend["cause"], who="guest", what="acpi", vcpu=0, rip=None, access=None)
        self.assertEqual(suspend["cause"]["access"]["address"], "0x604")
        why, before, after = self.state(m)
        self.assertEqual((before, after), ("running", "suspended"))
        self.assertEqual({n: v for n, v in why["cause"].items() if n != "parent"},
                         suspend["cause"])
        m.qmp.command("system_wakeup")
        wakeup = m.qmp.event("WAKEUP")
        self.assertEqual((wakeup["cause"]["who"], wakeup["cause"]["what"],
                          wakeup["cause"]["client"]["command"]),
                         ("client", "system_wakeup", "system_wakeup"))
        why, before, after = self.state(m)
        self.assertEqual((before, after), ("suspended", "running"))
        self.assertEqual(why["cause"]["what"], "system_wakeup")
        self.assertEqual({e["event"] for e in why["last"]} & {"SUSPEND", "WAKEUP"},
                         {"SUSPEND", "WAKEUP"})

    def test_wake_by_alarm(self):
        m, _ = self.sleeper("alarm 1 s3")
        wakeup = m.qmp.event("WAKEUP", timeout=60)
        self.only(wakeup["cause"], who="device", what="RTC alarm")
        self.assertEqual(self.state(m)[0]["cause"]["what"], "RTC alarm")

    def test_power_button(self):
        m, _ = self.sleeper("s3")
        m.qmp.command("system_powerdown")
        powerdown = m.qmp.event("POWERDOWN")
        self.assertEqual(powerdown["cause"]["client"]["command"], "system_powerdown")
        wakeup = m.qmp.event("WAKEUP")
        self.assertEqual(wakeup["cause"]["client"]["command"], "system_powerdown")
        self.assertEqual(wakeup["cause"]["parent"],
                         {"event": "POWERDOWN", "seq": powerdown["seq"]})

    def test_suspend_to_disk(self):
        with machine("script", "s4") as m:
            m.qmp.command("cont")
            disk = m.qmp.event("SUSPEND_DISK")
            self.only(disk["cause"], who="guest", what="acpi", vcpu=0, rip=None, access=None)
            shutdown = m.qmp.event("SHUTDOWN")
            self.assertEqual(shutdown["cause"]["what"], "acpi")
            self.assertEqual(m.wait(), 0)
            self.assertIn(b"ended by guest: acpi, vCPU 0 at 0x", m.errors)

    def test_exit_action(self):
        """Last words also where no client and no signal is behind the end."""
        with machine("fire", "watchdog", "-device", "ib700", "-action", "watchdog=shutdown") as m:
            m.qmp.command("cont")
            self.assertEqual(m.qmp.event("POWERDOWN")["cause"]["what"], "ib700")
        with machine("fire", "watchdog", "-device", "ib700", "-action", "watchdog=poweroff") as m:
            m.qmp.command("cont")
            self.assertEqual(m.wait(), 0)
            self.assertIn(b"ended by device: ib700", m.errors)
        with machine("reset", "triple", "-no-reboot") as m:
            m.qmp.command("cont")
            self.assertEqual(m.wait(), 0)
            self.assertRegex(m.errors.decode(), "ended by guest: triple fault, vCPU 0 at 0x[0-9a-f]+, "
                                                "exception 13")

    def test_before_anything_happened(self):
        with machine("fire", "hang") as m:
            why = m.qmp.command("godwit-query-cause")
            self.assertEqual(why, {"status": "prelaunch", "chain": [], "changes": [], "last": []})
            m.qmp.command("cont")
            m.qmp.command("stop")
            for _ in range(20):
                m.qmp.command("cont")
                m.qmp.command("stop")
            why = m.qmp.command("godwit-query-cause")
            self.assertEqual(len(why["changes"]), 16)
            self.assertEqual((why["status"], why["changes"][0]["to"]), ("paused", "paused"))


if __name__ == "__main__":
    unittest.main()
