"""kvmclock and the TSC beside the HPET, which follows the virtual clock: all stand while the machine
does, and go with a guest that moves to another process.
"""
import os
import re
import tempfile
import time
import unittest

from godwit import Machine, guest

PER_SECOND = 10**9 / 2**20  # what the guest counts in
PAUSE = 6
TOLERANCE = 3 * PER_SECOND  # far below a pause, far above what a busy host does to a guest's loop


class Clock(unittest.TestCase):
    def start(self, *args):
        m = Machine("-accel", "kvm", "-M", "q35", "-m", "32", "-kernel", guest("kvmclock"), *args)
        self.addCleanup(m.close)
        return m

    def clocks(self, m):
        m.send("x")
        m.expect(r"clock \d+ \d+ \d+\n")
        clocks = [int(n) for n in re.findall(rb"clock (\d+) (\d+) (\d+)\n", m.output)[-1]]
        # Some KVMs that emulate show guests the host's TSC, whatever they are told: of no use here.
        return clocks if clocks[2] < 2 * clocks[0] + TOLERANCE else clocks[:2]

    def together(self, m, since):
        """All clocks have gone on by the same time since then."""
        now = self.clocks(m)
        passed = [b - a for a, b in zip(since, now)]
        self.assertGreaterEqual(min(passed), 0, (since, now))
        self.assertLess(max(passed) - min(passed), TOLERANCE, (since, now))
        return now

    def pause(self, m):
        m.qmp.command("stop")
        time.sleep(PAUSE)
        m.qmp.command("cont")

    def test_stands_with_the_machine(self):
        m = self.start()
        m.expect("ready\n")
        before = self.clocks(m)
        self.pause(m)
        self.together(m, before)

    def test_moves_with_the_guest(self):
        self.move()

    def test_waits_where_it_came(self):
        """A destination that is told to go on some time after the guest has come."""
        self.move("-S")

    def move(self, *args):
        with tempfile.TemporaryDirectory(prefix="godwit-kvmclock-") as folder:
            uri = f"unix:{folder}/m"
            source = self.start()
            source.expect("ready\n")
            time.sleep(PAUSE)
            before = self.clocks(source)
            to = self.start("-incoming", uri, *args)
            source.qmp.command("migrate", uri=uri)
            if args:
                source.qmp.event("STOP")
                time.sleep(PAUSE)
                to.qmp.command("cont")
            to.qmp.event("RESUME")
            after = self.together(to, before)
            self.pause(to)
            self.together(to, after)


if __name__ == "__main__":
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        print("SKIP: /dev/kvm cannot be used")
        raise SystemExit(77)
    unittest.main()
