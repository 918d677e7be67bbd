#!/usr/bin/env python3
"""A guest on a random walk from machine to machine: commands before it goes, while it stands between two
machines (finish-migrate there, inmigrate here) and afterwards (postmigrate). Replies, events and run states
must be the model's. With GODWIT=qemu-system-x86_64 QEMU must agree with it, too.

Usage: test-migrate-model.py [--walks N] [--seed N] [--first N] [--verbose]
"""
import argparse
import os
import random
import shutil
import sys
import tempfile
import time
import traceback

import godwit
from godwit import Machine, guest

IS_QEMU = "qemu" in os.path.basename(godwit.GODWIT)
LIMIT = 60 * godwit.TIME_FACTOR
NOT_FINAL = "Migration is not finalized yet"
GONE = "Can't migrate the vm that was paused due to previous migration"
WAITS = "Guest is waiting for an incoming migration"
BUSY = "There's a migration process in progress"


class Fault(Exception):
    pass


def counts(event):
    """QEMU's firmware resets the machine once more, when it gets to it."""
    return "MIGRATION" not in event and not (IS_QEMU and event == "RESET")


class Model:
    """One side. What a command answers (None: success), which events it brings, the state after it."""

    def __init__(self, state):
        self.state, self.events = state, []
        self.starts = True  # whether a guest that comes is to run
        self.saved = None  # of a source in finish-migrate: the state before

    def tell(self, *names):
        self.events += [n for n in names if counts(n)]

    def run(self):
        if self.state != "running":
            self.state = "running"
            self.tell("RESUME")

    def stop(self):
        if self.state == "inmigrate":
            self.starts = False
        elif self.state == "running":
            self.state = "paused"
            self.tell("STOP")

    def cont(self):
        if self.state == "finish-migrate":
            return NOT_FINAL
        if self.state == "inmigrate":
            self.starts = True
        else:
            self.run()
        return None

    def system_reset(self):
        self.tell("RESET")
        if self.state not in ("running", "inmigrate", "finish-migrate"):
            self.state = "prelaunch"

    def migrate(self):
        """To where nobody listens: a guest that may go stays all the same. One that has gone and was reset may
        go again (QEMU's rule, too: only postmigrate forbids it)."""
        return {"finish-migrate": BUSY, "inmigrate": WAITS, "postmigrate": GONE}.get(self.state)

    def leave(self):
        """As far as pre-switchover."""
        if self.state == "running":
            self.tell("STOP")
        self.saved, self.state = self.state, "finish-migrate"

    def end(self, gone):
        runs = not gone and self.saved == "running"
        if not runs:
            # QEMU leaves a guest that did not run and was to go in postmigrate.
            self.state = "postmigrate" if gone or IS_QEMU else self.saved
        if runs:
            self.run()

    def arrive(self, saved):
        if saved == "running" and self.starts:
            self.run()
        else:
            self.state = "paused" if saved == "running" else saved


class Side:
    def __init__(self, folder, number, state, *args):
        self.model = Model(state)
        self.path = os.path.join(folder, f"m{number}")
        self.m = Machine("-nodefaults", "-M", "q35", "-accel", "tcg", "-cpu", "qemu64,-pni", "-m", "8",
                         "-kernel", guest("wander"), "-append", "20", *args)
        self.m.qmp.command("migrate-set-capabilities", capabilities=[
            {"capability": "pause-before-switchover", "state": True}])

    def close(self):
        self.m.close()

    def check(self):
        """Waits for the events and the state."""
        end = time.monotonic() + LIMIT
        while True:
            state = self.m.qmp.command("query-status")["status"]
            events = [e["event"] for e in self.m.qmp.events if counts(e["event"])]
            if (events, state) == (self.model.events, self.model.state):
                break
            if time.monotonic() > end or len(events) > len(self.model.events):
                raise Fault(f"{events} and {state}, the model has {self.model.events} and "
                            f"{self.model.state}")
        self.m.qmp.events.clear()
        self.model.events = []

    def command(self, name):
        error = getattr(self.model, name)()
        arguments = {"uri": f"unix:{self.path}-no"} if name == "migrate" else {}
        answer = self.m.qmp.request(name, **arguments)
        if answer.get("error", {}).get("desc") != error:
            raise Fault(f"{name}: {answer}, the model has {error}")
        if name == "migrate" and error is None:
            self.wait("failed")
        self.check()

    def wait(self, *statuses):
        end = time.monotonic() + LIMIT
        while (info := self.m.qmp.command("query-migrate")).get("status") not in statuses:
            if time.monotonic() > end or info.get("status") in ("failed", "completed"):
                raise Fault(f"{info} instead of {statuses}")


class Walk:
    def __init__(self, seed, log):
        self.dice, self.log, self.number = random.Random(seed), log, 0
        self.dir = tempfile.mkdtemp(prefix="godwit-walk-")
        self.sides = []

    def side(self, state, *args):
        self.number += 1
        side = Side(self.dir, self.number, state, *args)
        self.sides.append(side)
        return side

    def some(self, most, *choices):
        """Commands, each to one of the sides."""
        for _ in range(self.dice.randint(0, most)):
            side, name = self.dice.choice(choices)
            self.log.append(f"{side.path[-2:]} {side.model.state}: {name}")
            side.command(name)

    def pairs(self, side, *names):
        return [(side, name) for name in names]

    def run(self):
        here = self.side("prelaunch", "-S")
        for _ in range(self.dice.randint(1, 4)):
            self.some(3, *self.pairs(here, "stop", "cont", "cont", "system_reset"))
            here = self.go(here)
            if not here:
                return

    def go(self, here):
        flags = ["-S"] if self.dice.random() < 0.3 else []
        to = self.side("inmigrate", *flags, "-incoming", "defer")
        to.model.starts = not flags
        to.m.qmp.command("migrate-incoming", uri=f"unix:{to.path}")
        self.some(2, *self.pairs(to, "stop", "cont", "migrate"))
        self.log.append(f"{here.path[-2:]} {here.model.state}: goes")
        here.model.leave()
        here.m.qmp.command("migrate", uri=f"unix:{to.path}")
        here.wait("pre-switchover")
        here.check()
        saved = here.model.saved
        self.some(4, *self.pairs(here, "stop", "cont", "migrate", "system_reset"),
                  *self.pairs(to, "stop", "cont", "migrate"))
        gone = self.dice.random() < 0.7
        self.log.append("arrives" if gone else "is cancelled")
        here.m.qmp.command(*(("migrate-continue",) if gone else ("migrate_cancel",)),
                           **({"state": "pre-switchover"} if gone else {}))
        here.wait("completed" if gone else "cancelled")
        here.model.end(gone)
        here.check()
        if not gone:
            if to.m.wait(LIMIT) != 1:
                raise Fault("the destination's end")
            return here if here.model.state != "postmigrate" else None
        to.model.arrive(saved)
        to.check()
        if self.dice.random() < 0.3:
            # Nobody has both: the one that came does nothing meanwhile.
            self.some(3, *self.pairs(here, "stop", "migrate", "system_reset"))
        here.close()
        return to

    def close(self):
        for side in self.sides:
            side.close()
        shutil.rmtree(self.dir)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--walks", type=int, default=6)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    for i in range(options.first, options.first + options.walks):
        log = []
        walk = Walk(options.seed * 1000003 + i, log)
        try:
            walk.run()
        except Exception:  # whatever it is, what led to it is told
            traceback.print_exc()
            print(f"walk {i} of seed {options.seed}: " + "; ".join(log), file=sys.stderr)
            print(b"\n".join(s.m.errors for s in walk.sides).decode(errors="replace"))
            return 1
        finally:
            walk.close()
        if options.verbose:
            print(i, "; ".join(log))
    print(f"{options.walks} walks")
    return 0


if __name__ == "__main__":
    sys.exit(main())
