#!/usr/bin/env python3
"""How two vCPUs scale: the same work in a Linux guest by one process, and by two at once.

Usage: scale.py [ROUNDS]; the binary is $GODWIT; needs a kernel (scripts/get-kernel) and busybox-static.
On a host with two idle processors `wall` is what a user sees: 2.00 when two processes take as long as one.
`cpu` is the same by the emulator's own processor time, which other programs on the host do not disturb:
2.00 when the second vCPU costs the first nothing (locks, flushes, atomic operations).
"""
import os
import statistics
import sys
import tempfile
import time

import initramfs
from godwit import Machine

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 3
WORK = {
    "sha256": "head -c 12000000 /dev/zero | sha256sum",
    "awk": "awk 'BEGIN{for(i=0;i<600000;i++)s+=i%7;print s}'",
    "fork": "i=0;while [ $i -lt 150 ];do /bin/true;i=$((i+1));done",
}


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Scale(initramfs.Shell):
    def timed(self, m, command):
        wall, cpu = time.monotonic(), cpu_seconds(m.process.pid)
        self.command(m, command, 300)
        return time.monotonic() - wall, cpu_seconds(m.process.pid) - cpu

    def run(self, image, initrd):
        with Machine("-accel", "tcg", "-smp", "2", "-m", "256", "-kernel", image, "-initrd", initrd,
                     "-append", "console=ttyS0 quiet") as m:
            self.shell(m)
            for name, work in WORK.items():
                once = f"( {work} ) >/dev/null 2>&1"
                self.timed(m, once)  # warm
                wall, cpu = [], []
                for _ in range(ROUNDS):
                    one, two = self.timed(m, once), self.timed(m, f"{once} & {once}; wait")
                    wall.append(2 * one[0] / two[0])
                    cpu.append(4 * one[1] / two[1])
                print(f"{name:8} wall {statistics.median(wall):.2f}  cpu {statistics.median(cpu):.2f}",
                      flush=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        kernel = initramfs.Kernel()
        Scale().run(kernel.image, initramfs.make(folder, kernel))
