"""The tree of objects: paths, properties, what a CPU says of its guest's crash, the clock's date."""
import datetime
import time
import unittest

from godwit import Machine, Qmp, guest

CRASHED = {"type": "hyper-v", "arg1": 2**53 + 1}


class Objects(unittest.TestCase):
    def start(self, *args):
        m = Machine(*args)
        self.addCleanup(m.close)
        return m

    def get(self, m, path, name):
        return m.qmp.command("qom-get", path=path, property=name)

    def error(self, m, path, name):
        return m.qmp.request("qom-get", path=path, property=name)["error"]

    def names(self, m, path):
        return {p["name"]: p["type"] for p in m.qmp.command("qom-list", path=path)}

    def test_tree(self):
        m = self.start("-S", "-smp", "2", "-machine", "q35", "-cpu", "qemu64", "-device", "pvpanic",
                       "-device", "ib700,id=wd", "-device", "pvpanic-pci,id=p,events=1")
        self.assertEqual(self.names(m, "/"), {
            "type": "string", "machine": "child<pc-q35-7.2-machine>", "objects": "child<container>"})
        self.assertEqual(self.names(m, "/machine"), {
            "type": "string", "rtc-time": "struct tm", "unattached": "child<container>",
            "peripheral": "child<container>", "peripheral-anon": "child<container>"})
        self.assertEqual(self.names(m, "/machine/peripheral"),
                         {"type": "string", "wd": "child<ib700>", "p": "child<pvpanic-pci>"})
        self.assertEqual(self.names(m, "/machine/peripheral-anon"),
                         {"type": "string", "device[0]": "child<pvpanic>"})
        board = self.names(m, "/machine/unattached")
        self.assertIn("child<ICH9-LPC>", board.values())
        for cpu in m.qmp.command("query-cpus-fast"):
            self.assertEqual(self.get(m, cpu["qom-path"], "type"), "qemu64-x86_64-cpu")
            self.assertEqual(self.get(m, cpu["qom-path"], "apic-id"), cpu["cpu-index"])
            self.assertEqual(self.names(m, cpu["qom-path"])["crash-information"], "GuestPanicInformation")
        self.assertEqual(self.get(m, "/machine/peripheral/p", "events"), 1)
        events = next(p for p in m.qmp.command("qom-list", path="p") if p["name"] == "events")
        self.assertEqual((events["type"], events["default-value"]), ("uint8", 3))
        self.assertIn("panic", events["description"])
        self.assertIs(self.get(m, "/machine/peripheral/p", "realized"), True)
        self.assertEqual(self.get(m, "wd", "type"), "ib700")
        self.assertEqual(self.get(m, "peripheral/wd", "type"), "ib700")
        self.assertEqual(self.get(m, "/machine", "unattached"), "/machine/unattached")
        # all that is listed can be had, but for a crash that was none
        for path in ["/", "/machine", "/machine/unattached", "/machine/peripheral/p",
                     *("/machine/unattached/" + name for name in board if "[" in name)]:
            for name in self.names(m, path):
                if name != "crash-information":
                    self.get(m, path, name)

    def start_none(self):
        m = Machine("-M", "none", "-S", serial=False)
        self.addCleanup(m.close)
        return m

    def types(self, m, **args):
        return {t["name"]: t.get("parent") for t in m.qmp.command("qom-list-types", **args)}

    def test_types(self):
        m = self.start_none()
        types = self.types(m)
        for name, parent in {"i6300esb": "pci-device", "isa-serial": "isa-device", "tcg-accel": "accel",
                             "qemu64-x86_64-cpu": "x86_64-cpu", "rng-random": "rng-backend", "none-machine":
                             "machine", "pc-q35-7.2-machine": "generic-pc-machine"}.items():
            self.assertEqual(types[name], parent)
        for abstract in "object", "device", "pci-device":
            self.assertNotIn(abstract, types)
            self.assertIn(abstract, self.types(m, abstract=True))
        self.assertEqual(self.types(m, implements="nope"), {})
        self.assertEqual(self.types(m, implements="rng-backend"),
                         {"rng-random": "rng-backend", "rng-builtin": "rng-backend"})
        self.assertIn("secret", self.types(m, implements="user-creatable"))
        self.assertNotIn("i6300esb", self.types(m, implements="user-creatable"))
        devices = self.types(m, implements="device")
        self.assertIn("i6300esb", devices)
        self.assertIn("max-x86_64-cpu", devices)
        self.assertNotIn("rng-random", devices)

    def test_type_properties(self):
        m = self.start_none()
        ask = m.qmp.command
        props = {p["name"]: p for p in ask("device-list-properties", typename="pvpanic-pci")}
        self.assertEqual(props["events"]["type"], "uint8")
        self.assertEqual(props["events"]["default-value"], 3)
        self.assertEqual({p["name"]: p["type"] for p in ask("qom-list-properties", typename="rng-random")},
                         {"type": "string", "opened": "bool", "filename": "string"})
        for typename in self.types(m, abstract=True):
            names = [p["name"] for p in ask("qom-list-properties", typename=typename)]
            self.assertEqual(len(names), len(set(names)), typename)
            self.assertIn("type", names)
        cpu = {p["name"]: p["type"] for p in ask("qom-list-properties", typename="max-x86_64-cpu")}
        self.assertEqual((cpu["unavailable-features"], cpu["avx2"]), ("strList", "bool"))
        for command in "device-list-properties", "qom-list-properties":
            self.assertEqual(m.qmp.request(command, typename="nope")["error"]["class"], "DeviceNotFound")
        for typename in "device", "none-machine", "rng-random":
            self.assertEqual(m.qmp.request("device-list-properties", typename=typename)["error"], {
                "class": "GenericError",
                "desc": "Parameter 'typename' expects a non-abstract device type"})

    def test_cpu_features(self):
        m = self.start("-S", "-cpu", "qemu64,+avx,-popcnt,+vmx")
        cpu = m.qmp.command("query-cpus-fast")[0]["qom-path"]
        self.assertEqual([self.get(m, cpu, name) for name in ("avx", "popcnt", "vmx")], [False, False, False]
                         if "avx" in self.get(m, cpu, "unavailable-features") else [True, False, False])
        self.assertIn("vmx", self.get(m, cpu, "unavailable-features"))

    def test_set(self):
        m = self.start("-S", "-device", "ib700,id=wd")

        def error(path, name):
            return m.qmp.request("qom-set", path=path, property=name, value=1)["error"]
        cpu = m.qmp.command("query-cpus-fast")[0]["qom-path"]
        self.assertEqual(error("/nope", "type")["class"], "DeviceNotFound")
        self.assertEqual(error("wd", "nope"), {"class": "GenericError", "desc": "Property 'ib700.nope' not found"})
        for path, name in ("wd", "type"), (cpu, "avx"), (cpu, "crash-information"), ("/machine", "peripheral"):
            self.assertRegex(error(path, name)["desc"], rf"^Property '.*\.{name}' is not writable$")

    def test_same_device_on_another_bus(self):
        """The balloon and the bus of serial ports are found where there is no PCI, too."""
        m = self.start("-S", "-M", "microvm", "-device", "virtio-balloon-device,id=b", "-device",
                       "virtio-serial-device,id=vs", "-chardev", "null,id=c", "-device",
                       "virtserialport,bus=vs.0,chardev=c,id=port")
        self.assertGreater(m.qmp.command("query-balloon")["actual"], 0)
        m.qmp.command("qom-set", path="b", property="guest-stats-polling-interval", value=2)
        self.assertEqual(self.get(m, "b", "guest-stats-polling-interval"), 2)
        self.assertIn("port", self.names(m, "/machine/peripheral"))

    def test_refused(self):
        m = self.start("-S", "-device", "pvpanic", "-device", "ib700,id=wd")
        nothing = {"class": "DeviceNotFound", "desc": "Device '/nope' not found"}
        self.assertEqual(self.error(m, "/nope", "type"), nothing)
        self.assertEqual(m.qmp.request("qom-list", path="/nope")["error"], nothing)
        for path in "", "d", "machine/", "/machine/", "//machine", "eripheral/wd":
            self.assertEqual(self.error(m, path, "type")["class"], "DeviceNotFound", path)
        self.assertEqual(self.error(m, "device[0]", "type"), {
            "class": "GenericError", "desc": "Path 'device[0]' does not uniquely identify an object"})
        self.assertEqual(self.error(m, "/machine/peripheral/wd", "nope"), {
            "class": "GenericError", "desc": "Property 'ib700.nope' not found"})

    def test_none(self):
        m = self.start_none()
        self.assertNotIn("rtc-time", self.names(m, "/machine"))
        self.assertEqual(self.names(m, "/machine/unattached"), {"type": "string"})

    def crash(self, m):
        return m.qmp.request("qom-get", path=m.qmp.command("query-cpus-fast")[0]["qom-path"],
                             property="crash-information")

    def test_crash_information(self):
        """It can be had by a client that comes after the event, until the next reset."""
        m = self.start("-kernel", guest("hv-crash"), "-cpu", "max,hv-crash", "-S", "-action", "panic=pause")
        self.assertEqual(self.crash(m)["error"]["desc"], "No crash occurred")
        m.qmp.command("cont")
        info = m.qmp.event("GUEST_PANICKED")["data"]["info"]
        m.qmp.event("STOP")
        self.assertEqual(info["arg1"], CRASHED["arg1"])
        m.qmp.close()
        m.qmp = Qmp(m.socket)
        self.assertEqual(self.crash(m)["return"], info)
        m.qmp.command("system_reset")
        self.assertEqual(self.crash(m)["error"]["desc"], "No crash occurred")

    def test_crash_without_information(self):
        for cpu, expected in ("max", {"error": {"class": "GenericError", "desc": "No crash information"}}), \
                ("max,hv-crash", {"return": {"type": "hyper-v", "arg1": 0, "arg2": 0, "arg3": 0, "arg4": 0,
                                             "arg5": 0}}):
            m = self.start("-kernel", guest("script"), "-append", "panic 1", "-device", "pvpanic", "-cpu",
                           cpu, "-action", "panic=pause", "-S")
            m.qmp.command("cont")
            m.qmp.event("STOP")
            self.assertEqual(self.crash(m), expected)

    def date(self, tm):
        return datetime.datetime(tm["tm_year"] + 1900, tm["tm_mon"] + 1, tm["tm_mday"], tm["tm_hour"],
                                 tm["tm_min"], tm["tm_sec"])

    def test_date(self):
        """The event names the clock whose date then shows what the guest has set."""
        m = self.start("-kernel", guest("script"), "-append", "clock", "-S", "-rtc",
                       "base=2020-02-29T10:20:30,clock=vm")
        before = self.date(self.get(m, "/machine", "rtc-time"))
        self.assertEqual(before, datetime.datetime(2020, 2, 29, 10, 20, 30))
        m.qmp.command("cont")
        event = m.qmp.event("RTC_CHANGE")
        self.assertEqual(event["data"]["offset"], 3600)
        path = event["data"]["qom-path"]
        self.assertEqual(self.get(m, path, "type"), "mc146818rtc")
        m.qmp.command("stop")
        after = self.date(self.get(m, path, "date"))
        self.assertEqual(after, self.date(self.get(m, "/machine", "rtc-time")))
        self.assertGreaterEqual(after - before, datetime.timedelta(hours=1))
        self.assertLess(after - before, datetime.timedelta(hours=2))

    def test_clock_in_pauses(self):
        """It goes on, by either clock of the host."""
        for clock in "host", "rt":
            with self.subTest(clock):
                m = self.start("-kernel", guest("counter"), "-rtc", "clock=" + clock)
                m.qmp.command("stop")
                before = self.date(self.get(m, "/machine", "rtc-time"))
                time.sleep(2.2)
                m.qmp.command("cont")
                m.qmp.command("stop")
                after = self.date(self.get(m, "/machine", "rtc-time"))
                self.assertGreaterEqual(after - before, datetime.timedelta(seconds=2))


if __name__ == "__main__":
    unittest.main()
