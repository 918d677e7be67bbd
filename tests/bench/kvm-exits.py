#!/usr/bin/env python3
"""What an exit of KVM costs: a guest that reads a port, under Godwit, under QEMU, and under a program
that does nothing but enter the guest again, which is the least that this host can do.

Usage: kvm-exits.py BARE [ROUNDS]; BARE is kvm-exits.c's program, the binary is $GODWIT. By the read:
wall time, and the process's own time in user mode (what a monitor adds) and in the kernel (KVM).
"""
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from godwit import GODWIT

BARE, ROUNDS = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 5
READS, CHUNKS = 20000, 8
#   cli; 0: mov $0xcf8, %dx; mov $READS, %ecx; 1: in %dx, %eax; dec %ecx; jnz 1b
#   mov $0x3f8, %dx; mov $'x', %al; out %al, %dx; jmp 0b
CODE = (b"\xfa" b"\xba\xf8\x0c" b"\x66\xb9" + READS.to_bytes(4, "little") + b"\x66\xed" b"\x66\x49"
        b"\x75\xfa" b"\xba\xf8\x03" b"\xb0x" b"\xee" b"\xeb\xe9")


def times(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return [time.monotonic()] + [int(f) / os.sysconf("SC_CLK_TCK") for f in fields[11:13]]


def measure(command):
    """-> microseconds of wall, user and system time for each read."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL)
    try:
        for chunk in range(CHUNKS + 1):
            if os.read(process.stdout.fileno(), 1) != b"x":
                raise RuntimeError(f"{command[0]} ended")
            if chunk == 0:
                before = times(process.pid)
        return [(b - a) * 1e6 / READS / CHUNKS for a, b in zip(before, times(process.pid))]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def main():
    with tempfile.NamedTemporaryFile() as image:
        image.write(CODE.ljust(0xfff0, b"\0") + b"\xe9\x0d\x00".ljust(16, b"\0"))
        image.flush()
        options = ["-accel", "kvm", "-M", "pc", "-nodefaults", "-display", "none", "-m", "16",
                   "-bios", image.name, "-serial", "stdio"]
        commands = {"bare": [BARE, image.name], "godwit": [GODWIT, *options]}
        if shutil.which("qemu-system-x86_64"):
            commands["qemu"] = ["qemu-system-x86_64", *options]
        results = {name: [] for name in commands}
        for _ in range(ROUNDS):
            for name, command in commands.items():
                results[name].append(measure(command))
    print("microseconds for each port read")
    for name, rows in results.items():
        wall, user, system = (statistics.median(column) for column in zip(*rows))
        print(f"{name:8} wall {wall:6.2f}  user {user:5.2f}  system {system:5.2f}")


if not os.access("/dev/kvm", os.R_OK | os.W_OK):
    print("SKIP: no usable /dev/kvm")
    sys.exit(77)
main()
