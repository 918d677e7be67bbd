#!/usr/bin/env python3
"""Random sequences of commands, actions and guest events; the machine must do what the model says.

Usage: test-model.py [--sequences N] [--seconds S] [--seed N] [--first N] [--verbose] [--door]

Each sequence has its own seed, so `--seed S --first I --sequences 1` repeats number I of a run. Most
sequences go on in the process that the last one left; those that end it make the next one start another.
Checked after each step: the reply, the events that came before it, the events of the journal (with those
that rate limits hold back), the run state, the actions, what the guest printed, the exit status. Every
tenth sequence ends in a race: an order to the guest and a command at once, after which only legality counts.

--door puts nobody on the vCPU: registers are written through the qtest door, also while the machine is
stopped. QEMU can be run like that too, without firmware's doings, as the oracle of the model.
"""
import argparse
import os
import random
import signal
import socket
import sys
import tempfile
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True
import godwit  # noqa: E402
from godwit import Machine, guest  # noqa: E402
from model import DEFAULTS, FRESH, GUEST_LETTERS, VALUES, Model  # noqa: E402

UNKNOWN = "unknown"
NMI = "nmi"
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
    MACHINE = ("-nodefaults", "-machine", "q35", "-m", "16", "-S", "-device", "pvpanic", "-device",
               "ib700", "-device", "i6300esb")

    def __init__(self):
        self.m = Machine(*self.MACHINE, "-accel", "tcg", "-kernel", guest("script"), "-append",
                         "nmi say up orders")
        self.model = Model()
        self.next = self.m.qmp.command("godwit-query-events")["next"]

    def takes(self, letter):
        """Whether the guest can be told that now."""
        return self.model.takes_orders()

    def allows(self, command):
        return True

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
        """Each line that the guest owes has come, in whatever order: an NMI comes at any moment, also in
        the middle of another line."""
        end = time.monotonic() + WAIT_S
        owed = [line for line in self.model.prints if line != NMI]
        with self.m.condition:
            while True:
                text = self.m.output[self.m.at:].decode()
                lines = text.replace(NMI + "\n", "").split("\n")[:-1]
                if (text.count(NMI + "\n") >= len(self.model.prints) - len(owed)
                        and all(any(x.startswith(line) for x in lines) for line in owed)):
                    break
                if time.monotonic() > end:
                    raise Fault(f"the guest owes {self.model.prints}, it has printed {text!r}")
                self.m.condition.wait(1)
            self.m.at += len(text.encode())
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
        try:
            answer = self.m.qmp.request(command, **arguments)
            if "error" in answer and answer["error"]["class"] != "GenericError":
                raise Fault(f"race: {answer}")
            self.wait_for_order()
            self.model.state = self.race_settled()
        except (EOFError, ConnectionResetError, BrokenPipeError):
            self.race_ended()

    def race_settled(self):
        """The state in the end, which the events must lead to. The order may take effect at any moment, be
        it between the journal's answer and the status's: they are asked again until they agree."""
        before, end = self.model.state, time.monotonic() + WAIT_S
        events, self.wire = [], []
        while True:
            status = self.m.qmp.command("query-status")["status"]
            more, self.next = self.journal()
            events += more
            state, last = before, None
            for name, value in events:
                state, last = self.follow(state, last, name, value, events)
            if state in ("?", status) and not more:
                return status
            if time.monotonic() > end:
                raise Fault(f"race: after {events} status {status}, not {state}")

    def wait_for_order(self):
        """The order may be with a guest that is stopped: it has had its time when the machine has."""
        end = time.monotonic() + 0.05
        while time.monotonic() < end:
            self.m.qmp.command("query-status")

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
        # Neither what a guest still says on its way into a stop nor a reset is why it stops.
        aside = ("SUSPEND_DISK", "POWERDOWN", "GUEST_CRASHLOADED", "RESET")
        return state, last if name in aside else name


class DoorDriver(Driver):
    """Nobody on the vCPU; the events come on the wire, for there may be no journal."""
    IS_QEMU = "qemu" in godwit.GODWIT
    PORTS = {"r": "outb 0xcf9 6", "k": "outb 0x64 0xfe", "q": "outb 0x92 0\noutb 0x92 1",
             "3": "outw 0x604 0x2400", "4": "outw 0x604 0x2800", "5": "outw 0x604 0x2000",
             "p": "outb 0x505 1", "l": "outb 0x505 2", "b": "outb 0x505 3",
             "w": "outb 0x443 15", ".": "inb 0x80"}
    # The power management registers, where no firmware has put them.
    PLACE = "outl 0xcf8 0x8000f840\noutl 0xcfc 0x601\noutl 0xcf8 0x8000f844\noutb 0xcfc 0x80"

    def __init__(self):
        self.rom = tempfile.NamedTemporaryFile(prefix="godwit-rom-")
        self.rom.write((b"\xfa\xf4\xeb\xfd" + bytes(12)).rjust(65536, b"\xff"))  # cli; hlt; again
        self.rom.flush()
        self.m = Machine(*self.MACHINE, "-accel", "tcg", "-bios", self.rom.name, "-qtest",
                         "unix:DIR/door,server=on,wait=off", "-qtest-log", "/dev/null")
        self.model = Model()
        self.door = socket.socket(socket.AF_UNIX)
        self.door.settimeout(WAIT_S)
        self.door.connect(os.path.join(self.m.dir, "door"))

    def close(self):
        self.door.close()
        self.rom.close()
        super().close()

    def takes(self, letter):
        model = self.model
        if letter not in self.PORTS or letter == "3" and model.state not in ("running", "suspended"):
            return False  # QEMU cannot put a stopped machine to sleep: it aborts
        if letter in "pb" and model.state == "running":
            # Not on a vCPU, QEMU stops the machine at once.
            return model.actions["panic"] in ("pause", "none") or (
                model.actions["panic"] == "shutdown" and model.actions["shutdown"] == "pause")
        return not (letter == "w" and (model.actions["watchdog"] == "poweroff" and self.IS_QEMU
                                       or model.state != "running"))

    def allows(self, command):
        # The differences of docs/compatibility.md.
        return not (self.IS_QEMU and command == "system_powerdown"
                    and self.model.state == "suspended")

    def say(self, text):
        self.door.sendall((text + "\n").encode())
        answer = b""
        while answer.count(b"\n") < text.count("\n") + 1:
            part = self.door.recv(4096)
            if not part:
                return
            answer += part
        if answer.count(b"OK") != text.count("\n") + 1:
            raise Fault(f"{text}: {answer}")

    def order(self, letter):
        self.model.step()
        asleep = self.model.state == "suspended"
        if not (asleep and letter == "3"):
            self.model.order(letter)
        self.wire = []
        self.say(self.PLACE + "\n" + self.PORTS[letter])
        self.finish()

    def settle(self):
        expected = [e for e in self.model.events if e[0] != "WATCHDOG"]
        end = time.monotonic() + WAIT_S
        while True:
            self.m.qmp.command("set-action")  # on the main thread, behind what is pending there
            self.wire += [brief(e) for e in self.m.qmp.events]
            self.m.qmp.events.clear()
            wire = [e for e in self.wire if e[0] != "WATCHDOG"]
            if len(wire) >= len(expected) or time.monotonic() > end:
                break
        if wire != expected:
            raise Fault(f"events {self.wire}, the model has {self.model.events}")
        self.model.prints = []
        self.compare_state()

    def compare_state(self):
        status = self.m.qmp.command("query-status")
        state = self.model.state
        if status != {"status": state, "running": state == "running", "singlestep": False}:
            raise Fault(f"status {status}, the model is {state}")


# ---- sequences

COMMANDS = ["stop", "cont", "cont", "system_reset", "system_powerdown", "system_wakeup",
            "inject_nmi", "set_action", "set_action"]


def random_actions(dice):
    keys = dice.sample(sorted(VALUES), dice.randint(0, len(VALUES)))
    return {key: dice.choice(VALUES[key]) for key in keys}


def step(driver, dice):
    """One random step; what it was, for the log."""
    letter = dice.choice(GUEST_LETTERS)
    if driver.takes(letter) and dice.random() < 0.45:
        yield f"guest {letter}"
        driver.order(letter)
    elif dice.random() < 0.004:
        yield "SIGTERM"
        driver.signal()
    elif dice.random() < 0.006:
        yield "quit"
        driver.command("quit")
    else:
        name = dice.choice([c for c in COMMANDS if driver.allows(c)])
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


def sequence(driver, seed, log, races):
    dice = random.Random(seed)
    log.clear()
    log.append("begin")
    begin(driver)
    for _ in range(dice.randint(4, 20)):
        for text in step(driver, dice):
            log.append(f"{driver.model.state}: {text}")
        if driver.model.exit_status is not None:
            return
    if races and driver.model.takes_orders() and seed % 10 == 0:
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
                driver, processes = DoorDriver() if options.door else Driver(), processes + 1
            try:
                sequence(driver, options.seed * 1000003 + i, log, not options.door)
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
    for name in "--verbose", "--door":
        parser.add_argument(name, action="store_true")
    sys.exit(run(parser.parse_args()))


if __name__ == "__main__":
    main()
