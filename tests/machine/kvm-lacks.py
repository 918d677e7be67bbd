"""KVM on hosts that lack some of its capabilities: an error that names the one that is needed, and a
guest that runs without those that are not.

A preloaded library answers for the kernel where it is asked what it has.
"""
import os
import subprocess
import unittest

from godwit import GODWIT, TIME_FACTOR, Machine, guest

PRELOAD = os.environ["KVM_LACKS_PRELOAD"]
# Numbers as in <linux/kvm.h>.
NEEDED = {"USER_MEMORY": 3, "SET_TSS_ADDR": 4, "EXT_CPUID": 7, "MP_STATE": 14, "USER_NMI": 22,
          "SET_IDENTITY_MAP_ADDR": 37, "VCPU_EVENTS": 41, "XSAVE": 55, "GET_TSC_KHZ": 61, "SIGNAL_MSI": 77,
          "READONLY_MEM": 81, "SPLIT_IRQCHIP": 121, "IMMEDIATE_EXIT": 136}
OTHERS = {"NR_MEMSLOTS": 10, "COALESCED_MMIO": 15, "SYNC_MMU": 16, "SET_GUEST_DEBUG": 23, "IRQ_ROUTING": 25,
          "IRQFD": 32, "IOEVENTFD": 36, "HYPERV": 44, "DEBUGREGS": 50, "XCRS": 56, "TSC_CONTROL": 60,
          "KVMCLOCK_CTRL": 76, "EXCEPTION_PAYLOAD": 164, "IOEVENTFD_ANY_LENGTH": 122, "COALESCED_PIO": 162,
          "DIRTY_LOG_RING": 192, "SET_GUEST_DEBUG2": 195}


def without(*names):
    numbers = (str({**NEEDED, **OTHERS}[name]) for name in names)
    return {"LD_PRELOAD": PRELOAD, "ASAN_OPTIONS": "verify_asan_link_order=0", "KVM_LACKS": ",".join(numbers)}


@unittest.skipUnless(os.access("/dev/kvm", os.R_OK | os.W_OK), "/dev/kvm cannot be used")
class KvmLacks(unittest.TestCase):
    def test_needed(self):
        for name in NEEDED:
            result = subprocess.run([GODWIT, "-accel", "kvm", "-display", "none"], env={**os.environ, **without(name)},
                                    stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                    timeout=20 * TIME_FACTOR)
            self.assertEqual((result.returncode, result.stderr.strip()),
                             (1, f"godwit: accelerator 'kvm': this host's KVM lacks KVM_CAP_{name}"))

    def test_others(self):
        """A guest runs without any of those, and with its ports, interrupts and queues."""
        for name, devices in (("irq-far", ()), ("doorbell", ("-device", "virtio-rng-pci,addr=5"))):
            with Machine("-accel", "kvm,dirty-ring-size=1024", "-cpu", "qemu64,-pni", "-kernel", guest(name),
                         *devices, env=without(*OTHERS)) as m:
                text = m.expect("(?s).*(done|ok moved)\n").group().decode()
                self.assertNotIn("FAIL", text)

    def test_balloon(self):
        """Memory that KVM holds on to can't be given back."""
        error = {"class": "KVMMissingCap",
                 "desc": "Using KVM without synchronous MMU, balloon unavailable"}
        with Machine("-accel", "kvm", "-S", "-cpu", "qemu64,-pni", "-m", "16", "-device", "virtio-balloon-pci",
                     env=without("SYNC_MMU")) as m:
            self.assertEqual(m.qmp.request("balloon", value=8 << 20)["error"], error)
            self.assertEqual(m.qmp.request("query-balloon")["error"], error)
        with Machine("-accel", "kvm", "-S", "-cpu", "qemu64,-pni", "-m", "16", "-device", "virtio-balloon-pci",
                     env=without()) as m:
            self.assertEqual(m.qmp.command("query-balloon"), {"actual": 16 << 20})


if __name__ == "__main__":
    unittest.main()
