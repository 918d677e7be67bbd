#!/usr/bin/env python3
"""Random sequences of commands, actions and guest events; the machine must do what the model says.

Usage: test-model.py [--sequences N] [--seconds S] [--seed N] [--first N] [--verbose]

Each sequence has its own seed, so `--seed S --first I --sequences 1` repeats number I of a run. Most
sequences go on in the process that the last one left; those that end it make the next one start another.
Checked after each step: the reply, the events that came before it, the events of the journal (with those
that rate limits hold back), the run state, the actions, what the guest printed, the exit status. Every
tenth sequence ends in a race: an order to the guest and a command at once, after which only legality counts.
"""
import argparse
import os
import random
import re
import signal
import sys
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True
import godwit  # noqa: E402
from godwit import Machine, guest  # noqa: E402
from model import DEFAULTS, FRESH, GUEST_LETTERS, VALUES, Model  # noqa: E402

UNKNOWN = "unknown"
TELLING = {"SHUTDOWN": "reason", "RESET": "reason", "WATCHDOG": "action",
           "GUEST_PANICKED": "action", "GUEST_CRASHLOADED": "action"}
WAIT_S = 30 * godwit.TIME_FACTOR


class Fault(Exception):
    pass


def brief(event):
    """(name, telling value) of an event of the wire or the journal, whose data is checked."""
    name, data = event["event"], event.get("data")
    if name not in TELLING:
        if data is not None:
            raise Fault(f"data in {event}")
        return (name, None)
    value = data[TELLING[name]]
    if name in ("SHUTDOWN", "RESET") and data["guest"] != value.startswith("guest-"):
        raise Fault(f"guest flag in {event}")
    return (name, value)


class Driver:
    """A process, and the model of it."""

    def __init__(self):
        self.m = Machine("-nodefaults", "-machine", "q35", "-accel", "tcg", "-m", "16", "-kernel",
                         guest("script"), "-append", "nmi say up orders", "-S", "-device",
                         "pvpanic", "-device", "ib700", "-device", "i6300esb")
        self.model = Model()
        self.next = self.m.qmp.command("godwit-query-events")["next"]

    def close(self):
        self.m.close()

    # ---- what the machine did

    def ask(self, command, arguments):
        """(error's text or None, value, events before the reply)."""
        name = command.replace("_", "-") if command in ("set_action", "inject_nmi") else command
        answer = self.m.qmp.request(name, **arguments)
        events = [brief(e) for e in self.m.qmp.events]
        self.m.qmp.events.clear()
        return answer.get("error", {}).get("desc"), answer.get("return"), events

    def journal(self):
        log = self.m.qmp.command("godwit-query-events", since=self.next)
        self.wire += [brief(e) for e in self.m.qmp.events]
        self.m.qmp.events.clear()
        if "gone" in log:
            raise Fault("the journal forgot events")
        # how many records the black box makes depends on the time between failures
        return [brief(e) for e in log["events"] if e["event"] != "GODWIT_BLACK_BOX"], log["next"]

    def settle(self):
        """Waits until all that the model's step brings about has come."""
        expected, end = self.model.events, time.monotonic() + WAIT_S
        unlimited = [e for e in expected if e[0] != "WATCHDOG"]  # which a rate limit may hold back
        while True:
            events, after = self.journal()
            wire = [e for e in self.wire if e[0] != "WATCHDOG"]
            if (len(events) >= len(expected) and len(wire) >= len(unlimited)
                    or time.monotonic() > end):
                break
        if events != expected:
            raise Fault(f"events {events}, the model has {expected}")
        if wire != unlimited:
            raise Fault(f"events on the wire {self.wire}, the model has {expected}")
        self.next = after
        self.compare_state()
        if self.model.state == "running":
            self.compare_output()

    def compare_state(self):
        status = self.m.qmp.command("query-status")
        state = self.model.state
        if status != {"status": state, "running": state == "running", "singlestep": False}:
            raise Fault(f"status {status}, the model is {state}")
        actions = self.m.qmp.command("godwit-query-actions")
        if actions != self.model.actions:
            raise Fault(f"actions {actions}, the model has {self.model.actions}")

    def compare_output(self):
        """Each line that the guest owes has come, in whatever order: an NMI comes at any moment."""
        start = end = self.m.at
        for line in self.model.prints:
            self.m.at = start
            try:
                mark = r"(?m)(?:^|\S)" if line == "nmi" else "(?m)^"  # amid another line, too
                end = max(end, self.m.expect(rf"{mark}{re.escape(line)}[^\n]*\n").end())
            except AssertionError as e:
                raise Fault(f"the guest owes {self.model.prints}: {e}") from None
        self.m.at = end
        self.model.prints = []

    def ended(self):
        """The end that the model says: events, the connection's end, the status."""
        events = []
        try:
            while True:
                events.append(self.m.qmp.read(WAIT_S))
        except (EOFError, ConnectionResetError):
            pass
        got = [brief(e) for e in events if "event" in e]
        wire = [e for e in self.wire + got if e[0] != "WATCHDOG"]
        if wire != [e for e in self.model.events if e[0] != "WATCHDOG"]:
            raise Fault(f"last events {wire}, the model has {self.model.events}")
        status = self.m.wait(WAIT_S)
        if status != self.model.exit_status:
            raise Fault(f"exit status {status}, the model has {self.model.exit_status}")

    # ---- steps

    def command(self, name, **arguments):
        self.model.step()
        expected = getattr(self.model, "client_" + name)(**arguments)
        error, value, events = self.ask(name, arguments)
        if error != expected or (error is None and value != {}):
            raise Fault(f"reply {error or value}, the model has {expected}")
        if [e for e in events if e[0] != "WATCHDOG"] != self.model.events:  # a late one may be there
            raise Fault(f"events before the reply {events}, the model has {self.model.events}")
        self.wire = events
        self.finish()

    def order(self, letter):
        self.model.step()
        self.model.order(letter)
        self.wire = []
        self.m.send(letter)
        self.finish()

    def signal(self):
        self.model.step()
        self.model.signal()
        self.wire = []
        self.m.process.send_signal(signal.SIGTERM)
        self.finish()

    def finish(self):
        if self.model.exit_status is None:
            self.settle()
        else:
            self.ended()

    # ---- races

    def start_over(self):
        """After a race: back to what the model knows."""
        for name, arguments in (("stop", {}), ("set-action", {**DEFAULTS, "shutdown": "pause"}),
                                ("system_reset", {})):
            self.m.qmp.command(name, **arguments)
        self.model = Model()
        self.model.actions["shutdown"] = "pause"
        self.next = self.m.qmp.command("godwit-query-events")["next"]
        self.m.qmp.events.clear()
        self.compare_state()

    def race(self, letter, command, arguments):
        """Both at once: whichever is first, each event must be legal where it comes."""
        self.model.step()
        self.m.send(letter)
        message = {"execute": command, **({"arguments": arguments} if arguments else {})}
        state, last = self.model.state, None
        try:
            answer = self.m.qmp.request(message["execute"], **arguments)
            if "error" in answer and answer["error"]["class"] != "GenericError":
                raise Fault(f"race: {answer}")
            self.wait_for_order()
            events, self.next = self.journal_after(0.02)
            status = self.m.qmp.command("query-status")["status"]
        except (EOFError, ConnectionResetError, BrokenPipeError):
            self.race_ended()
            return
        for name, value in events:
            state, last = self.follow(state, last, name, value, events)
        if state != "?" and status != state:
            raise Fault(f"race: after {events} status {status}, not {state}")
        self.model.state = status

    def wait_for_order(self):
        """The order may be with a guest that is stopped: it has had its time when the machine has."""
        end = time.monotonic() + 0.05
        while time.monotonic() < end:
            self.m.qmp.command("query-status")

    def journal_after(self, seconds):
        self.wire = []
        time.sleep(seconds)
        return self.journal()

    def race_ended(self):
        if self.m.wait(WAIT_S) not in (0, 1):
            raise Fault(f"race: exit status {self.m.process.returncode}")
        self.model.exit_status = self.m.process.returncode

    def follow(self, state, last, name, value, events):
        """The state behind an event. A stop's reason is that of the event before it, or the client's."""
        fine = True
        if name == "STOP":
            fine = state == "running"
            state = {"WATCHDOG": "watchdog", "GUEST_PANICKED": "guest-panicked",
                     "SHUTDOWN": "shutdown"}.get(last, "paused")
            state = "?" if last in ("WATCHDOG", "GUEST_PANICKED") else state
        elif name == "RESUME":
            fine = state not in ("running", "shutdown", "suspended")
            state = "running"
        elif name == "SUSPEND":
            fine = state in ("running", "?")
            state = "suspended"
        elif name == "WAKEUP":
            fine = state in ("suspended", "?")
            state = "running"
        elif name == "RESET":
            state = state if state in ("running", "?") else "prelaunch"
        if not fine:
            raise Fault(f"race: {name} in {state} of {events}")
        return state, name


# ---- sequences

COMMANDS = ["stop", "cont", "cont", "system_reset", "system_powerdown", "system_wakeup",
            "inject_nmi", "set_action", "set_action"]


def random_actions(dice):
    keys = dice.sample(sorted(VALUES), dice.randint(0, len(VALUES)))
    return {key: dice.choice(VALUES[key]) for key in keys}


def step(driver, dice):
    """One random step; what it was, for the log."""
    if driver.model.takes_orders() and dice.random() < 0.45:
        letter = dice.choice(GUEST_LETTERS)
        yield f"guest {letter}"
        driver.order(letter)
    elif dice.random() < 0.004:
        yield "SIGTERM"
        driver.signal()
    elif dice.random() < 0.006:
        yield "quit"
        driver.command("quit")
    else:
        name = dice.choice(COMMANDS)
        arguments = random_actions(dice) if name == "set_action" else {}
        yield f"{name} {arguments or ''}"
        driver.command(name, **arguments)


def race(driver, dice):
    letter = dice.choice("rakqt345plbwe.")
    name = dice.choice(["stop", "system_reset", "system_powerdown", "system_wakeup", "set-action"])
    yield f"race: guest {letter} with {name}"
    driver.race(letter, name, random_actions(dice) if name == "set-action" else {})


def begin(driver):
    """All sequences begin alike, in whatever process."""
    if driver.model.guest == UNKNOWN:
        driver.start_over()
    driver.command("set_action", **{**DEFAULTS, "shutdown": "pause"})
    driver.command("stop")
    if driver.model.state != "prelaunch" or driver.model.guest != FRESH:
        driver.command("system_reset")
    driver.m.output, driver.m.at = b"", 0


def sequence(driver, seed, log):
    dice = random.Random(seed)
    log.clear()
    log.append("begin")
    begin(driver)
    for _ in range(dice.randint(4, 20)):
        for text in step(driver, dice):
            log.append(f"{driver.model.state}: {text}")
        if driver.model.exit_status is not None:
            return
    if driver.model.takes_orders() and seed % 10 == 0:
        for text in race(driver, dice):
            log.append(f"{driver.model.state}: {text}")
        if driver.model.exit_status is None:  # what the guest is about is not known any more
            driver.model.guest = UNKNOWN


def run(options):
    end = time.monotonic() + options.seconds if options.seconds else None
    driver, log, processes, i = None, [], 0, options.first
    try:
        while i < options.first + options.sequences and not (end and time.monotonic() > end):
            if not driver or driver.model.exit_status is not None:
                if driver:
                    driver.close()
                driver, processes = Driver(), processes + 1
            try:
                sequence(driver, options.seed * 1000003 + i, log)
            except EOFError:
                if driver.model.guest != UNKNOWN:  # a race's order may end it later on
                    raise
                driver.race_ended()
                continue
            if options.verbose:
                print(i, *log, sep="\n  ")
            i += 1
    except Exception as e:
        print(f"sequence {i} of seed {options.seed}, process {processes}:", *log, sep="\n  ")
        print(e if isinstance(e, Fault) else traceback.format_exc())
        if driver:
            print("exit status:", driver.m.process.poll())
            print("log:", driver.m.errors.decode(errors="replace")[-2000:])
        return 1
    finally:
        if driver:
            driver.close()
    print(f"{i - options.first} sequences agree, in {processes} processes")
    return 0


def main():
    parser = argparse.ArgumentParser()
    for name, default in (("--sequences", 300), ("--seed", 1), ("--first", 0)):
        parser.add_argument(name, type=int, default=default)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--verbose", action="store_true")
    sys.exit(run(parser.parse_args()))


if __name__ == "__main__":
    main()
