"""UEFI firmware (OVMF) from flash memory: reaches its shell, and keeps its variables."""
import os
import shutil
import sys
import tempfile
import unittest

import godwit
from firmware import Firmware

CODE = "/usr/share/OVMF/OVMF_CODE_4M.fd"
VARS = "/usr/share/OVMF/OVMF_VARS_4M.fd"
GUID = "12345678-1234-1234-1234-123456789abc"


class Ovmf(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="godwit-ovmf-")
        self.vars = os.path.join(self.dir, "vars.fd")
        shutil.copyfile(VARS, self.vars)

    def tearDown(self):
        shutil.rmtree(self.dir)

    def drives(self):
        return ("-m", "256", "-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={CODE}",
                "-drive", f"if=pflash,unit=1,format=raw,file={self.vars}")

    def blockdevs(self):
        return ("-m", "256",
                "-blockdev", f"driver=file,node-name=code,read-only=on,filename={CODE}",
                "-blockdev", f"driver=file,node-name=vars,filename={self.vars}",
                "-machine", "q35,pflash0=code,pflash1=vars")

    def test_shell_and_variables(self):
        with Firmware(*self.drives()) as m:
            m.expect(r"UEFI Interactive Shell", timeout=120)
            m.expect(r"Shell> ", timeout=120)
            m.send(f"setvar kept -guid {GUID} -nv -bs =0x47 =0x57\r")
            m.expect(r"Shell> ", timeout=120)
            self.assertEqual(m.qmp.command("query-status")["status"], "running")
            m.keep("ovmf-shell")
            m.send("reset -s\r")
            event = m.qmp.event("SHUTDOWN", timeout=120)
            self.assertEqual(event["data"]["reason"], "guest-shutdown")
            self.assertEqual(m.wait(60), 0)
        with Firmware(*self.blockdevs()) as m:
            m.expect(r"Shell> ", timeout=120)
            m.send(f"setvar kept -guid {GUID}\r")
            m.expect(r"47 57", timeout=120)
            m.qmp.command("system_reset")
            m.qmp.event("RESET")
            m.expect(r"UEFI Interactive Shell", timeout=120)

    def test_errors(self):
        short = os.path.join(self.dir, "short")
        with open(short, "wb") as file:
            file.write(bytes(5000))
        for args, message in (
                (("-drive", f"if=pflash,format=raw,file={short}"), "pflash0: "),
                (("-machine", "q35,pflash0=none"), "pflash0: "),
                (("-bios", "bios.bin", "-drive", f"if=pflash,format=raw,file={CODE},readonly=on"),
                 "firmware in flash memory (pflash) and -bios together")):
            result = godwit.run("-display", "none", *args)
            self.assertEqual(result.returncode, 1)
            self.assertIn(message, result.stderr)


if __name__ == "__main__":
    if not os.path.exists(CODE):
        print("the package ovmf is not installed: skipped")
        sys.exit(77)
    unittest.main(verbosity=2)
