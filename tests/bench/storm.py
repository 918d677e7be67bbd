#!/usr/bin/env python3
"""How fast query-status is answered while a guest fires events as fast as it can at eight clients, one
of which never reads; and how much the process grows.

Usage: storm.py [SECONDS [MACHINE OPTION...]]; the binary is $GODWIT, guests are in $GUESTS.
Every client is a process of its own. The one that measures comes in two kinds: one that wants no
events, and one that gets them all and has to read them before it has its reply.
"""
import multiprocessing
import sys
import time

from godwit import Machine, Qmp, guest

SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 5
OPTIONS = sys.argv[2:]
READERS = 6


def read_all(path):
    """A client that only reads."""
    qmp = Qmp(path)
    try:
        while qmp.sock.recv(1 << 16):
            pass
    except ConnectionResetError:
        pass


def resident_kib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))


def measure(path, seconds, wanted):
    """Milliseconds of each query-status; wanted: arguments of godwit-subscribe."""
    qmp = Qmp(path)
    qmp.command("godwit-subscribe", timeout=60, **wanted)
    times, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        start = time.monotonic()
        qmp.command("query-status", timeout=60)
        times.append((time.monotonic() - start) * 1000)
        qmp.events.clear()
    qmp.close()
    return sorted(times)


def next_number(qmp):
    return qmp.command("godwit-query-events", timeout=60, since=1 << 60)["next"]


def main():
    with Machine("-kernel", guest("fire"), "-append", "storm", "-device", "pvpanic", "-device",
                 "ib700", "-action", "panic=none,watchdog=none", "-S", *OPTIONS) as m:
        deaf = Qmp(m.socket)
        readers = [multiprocessing.Process(target=read_all, args=(m.socket,), daemon=True)
                   for _ in range(READERS)]
        for reader in readers:
            reader.start()
        while len(m.qmp.command("godwit-query-sessions")) < READERS + 2:
            time.sleep(0.01)
        m.qmp.command("godwit-subscribe", events=[])
        m.qmp.command("cont")
        while next_number(m.qmp) < 5000:  # the journal is full
            time.sleep(0.01)
        before = resident_kib(m.process.pid)
        for name, wanted in (("no events", {"events": []}), ("all events", {})):
            first = next_number(m.qmp)
            times = measure(m.socket, SECONDS, wanted)
            fired = next_number(m.qmp) - first
            print(f"client with {name}: {len(times)} queries, p50 {times[len(times) // 2]:.3f} ms, "
                  f"p99 {times[len(times) * 99 // 100]:.3f} ms, longest {times[-1]:.1f} ms; "
                  f"{fired / SECONDS:.0f} events/s")
        print(f"memory +{resident_kib(m.process.pid) - before} KiB")
        m.qmp.command("quit", timeout=60)
        m.wait(60)
        deaf.close()


if __name__ == "__main__":
    main()
