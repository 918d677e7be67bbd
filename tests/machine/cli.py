"""The command line: forms that are taken, and bad input, which must say why and leave nothing behind."""
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
import unittest

from godwit import GODWIT, TIME_FACTOR, Machine, Qmp, guest, run

BAD = [
    (["-foo"], "-foo: invalid option"),
    (["--foo"], "--foo: invalid option"),
    (["disk.img"], "Could not open 'disk.img'"),
    (["-m"], "-m: requires an argument"),
    (["-m", "0"], "must be 1 MiB at least"),
    (["-m", "12x"], "'12x' is not a memory size"),
    (["-m", "-5"], "'-5' is not a memory size"),
    (["-m", ""], "is not a memory size"),
    (["-m", "99999999999999999999"], "is not a memory size"),
    (["-m", "1000000000"], "MiB of memory, the host has"),
    (["-m", "1G,slots=2"], "slots specified but no max-size"),
    (["-M", "foo"], "unsupported machine type 'foo'"),
    (["-M", "q35,foo=1"], "invalid parameter 'foo'"),
    (["-M", "q35,usb=on"], "machine property 'usb' is always 'off'"),
    (["-M", "q35,usb=maybe"], "expects 'on' or 'off'"),
    (["-smbios", "vendor=x"], "type=NUMBER is wanted"),
    (["-smbios", "type=5"], "type 5 is not supported (there are 0 to 4, 11 and 17)"),
    (["-smbios", "type=1,foo=x"], "invalid parameter 'foo'"),
    (["-smbios", "type=1,uuid=12"], "'12' is not a UUID"),
    (["-smbios", "type=0,release=1"], "release '1': two numbers up to 255"),
    (["-smbios", "type=17,speed=70000"], "speed '70000': a number up to 65535"),
    (["-smbios", "type=11,path=/nonexistent"], "/nonexistent"),
    (["-smbios", "type=11" + ",value=x" * 256, "-display", "none"], "256 strings, 255 are the most"),
    (["-M", "q35,smm=on"], "machine property 'smm' is always 'off'"),
    (["-M", "q35,hpet=2"], "expects 'on' or 'off'"),
    (["-M", "q35,kernel-boot=disk"], "invalid kernel-boot 'disk' (direct or firmware)"),
    (["-accel", "qtest", "-singlestep"], "single steps: the accelerator 'qtest' can't, only 'tcg'"),
    (["-M", "q35,kernel-boot=firmware", "-kernel", guest("hello-pvh"), "-display", "none"],
     "firmware starts Linux bzImages and Multiboot images only"),
    (["-M", "q35,accel=foo"], "invalid accelerator 'foo'"),
    (["-accel", "foo"], "invalid accelerator 'foo'"),
    (["-accel", "kvm,dirty-ring-size=1000"], "must be 0 or a power of two from 1024 to 65536"),
    (["-M", "q35,pit=off", "-display", "none"], "only microvm can be without"),
    (["-M", "microvm,rtc=maybe"], "parameter 'rtc' expects 'on', 'off' or 'auto'"),
    (["-M", "microvm,x-option-roms=on"], "machine property 'x-option-roms' is always 'off'"),
    (["-M", "microvm,isa-serial=off", "-display", "none", "-serial", "null"],
     "with isa-serial=off there is no serial port"),
    (["-M", "q35,kernel_irqchip=off"], "the local APICs are always the kernel's"),
    (["-accel", "kvm,kernel-irqchip=all"], "must be 'split' or 'on'"),
    (["-accel", "foo:bar"], "invalid accelerator 'bar'"),
    (["-accel", "tcg,foo=1"], "invalid parameter 'foo'"),
    (["-serial", "tcp:127.0.0.1:65536,server=on,wait=off"], "a port is a number up to 65535"),
    (["-gdb", "tcp::99999"], "a port is a number up to 65535"),
    (["-nic", "socket,connect=127.0.0.1:65537"], "a port is a number up to 65535"),
    (["-accel", "tcg,x-translate=off,x-lockstep=on"], "it needs x-translate=on"),
    (["-accel", "tcg,x-lockstep=on", "-smp", "2"], "x-lockstep=on with 2 vCPUs needs thread=single"),
    (["-accel", "tcg,thread=foo"], "invalid 'thread' setting 'foo'"),
    (["-smp", "0"], "expects a number from 1"),
    (["-smp", "x"], "expects a number from 1"),
    (["-smp", "4,sockets=2,cores=2,threads=2"],
     "product of the hierarchy must match maxcpus: sockets (2) * dies (1) * cores (2) * threads (2) != maxcpus (4)"),
    (["-smp", "sockets=4096,dies=4096,threads=256"], "more than 4096 CPUs"),
    (["-M", "q35,smp.foo=3"], "invalid parameter 'foo'"),
    (["-smp", "2,sockets=3"], "Invalid CPU topology"),
    (["-smp", "2,maxcpus=1"], "== maxcpus (1) < smp_cpus (2)"),
    (["-smp", "2,clusters=2"], "clusters not supported by this machine's CPU topology"),
    (["-smp", "300"], "Invalid SMP CPUs 300. The max CPUs supported by machine"),
    (["-cpu", "foo"], "'foo'"),
    (["-cpu", "qemu64,foo=on"], "can't apply global qemu64-x86_64-cpu.foo=on: Property "),
    (["-cpu", "qemu64,avx=maybe"], "Parameter 'avx' expects 'on' or 'off'"),
    (["-cpu", "max,model=300"], "(minimum: 0, maximum: 255)"),
    (["-cpu", "max,vendor=abc"], "Property '.vendor' doesn't take value 'abc'"),
    (["-cpu", "max,phys-bits=80"], "phys-bits should be between 32 and 52"),
    (["-cpu", "max,host-phys-bits-limit=20"], "32 bits of physical address at least"),
    (["-cpu", "max,hv-evmcs"], "there is no such part of Hyper-V's interface"),
    (["-cpu", "max,hv_spinlocks=1"], "(minimum: 4095, maximum: 4294967295)"),
    (["-cpu", "max,hv-vendor-id=much too long"], "Property '.hv-vendor-id' doesn't take value"),
    (["-accel", "tcg", "-cpu", "max,hv-relaxed,enforce"], "hv-relaxed"),
    (["-cpu", "max,host-phys-bits=x"], "Parameter 'host-phys-bits' expects 'on' or 'off'"),
    (["-accel", "tcg", "-cpu", "max,host-cache-info=on"], "host-cache-info=on requires KVM"),
    (["-fw_cfg", "opt/x"], "name and one of file and string are wanted"),
    (["-fw_cfg", "opt/x,string=a,file=b"], "name and one of file and string are wanted"),
    (["-fw_cfg", "opt/x,file=/nonexistent"], "'/nonexistent': No such file or directory"),
    (["-fw_cfg", "opt/x,file=/"], "not a regular file"),
    (["-fw_cfg", "name=opt/x,gen_id=a,string=b"], "invalid parameter 'gen_id'"),
    (["-fw_cfg", "opt/" + "x" * 60 + ",string=a", "-display", "none"], "too long (at most 55"),
    (["-M", "microvm", "-smp", "4,dies=2"], "dies not supported by this machine's CPU topology"),
    (["-cpu", "Haswell,migratable=off"], "Property 'Haswell-x86_64-cpu.migratable' not found"),
    (["-boot", "splash=/nonexistent", "-display", "none"], "splash=/nonexistent: "),
    (["-boot", "splash=/bin/sh", "-display", "none"], "not a JPEG picture or a BMP"),
    (["-boot", "splash="], "splash wants the name of a picture"),
    (["-fw_cfg", "opt/x,string=a", "-fw_cfg", "opt/x,string=b", "-display", "none"],
     "there is a file 'opt/x' already"),
    (["-machine", "q35,i8042=off"], "machine property 'i8042' is always 'on'"),
    (["-machine", "q35,firmware=/nonexistent/rom"], "firmware '/nonexistent/rom': No such file"),
    (["-acpitable", "sig=ABCD"], "one of data (without a header) and file is wanted"),
    (["-acpitable", "file=a,data=b"], "one of data (without a header) and file is wanted"),
    (["-acpitable", "data=/etc/hostname"], "data= is only with sig="),
    (["-acpitable", "sig=ABCD,data=/nonexistent"], "/nonexistent"),
    (["-acpitable", "file=/dev/null"], "shorter than the header of a table"),
    (["-acpitable", "sig=ABCDE,data=/etc/passwd"], "sig 'ABCDE' has more than 4 characters"),
    (["-acpitable", "sig=ABCD,rev=256,data=/etc/passwd"], "rev"),
    (["-acpitable", "sig=ABCD,data=" + ":".join(["/bin/sh"] * 9)], "larger than 65535 bytes"),
    (["-acpitable", "sig=ABCD,data=/etc/passwd,foo=1"], "invalid parameter 'foo'"),
    (["-option-rom", "/nonexistent/rom"], "'/nonexistent/rom': No such file or directory"),
    (["-option-rom", "/etc/passwd", "-option-rom", "/etc/passwd"], "there is a file 'genroms/passwd'"),
    (["-option-rom", "/etc/passwd,foo=1"], "invalid parameter 'foo'"),
    (["-parallel", "stdio"], "there is no parallel port"),
    (["-pflash", "/nonexistent/flash"], "/nonexistent/flash"),
    (["-fw_cfg", "etc/e820,string=a"], "-fw_cfg: file 'etc/e820' is the machine's own"),
    (["-fw_cfg", "bootorder,string=a"], "-fw_cfg: file 'bootorder' is the machine's own"),
    (["-fw_cfg", "etc/table-loader,string=a", "-S"],
     "-fw_cfg: file 'etc/table-loader' is the machine's own"),
    (["-M", "none", "-fw_cfg", "opt/x,string=a"], "machine 'none' has no fw_cfg"),
    (["-cpu", "max,tsc-frequency=1"], "1 MHz to 100 GHz"),
    (["-cpu", "max,pmu=on"], "there are no performance counters"),
    (["-accel", "tcg", "-cpu", "host"], "CPU model 'host' requires KVM"),
    (["-accel", "tcg", "-cpu", "Haswell,enforce"], "TCG doesn't support requested features"),
    (["-cpu", "qemu64,+foo"], "Property 'qemu64-x86_64-cpu.foo' not found"),
    (["-kernel", "/nonexistent/vmlinuz"], "kernel '/nonexistent/vmlinuz': No such file"),
    (["-kernel", "/etc/passwd"], "not a kernel"),
    (["-kernel", "/"], "not a regular file"),
    (["-initrd", "/etc/passwd"], "-initrd is only for a -kernel"),
    (["-append", "quiet"], "-append is only for a -kernel"),
    (["-bios", "/nonexistent/rom"], "firmware '/nonexistent/rom': No such file"),
    (["-bios", "/etc/passwd"], "whole 4 KiB pages"),
    (["-device", "foo"], "-device foo: 'foo' is not a valid device model name"),
    (["-device", "isa-serial,foo=1"], "'foo'"),
    (["-device", "isa-serial,chardev=zz"], "'zz'"),
    (["-device", '{"driver":"isa-serial"'], "not a JSON object"),
    (["-global", "ICH9-LPC"], "DRIVER.PROPERTY=VALUE"),
    (["-global", "ICH9-LPC.foo=1"], "can't apply global ICH9-LPC.foo=1"),
    (["-global", "ICH9-LPC.disable_s3=x"], "disable_s3"),
    (["-serial", "foo:bar"], "foo:bar"),
    (["-serial", "chardev:zz"], "there is no chardev 'zz'"),
    (["-chardev", "stdio"], "id"),
    (["-chardev", "null,id=a", "-chardev", "null,id=a"], "chardev 'a' already"),
    (["-mon", "chardev=zz,mode=control"], "zz"),
    (["-mon", "chardev=zz,mode=foo"], "there is no mode 'foo'"),
    (["-qmp", "unix:/nonexistent/dir/q,server=on,wait=off"], "/nonexistent/dir/q"),
    (["-qmp", "foo"], "foo"),
    (["-nographic", "-monitor", "stdio"], "cannot use stdio by multiple"),
    (["-serial", "stdio", "-chardev", "stdio,id=a"], "cannot use stdio by multiple"),
    (["-display", "gtk"], "there is no display 'gtk'"),
    (["-uuid", "zzz"], "'zzz' is not a UUID"),
    (["-name", "a,b=c"], "invalid parameter 'b'"),
    (["-rtc", "base=yesterday"], "invalid base 'yesterday'"),
    (["-action", "foo=bar"], "invalid parameter 'foo'"),
    (["-action", "reboot=bar"], "Parameter 'reboot' does not accept value 'bar'"),
    (["-action", "panic=none,watchdog=x"], "Parameter 'watchdog' does not accept value 'x'"),
    (["--preconfig", "-incoming", "tcp:127.0.0.1:0"], "'preconfig' supports '-incoming defer' only"),
    (["--preconfig", "-loadvm", "x"], "'preconfig' and 'loadvm' options are mutually exclusive"),
    (["-watchdog-action", "bar"], "Parameter 'watchdog' does not accept value 'bar'"),
    (["-d", "foo"], "there is no log item 'foo'"),
    (["-M", "none", "-kernel", "/etc/passwd"], "can't start anything"),
    (["-M", "none", "-serial", "null"], "has no bus"),
    (["-machine", "pflash1=a"], "pflash1 is only for a machine with pflash0"),
    (["-pidfile", "/nonexistent/dir/pid"], "/nonexistent/dir/pid"),
    (["-sandbox", "maybe"], "parameter 'enable' expects 'on' or 'off'"),
    (["-sandbox", "on,obsolete=x"], "invalid argument for obsolete: 'x', use allow or deny"),
    (["-sandbox", "on,spawn=children"], "invalid argument for spawn"),
    (["-sandbox", "on,elevateprivileges=x"], "use allow, deny or children"),
    (["-sandbox", "on,resourcecontrol=on"], "invalid argument for resourcecontrol"),
    (["-sandbox", "on,foo=deny"], "invalid parameter 'foo'"),
    (["-runas", "no such user"], 'User "no such user" doesn\'t exist (and is not <uid>:<gid>)'),
    (["-runas", "1:4294967295"], "is not <uid>:<gid>"),
    (["-chroot", "/nonexistent/root"], "-chroot /nonexistent/root: No such file or directory"),
    (["-msg", "timestamp=maybe"], "parameter 'timestamp' expects 'on' or 'off'"),
    (["-msg", "guest-name=on"], "guest-name=on is not supported"),
    (["-overcommit", "cpu-pm=on"], "cpu-pm=on is not supported"),
    (["-audiodev", "alsa,id=a"], "there is no audio driver 'alsa'"),
    (["-audiodev", "none"], "Parameter 'id' is missing"),
    (["-object", "secret,id=s"], "Must provide 'file' or 'data'"),
    (["-object", "secret,id=s,data=x,file=y"], "mutually exclusive"),
    (["-object", "secret,id=s,file=/nonexistent/key"], "/nonexistent/key"),
    (["-object", "secret,id=s,file=/dev/zero"], "too long for a secret"),
    (["-object", "secret,id=s,data=a-b,format=base64"], "Base64 data is not valid"),
    (["-object", "secret,id=s,data=a,format=hex"], "hex"),
]


def bzimage(init_size=0x100000):
    """A Linux kernel's header, of a file that is whole: 5 setup sectors and 4 KiB."""
    header = bytearray(5 * 512 + 4096)
    header[0x1f1] = 4
    header[0x1f4:0x1f8] = (4096 // 16).to_bytes(4, "little")
    header[0x1fe:0x200] = b"\x55\xaa"
    header[0x202:0x206] = b"HdrS"
    header[0x206:0x208] = (0x20f).to_bytes(2, "little")
    header[0x211] = 1
    header[0x258:0x260] = (0x1000000).to_bytes(8, "little")
    header[0x260:0x264] = init_size.to_bytes(4, "little")
    return bytes(header)


class Bad(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="godwit-cli-")

    def tearDown(self):
        shutil.rmtree(self.dir)

    def refused(self, args, text):
        sock, pid = os.path.join(self.dir, "s"), os.path.join(self.dir, "p")
        pidfile = [] if "-pidfile" in args else ["-pidfile", pid]
        result = run("-S", "-display", "none", "-qmp", f"unix:{sock},server=on,wait=off",
                     *pidfile, *args)
        self.assertEqual(result.returncode, 1, (args, result))
        self.assertTrue(result.stderr.startswith("godwit: "), result.stderr)
        self.assertIn(text, result.stderr)
        self.assertEqual(result.stdout, "")
        self.assertEqual(os.listdir(self.dir), [], args)

    def test_each(self):
        for args, text in BAD:
            with self.subTest(args=args):
                self.refused(args, text)

    def refused_kernel(self, content, text):
        with tempfile.NamedTemporaryFile(prefix="godwit-cli-") as kernel:
            kernel.write(content)
            kernel.flush()
            self.refused(["-kernel", kernel.name, "-m", "64"], text)

    def test_fw_cfg_file_too_large(self):
        with tempfile.NamedTemporaryFile(prefix="godwit-cli-") as file:
            file.truncate(1 << 40)
            self.assertIn("larger than 256 MiB", run("-fw_cfg", f"opt/x,file={file.name}").stderr)

    def test_kernel_too_big_for_ram(self):
        self.refused_kernel(bzimage(init_size=0x10000000),
                            "needs 272 MiB of RAM, the machine has 64")

    def test_truncated_kernel(self):
        whole = bzimage()
        for length in len(whole) - 16, len(whole) - 1000, 2560, 2559, 700:
            self.refused_kernel(whole[:length], "truncated: its header announces 6656 bytes, "
                                f"the file has {length}")
        for length in 0x206, 0x240, 600:
            self.refused_kernel(whole[:length],
                                f"truncated or damaged Linux setup header ({length} bytes)")
        self.refused_kernel(whole[:0x205], "not a kernel")
        self.refused_kernel(b"", "not a kernel")

    def test_socket_in_use(self):
        path = os.path.join(self.dir, "used")
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(path)
            s.listen(1)
            result = run("-S", "-display", "none", "-qmp", f"unix:{path},server=on,wait=off")
            self.assertEqual(result.returncode, 1)
            self.assertTrue(result.stderr.startswith("godwit: "), result.stderr)
            self.assertIn(path, result.stderr)
            self.assertEqual(result.stdout, "")
            with socket.socket(socket.AF_UNIX) as client:  # still the other one's
                client.connect(path)
        os.unlink(path)

    def test_stale_socket_is_replaced(self):
        path = os.path.join(self.dir, "stale")
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(path)
        with Machine("-S", "-qmp", f"unix:path={path},server=on,wait=off"):  # the key may be told
            Qmp(path).close()
        self.assertFalse(os.path.exists(path))


class Good(unittest.TestCase):
    def test_version(self):
        for option in "-version", "--version":
            result = run(option)
            self.assertEqual(result.returncode, 0)
            self.assertRegex(result.stdout, r"version \d+\.\d+")

    def test_help_lists_every_option(self):
        result = run("--help")
        self.assertEqual(result.returncode, 0)
        for option in ("-machine", "-accel", "-m ", "-smp", "-qmp", "-device", "-action"):
            self.assertIn(option, result.stdout)

    def test_manual_page_has_every_option(self):
        page = os.path.join(os.environ["SCRIPTS"], "..", "docs", "godwit.1")
        with open(page) as f:
            text = f.read().replace("\\-", "-")
        for option in re.findall(r"^-([\w-]+)", run("-help").stdout, re.M):
            if option not in ("h", "help", "M"):
                self.assertIn(f"-{option}", text)

    def test_lists(self):
        self.assertIn("isa-serial", run("-device", "help").stdout)
        for name in "virtio-blk-pci", "virtio-blk-pci-transitional":
            told = run("-device", f"{name},help").stdout
            self.assertIn(f"{name} options:", told)
            self.assertIn("  disable-legacy=auto|on|off  - ", told)
        self.assertIn("pc-q35-7.2", run("-M", "help").stdout)
        self.assertIn("tcg", run("-accel", "help").stdout)

    def test_forms(self):
        uuid = "AAAAAAAA-0000-4000-8000-000000000003"
        with Machine("--machine", "type=pc-q35-7.2,accel=kvm:tcg,usb=off,dump-guest-core=off",
                     "-m", "size=65536k", "-smp", "cpus=2,sockets=1,cores=2,threads=1",
                     "-name", "guest=a,,b,debug-threads=on", "-uuid", uuid, "-S", "-nodefaults",
                     "-no-user-config", "-parallel", "none", "-rtc", "base=utc", "-boot", "strict=on", "-no-reboot",
                     "-chardev", "null,id=c0", "-device",
                     '{"driver":"isa-serial","chardev":"c0","id":"s0","index":1}') as m:
            q = m.qmp
            self.assertEqual(q.command("query-name"), {"name": "a,b"})
            self.assertEqual(q.command("query-uuid")["UUID"], uuid.lower())
            self.assertEqual(len(q.command("query-cpus-fast")), 2)
            self.assertEqual(q.command("query-memory-size-summary")["base-memory"], 64 << 20)
            self.assertEqual(q.command("query-status")["status"], "prelaunch")
            self.assertIn("c0", [c["label"] for c in q.command("query-chardev")])

    def read_config(self, text, *args):
        with tempfile.NamedTemporaryFile("w", prefix="godwit-config-") as file:
            file.write(text)
            file.flush()
            return Machine("-M", "q35", "-readconfig", file.name, "-S", *args)

    def test_readconfig(self):
        config = '''
            # a machine
            [machine]
            type = "pc"
            accel = "tcg"
            [memory]
            size = "96"
            [smp-opts]
            cpus = "2"
            [name]
            guest = "a,b"

            [drive "d0"]
            if = "none"
            file = "null-co://"
            format = "raw"
            [device "disk"]
              driver = "virtio-blk-pci"
              drive = "d0"
            [object]
            qom-type = "rng-builtin"
            id = "rng0"
            [chardev "c0"]
            backend = "null"
            [global]
            driver = "virtio-blk-pci"
            property = "serial"
            value = ""
        '''
        with self.read_config(config, "-m", "64") as m:
            self.assertEqual(m.qmp.command("query-name"), {"name": "a,b"})
            self.assertEqual(len(m.qmp.command("query-cpus-fast")), 2)
            self.assertEqual(m.qmp.command("query-memory-size-summary")["base-memory"], 64 << 20)
            self.assertIn("rng0", [o["name"] for o in m.qmp.command("qom-list", path="/objects")])
            self.assertIn("c0", [c["label"] for c in m.qmp.command("query-chardev")])
            bus = m.qmp.command("query-pci")[0]["devices"]
            self.assertIn("disk", [d["qdev_id"] for d in bus])
            self.assertIn(0x1237, [d["id"]["device"] for d in bus])  # the file's machine, not q35
        for text, wrong in (('[foo]', "line 1: [foo]: there is no such group"),
                            ('\n[device "x"]\ndriver = "foo"', 'line 2: [device "x"]: '),
                            ('[machine "x"]', "takes no id"), ("x", "line 1: neither")):
            with tempfile.NamedTemporaryFile("w", prefix="godwit-config-") as file:
                file.write(text)
                file.flush()
                result = run("-readconfig", file.name)
                self.assertEqual(result.returncode, 1)
                self.assertIn(wrong, result.stderr)
        self.assertIn("could not open '/nonexistent'", run("-readconfig", "/nonexistent").stderr)

    def test_help_of_options(self):
        for args, title, line in ((["-M", "q35,help"], "pc-q35-7.2-machine options:", "hpet=<bool (on/off)>"),
                                  (["-machine", "type=pc,help"], "pc-i440fx-7.2-machine options:", "accel=<str>"),
                                  (["-smp", "help"], "smp-opts options:", "cores=<num>"),
                                  (["-smp", "2,help"], "smp-opts options:", "dies=<num>"),
                                  (["-m", "?"], "memory options:", "maxmem=<size>"),
                                  (["-boot", "help"], "boot-opts options:", "menu=<bool (on/off)>"),
                                  (["-fw_cfg", "help"], "fw_cfg options:", "string=<str>")):
            with self.subTest(args=args):
                result = run(*args)
                self.assertEqual(result.returncode, 0, result.stderr)
                lines = result.stdout.splitlines()
                self.assertEqual(lines[0], title)
                self.assertIn("  " + line, lines)

    def test_options_of_the_machine(self):
        with Machine("-machine", "q35,smp.cpus=2,memory.size=32M,memory.slots=2,"
                     "memory.max-size=64M,boot.menu=on", "-S") as m:
            self.assertEqual(len(m.qmp.command("query-cpus-fast")), 2)
            self.assertEqual(m.qmp.command("query-memory-size-summary")["base-memory"], 32 << 20)

    def test_kernel_and_fixed_properties_of_the_machine(self):
        result = run("-machine", f"q35,kernel={guest('hello')},append=word,nvdimm=off,hmat=off,"
                     "i8042=on,sata=on,default_bus_bypass_iommu=off", "-display", "none",
                     "-serial", "stdio")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("hello by multiboot [word]", result.stdout)

    def test_told_parameters_are_taken(self):
        """What query-command-line-options tells, the options take; a wrong name they do not."""
        names = {"smp-opts": "smp", "memory": "m", "boot-opts": "boot"}
        with Machine("-M", "none", "-S", serial=False) as m:
            told = {o["option"]: [p["name"] for p in o["parameters"]]
                    for o in m.qmp.command("query-command-line-options")}
            self.assertEqual(m.qmp.command("query-command-line-options", option="rtc"), [
                {"option": "rtc", "parameters": [{"name": n, "type": "string"}
                                                 for n in ("base", "clock", "driftfix")]}])
            self.assertEqual(m.qmp.request("query-command-line-options", option="zz")["error"],
                             {"class": "GenericError", "desc": "invalid option name: zz"})
        for option, parameters in told.items():
            for name in parameters + ["nobody"] * bool(parameters):
                first = {"accel": "accel=tcg,", "memory": "size=64,", "mon": "chardev=c,"}.get(option, "")
                if option == "accel" and name in ("dirty-ring-size", "kernel-irqchip"):  # an accelerator takes its own
                    first = "accel=kvm,"
                first = "" if first.startswith(name + "=") else first
                result = run("-pidfile", "/nonexistent/dir/pid", f"-{names.get(option, option)}",
                             f"{first}{name}=@").stderr
                with self.subTest(option=option, name=name):
                    unknown = f"invalid parameter '{name}'" in result
                    self.assertEqual(unknown, name == "nobody", result)

    def test_log_time(self):
        with tempfile.NamedTemporaryFile("r", prefix="godwit-cli-") as log:
            with Machine("-M", "none", "-S", "-msg", "timestamp=on", "-D", log.name, serial=False):
                pass
            self.assertRegex(log.read(), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z godwit: info: ")

    def test_memory_is_locked(self):
        with open(GODWIT, "rb") as f:
            if b"__asan_init" in f.read():
                self.skipTest("AddressSanitizer makes mlockall() do nothing")
        with Machine("-overcommit", "mem-lock=on", "-S", "-m", "32") as m:
            with open(f"/proc/{m.process.pid}/status") as f:
                locked = int(re.search(r"VmLck:\s+(\d+)", f.read())[1])
            self.assertGreater(locked, 32 << 10)

    def test_secret(self):
        with Machine("-S", "-object", '{"qom-type":"secret","id":"k","data":"cGFzcw==","format":"base64"}') as m:
            self.assertIn("duplicate object 'k'",
                          m.qmp.request("object-add", **{"qom-type": "secret", "id": "k", "data": "a"})["error"]["desc"])
            m.qmp.command("object-del", id="k")
            m.qmp.command("object-add", **{"qom-type": "secret", "id": "k", "data": "a"})

    def test_global(self):
        with Machine("-S", "-global", "foo.bar=1", "-global", "ICH9-LPC.disable_s3=1", "-global",
                     "driver=ib700,property=x,value=1", serial=False) as m:
            m.qmp.command("quit")
            m.wait()
            self.assertEqual(m.errors.decode().splitlines()[:-1],
                             ["godwit: warning: global foo.bar has invalid class name",
                              "godwit: warning: global ib700.x=1 not used"])

    def without_kvm(self, prepare, *args):
        """A run in a mount namespace of its own, where `prepare` has changed /dev."""
        script = f"{prepare} && exec \"$@\""
        result = subprocess.run(["unshare", "-rm", "sh", "-c", script, "sh", GODWIT, "-display",
                                 "none", "-kernel", guest("hello"), "-serial", "stdio", *args],
                                stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                timeout=60 * TIME_FACTOR)
        if "unshare:" in result.stderr or "mount:" in result.stderr:
            self.skipTest(result.stderr.strip())
        return result

    def test_no_kvm(self):
        """The door is missing, barred, or not a door: said by name, and the next accelerator."""
        gone = "mount -t tmpfs none /dev"
        for prepare, why in (
                (gone, "cannot open /dev/kvm: No such file or directory (the host's kernel has no KVM"),
                (f"{gone} && mkdir /dev/kvm", "cannot open /dev/kvm: Is a directory"),
                (f"{gone} && : >/dev/kvm",
                 "/dev/kvm is not KVM's device: KVM_GET_API_VERSION: Inappropriate ioctl")):
            result = self.without_kvm(prepare, "-accel", "kvm")
            self.assertEqual(result.returncode, 1)
            self.assertIn("godwit: accelerator 'kvm': " + why, result.stderr)
            result = self.without_kvm(prepare, "-accel", "kvm", "-accel", "tcg")
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertIn("trying 'tcg'", result.stderr)
            self.assertIn(why, result.stderr)
            self.assertIn("hello", result.stdout)

    def test_list_of_accelerators(self):
        """The first usable one of a list, however it is written; the others are named."""
        for args in (("-accel", "xen:tcg,thread=single"), ("-accel", "xen", "-accel", "tcg"),
                     ("-M", "q35,accel=xen:tcg")):
            result = subprocess.run([GODWIT, *args, "-kernel", guest("hello"), "-nographic"],
                                    stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                    timeout=60 * TIME_FACTOR)
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertIn("invalid accelerator 'xen'", result.stderr)
            self.assertIn("trying 'tcg'", result.stderr)
            self.assertIn("hello", result.stdout)

    def test_no_kvm_for_the_register_door(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "qmp")
            script = "mount -t tmpfs none /dev && exec \"$@\""
            process = subprocess.Popen(["unshare", "-rm", "sh", "-c", script, "sh", GODWIT, "-display",
                                        "none", "-M", "q35,accel=kvm:qtest", "-qmp",
                                        f"unix:{path},server=on,wait=off"],
                                       stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            try:
                qmp = Qmp(path)
                self.assertEqual(qmp.command("query-kvm"), {"enabled": False, "present": True})
                qmp.command("quit")
                qmp.close()
                self.assertEqual(process.wait(30 * TIME_FACTOR), 0)
                self.assertIn("trying 'qtest'", process.stderr.read())
            except TimeoutError:
                self.skipTest("no mount namespace of our own")
            except (FileNotFoundError, ConnectionRefusedError):
                process.wait(30)
                self.skipTest(process.stderr.read())
            finally:
                process.kill()
                process.wait()
                process.stderr.close()

    def test_machine_none(self):
        with Machine("-S", "-nodefaults", "-machine", "none,accel=kvm:tcg", serial=False) as m:
            names = [x["name"] for x in m.qmp.command("query-machines")]
            self.assertIn("pc-q35-7.2", names)
            self.assertEqual(m.qmp.command("query-cpus-fast"), [])
            m.qmp.command("quit")
            self.assertEqual(m.wait(), 0)

    def test_stdout_is_clean(self):
        with Machine("-S", "-accel", "qtest", serial=False) as m:
            m.qmp.command("quit")
            self.assertEqual(m.wait(), 0)
            self.assertEqual(m.output, b"")
            self.assertRegex(m.errors, rb"\Agodwit: info: ended by client: quit, [^\n]*\n\Z")

    def test_signal_ends_it(self):
        with Machine("-S") as m:
            m.process.terminate()
            event = m.qmp.event("SHUTDOWN")
            self.assertEqual(event["data"], {"guest": False, "reason": "host-signal"})
            self.assertEqual(m.wait(), 0)
            self.assertFalse(os.path.exists(m.socket))

    def test_pidfile(self):
        with tempfile.TemporaryDirectory() as d:
            path = os.path.join(d, "pid")
            with Machine("-S", "-pidfile", path) as m:
                with open(path) as f:
                    self.assertEqual(int(f.read()), m.process.pid)
                second = run("-S", "-display", "none", "-pidfile", path)
                self.assertEqual(second.returncode, 1)
                self.assertIn("lock", second.stderr)
                self.assertTrue(os.path.exists(path))
                m.qmp.command("quit")
                m.wait()
            self.assertFalse(os.path.exists(path))

    @staticmethod
    def lives(pid):
        try:
            with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
                return stat.read().rpartition(")")[2].split()[0] not in "ZX"
        except FileNotFoundError:
            return False

    def test_daemonize(self):
        with tempfile.TemporaryDirectory() as d:
            pid, sock = os.path.join(d, "pid"), os.path.join(d, "q")
            result = subprocess.run(
                [GODWIT, "-S", "-no-user-config", "-nodefaults", "-nographic", "-machine",
                 "none,accel=tcg", "-qmp", f"unix:{sock},server=on,wait=off", "-pidfile", pid,
                 "-daemonize"], stdin=subprocess.DEVNULL, capture_output=True,
                timeout=20 * TIME_FACTOR)
            self.assertEqual((result.returncode, result.stdout), (0, b""), result)
            with open(pid) as f:
                number = int(f.read())
            q = Qmp(sock)
            q.command("quit")
            with self.assertRaises(EOFError):  # whoever reaps the process may take his time
                q.read()
            q.close()
            end = time.monotonic() + 20 * TIME_FACTOR
            while self.lives(number) and time.monotonic() < end:
                time.sleep(0.02)
            self.assertEqual(os.listdir(d), [])
            result = subprocess.run([GODWIT, "-daemonize", "-qmp", "unix:/nonexistent/q,server=on"],
                                    capture_output=True, text=True, timeout=20 * TIME_FACTOR)
            self.assertEqual(result.returncode, 1)
            self.assertTrue(re.search("/nonexistent/q", result.stderr), result.stderr)


if __name__ == "__main__":
    unittest.main()
