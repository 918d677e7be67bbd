"""Boot to a shell and guest speed, side by side with QEMU's TCG when that is installed.

Runs alternate, and the ratio of neighbours counts: the machine may be busy. Numbers, not pass or fail.
"""
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from godwit import GODWIT, guest

SCRIPTS = os.environ["SCRIPTS"]
QEMU = shutil.which("qemu-system-x86_64")
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
MILLIONS = 200


def until(argv, *patterns):
    """Seconds from the start (or the pattern before) to each pattern on stdout, and the last match."""
    times, text = [], b""
    start = time.monotonic()
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL) as process:
        for pattern in patterns:
            while not (match := re.search(pattern, text)):
                data = os.read(process.stdout.fileno(), 65536)
                if not data:
                    raise RuntimeError(f"{argv[0]} ended before {pattern}: {text[-500:]}")
                text += data
            times.append(time.monotonic() - start)
            start = time.monotonic()
            text = text[match.end():]
        process.kill()
    return times, match


def common(binary):
    return [binary, "-M", "q35", "-accel", "tcg", "-nodefaults", "-display", "none", "-serial",
            "stdio"]


def boot_seconds(binary, image, initrd):
    argv = common(binary) + ["-m", "256", "-kernel", image, "-initrd", initrd, "-append",
                             "console=ttyS0 quiet"]
    return until(argv, rb"godwit# ")[0][0]


def loop_mips(binary):
    argv = common(binary) + ["-kernel", guest("mips"), "-append", str(MILLIONS)]
    times, match = until(argv, rb"start", rb"end (\d+) million")
    return int(match.group(1)) / times[1]


def compare(name, unit, measure):
    ours, theirs = [], []
    for _ in range(ROUNDS):
        ours.append(measure(GODWIT))
        if QEMU:
            theirs.append(measure(QEMU))
    line = f"{name}: {statistics.median(ours):.2f} {unit}"
    if theirs:
        ratio = statistics.median(a / b for a, b in zip(ours, theirs))
        line += f"; QEMU TCG {statistics.median(theirs):.2f} {unit}; ratio {ratio:.2f}"
    print(line, flush=True)


def main():
    compare("register loop", "MIPS", loop_mips)
    found = subprocess.run([os.path.join(SCRIPTS, "get-kernel")], capture_output=True, text=True)
    if found.returncode:
        print("boot: no kernel:", found.stderr.strip())
        sys.exit(77)
    kernel = found.stdout.strip()
    names = sorted(f for f in os.listdir(os.path.join(kernel, "boot")) if f.startswith("vmlinuz-"))
    with tempfile.TemporaryDirectory() as folder:
        initrd = os.path.join(folder, "initramfs.gz")
        subprocess.run([os.path.join(SCRIPTS, "make-initramfs"), initrd, kernel], check=True)
        image = os.path.join(kernel, "boot", names[-1])
        compare("boot to shell, one vCPU", "s", lambda b: boot_seconds(b, image, initrd))


main()
