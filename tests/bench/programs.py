#!/usr/bin/env python3
"""Programs as a C compiler makes them, much code, and code that changes: Godwit's software CPU beside
another emulator's, in pairs.

Usage: programs.py GUEST [ROUNDS [OTHER]]; the binary is $GODWIT, OTHER is a command that takes QEMU's
options (qemu-system-x86_64). Each line: CPU milliseconds of one round of the program on both, and the
median of the paired ratios (other / godwit: above 1, Godwit is faster); then what each emulator's
memory grew to, without the guest's. The guest's results have to agree.
"""
import os
import shlex
import statistics
import subprocess
import sys
import time

GUEST = sys.argv[1]
ROUNDS = int(sys.argv[2]) if len(sys.argv) > 2 else 3
OTHER = sys.argv[3] if len(sys.argv) > 3 else "qemu-system-x86_64"
OPTIONS = ["-accel", "tcg", "-m", "256", "-display", "none", "-nodefaults", "-serial", "stdio",
           "-kernel", GUEST, "-object", "memory-backend-memfd,id=ram,size=256M", "-machine",
           "memory-backend=ram"]


def cpu_ms(pid):
    return time.clock_gettime_ns((~pid << 3) | 2) / 1e6


def own_kib(pid):
    """Memory of the emulator without the guest's RAM."""
    total, ours = 0, True
    with open(f"/proc/{pid}/smaps", encoding="ascii") as smaps:
        for line in smaps:
            name, value = line.split(maxsplit=1)
            if "-" in name and not name.endswith(":"):
                ours = "memfd:ram" not in line and "memfd:memory-backend" not in line
            elif name == "Rss:" and ours:
                total += int(value.split()[0])
    return total


def run(command):
    """{program: ([milliseconds], [result])} in the guest's order, and the memory at its end in KiB."""
    times, most = {}, 0
    with subprocess.Popen([*shlex.split(command), *OPTIONS], stdout=subprocess.PIPE,
                          stdin=subprocess.DEVNULL, text=True) as process:
        before = 0
        for line in process.stdout:
            now = cpu_ms(process.pid)
            name, *result = line.split()
            if result:
                ms, results = times.setdefault(name, ([], []))
                ms.append(now - before)
                results.append(result[0])
                if len(results) % 4 == 0:
                    most = max(most, own_kib(process.pid))
            if name == "end":
                process.kill()
                break
            before = now
    return times, most


def main():
    runs = [(run(os.environ["GODWIT"]), run(OTHER)) for _ in range(ROUNDS)]
    for name in runs[0][0][0]:
        ratios, own, other = [], [], []
        for (a, _), (b, _) in runs:
            if a[name][1] != b[name][1]:
                sys.exit(f"{name}: results differ: {a[name][1]} {b[name][1]}")
            # The first round has to translate. What a line's reader was late by is the next round's gain.
            mine, theirs = statistics.mean(a[name][0][1:]), statistics.mean(b[name][0][1:])
            own.append(mine)
            other.append(theirs)
            ratios.append(theirs / mine)
        print(f"{name:10} {statistics.median(own):8.1f} ms {statistics.median(other):8.1f} ms  "
              f"{statistics.median(ratios):5.2f}", flush=True)
    print(f"memory     {max(r[0][1] for r in runs) >> 10:8} MiB {max(r[1][1] for r in runs) >> 10:7} MiB")


if __name__ == "__main__":
    main()
