#!/usr/bin/env python3
"""How long a guest is not heard of while it migrates: the guest prints without pause, and what counts is the
longest silence between its lines, on both machines together. (Its own clocks stand while it is nowhere.)
The silence is to be at most twice the downtime-limit; query-migrate's own figure is shown beside it.

    downtime.py [EMULATOR...]      default: godwit at build/godwit, and qemu-system-x86_64 if it is there
"""
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

GUESTS = os.environ.get("GUESTS", "build/guests")
RUNS, PAGES, LIMIT_MS = 5, 2000, 300


class Machine:
    def __init__(self, emulator, folder, name, *args):
        path = os.path.join(folder, name)
        self.process = subprocess.Popen(
            [emulator, "-nodefaults", "-display", "none", "-M", "q35", "-accel", "tcg", "-m", "64",
             "-kernel", os.path.join(GUESTS, "guest-wander"), "-append", str(PAGES), "-serial", "stdio",
             "-qmp", f"unix:{path},server=on,wait=off", *args],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.heard = []  # when
        threading.Thread(target=self.listen, daemon=True).start()
        self.sock = socket.socket(socket.AF_UNIX)
        while self.sock.connect_ex(path):
            time.sleep(0.01)
        self.file = self.sock.makefile("rw")
        self.file.readline()
        self.ask("qmp_capabilities")

    def listen(self):
        while os.read(self.process.stdout.fileno(), 4096):
            self.heard.append(time.monotonic())

    def ask(self, command, **arguments):
        self.file.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.file.flush()
        while "event" in (answer := json.loads(self.file.readline())):
            pass
        return answer.get("return")

    def close(self):
        self.process.kill()
        self.process.wait()


def measure(emulator):
    """(silence, downtime as it is told), in milliseconds."""
    folder = tempfile.mkdtemp(prefix="godwit-bench-")
    uri = f"unix:{folder}/m"
    here, there = (Machine(emulator, folder, *more) for more in (("a",), ("b", "-incoming", uri)))
    try:
        here.ask("migrate-set-parameters", **{"max-bandwidth": 1 << 33, "downtime-limit": LIMIT_MS})
        while len(here.heard) < 20:
            time.sleep(0.01)
        first = here.heard[-1]
        here.ask("migrate", uri=uri)
        while (info := here.ask("query-migrate")).get("status") != "completed":
            time.sleep(0.002)
        while len(there.heard) < 5:
            time.sleep(0.01)
        times = [t for t in here.heard + there.heard if t >= first]
        return max(b - a for a, b in zip(times, times[1:])) * 1e3, info["downtime"]
    finally:
        here.close()
        there.close()
        shutil.rmtree(folder)


def main():
    emulators = sys.argv[1:] or ["build/godwit"] + [e for e in ["qemu-system-x86_64"] if shutil.which(e)]
    results = {e: [] for e in emulators}
    for _ in range(RUNS):
        for emulator in emulators:
            results[emulator].append(measure(emulator))
    for emulator, pairs in results.items():
        silence, told = ([p[i] for p in pairs] for i in (0, 1))
        print(f"{os.path.basename(emulator):20} silent for {statistics.median(silence):.1f} ms (most "
              f"{max(silence):.1f}), downtime told {statistics.median(told)} ms, limit {LIMIT_MS} ms")


if __name__ == "__main__":
    main()
