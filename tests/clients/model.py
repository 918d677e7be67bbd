"""A model of the run states, written from the protocol's description: what each command, each action and
each event of the guest does, as events, a reply, a state. It knows nothing of the program that it is
compared with.

Events stand as (name, data's telling value): ("RESET", "guest-reset"), ("STOP", None).
"""
NEEDS_RESET = "Resetting the Virtual Machine is required"
NOT_ASLEEP = "Unable to wake up: guest is not in suspended state"

DEFAULTS = {"reboot": "reset", "shutdown": "poweroff", "panic": "shutdown", "watchdog": "reset"}
VALUES = {"reboot": ("reset", "shutdown"), "shutdown": ("poweroff", "pause"),
          "panic": ("pause", "shutdown", "exit-failure", "none"),
          "watchdog": ("reset", "shutdown", "poweroff", "pause", "debug", "none", "inject-nmi")}

RESET_LETTERS = "rakqt"
GUEST_LETTERS = RESET_LETTERS + "345plbweh."

# What the guest is about, which decides whether it takes orders.
FRESH, LISTENS, DEAF = "fresh", "listens", "deaf"


class Model:
    def __init__(self):
        self.state = "prelaunch"
        self.actions = dict(DEFAULTS)
        self.guest = FRESH
        self.prints = []  # what the guest is to print, now or as soon as it runs, in order
        self.nmi = False  # one waits for the guest to run
        self.events = []  # of the step being made
        self.exit_status = None  # the process has ended with it

    # ---- parts

    def tell(self, name, value=None):
        self.events.append((name, value))

    def stop(self, state):
        if self.state == "running":
            self.state = state
            self.tell("STOP")

    def run(self):
        """The guest goes on: it starts, or prints what it owes."""
        self.state = "running"
        if self.guest == FRESH:
            self.prints = ["up"]
            self.guest = LISTENS
            self.nmi = False
        if self.nmi:
            self.prints.append("nmi")
            self.nmi = False

    def shutdown(self, cause, status=0):
        self.tell("SHUTDOWN", cause)
        if self.actions["shutdown"] == "pause":
            self.stop("shutdown")
        else:
            self.exit_status = status

    def reset(self, cause):
        if self.actions["reboot"] == "shutdown":
            self.shutdown(cause)
            return
        self.tell("RESET", cause)
        self.guest, self.prints, self.nmi = FRESH, [], False
        if self.state == "running":
            self.run()
        else:
            self.state = "prelaunch"

    def powerdown(self):
        self.tell("POWERDOWN")
        if self.state == "suspended":  # the button wakes
            self.wake()

    def wake(self):
        self.tell("WAKEUP")
        self.prints = ["awake", "3"]
        self.guest = LISTENS
        self.nmi = False
        self.run()

    def panic(self, exit_causes=("shutdown", "exit-failure")):
        panic, shutdown = self.actions["panic"], self.actions["shutdown"]
        if panic == "none":
            self.tell("GUEST_PANICKED", "run")
        elif panic == "pause" or (panic == "shutdown" and shutdown == "pause"):
            self.tell("GUEST_PANICKED", "pause")
            self.stop("guest-panicked")
        else:
            self.tell("GUEST_PANICKED", "poweroff")
            self.shutdown("guest-panic", 1 if panic == "exit-failure" else 0)

    def watchdog(self):
        action = self.actions["watchdog"]
        self.tell("WATCHDOG", action)
        if action == "reset":
            self.reset("guest-reset")
        elif action == "shutdown":
            self.powerdown()
        elif action == "poweroff":
            self.actions["shutdown"] = "poweroff"
            self.shutdown("guest-shutdown")
        elif action == "pause":
            self.stop("watchdog")
        elif action == "inject-nmi":
            self.prints.append("nmi")

    # ---- steps: what a client does; the reply is None for success, else the error's text

    def step(self):
        self.events = []

    def client_stop(self):
        self.stop("paused")

    def client_cont(self):
        if self.state == "shutdown":
            return NEEDS_RESET
        if self.state not in ("running", "suspended"):
            self.tell("RESUME")
            self.run()
        return None

    def client_system_reset(self):
        self.reset("host-qmp-system-reset")

    def client_system_powerdown(self):
        self.powerdown()

    def client_system_wakeup(self):
        if self.state != "suspended":
            return NOT_ASLEEP
        self.wake()
        return None

    def client_inject_nmi(self):
        if self.state == "running":
            self.prints.append("nmi")
        elif self.state not in ("prelaunch", "suspended"):
            self.nmi = True

    def client_set_action(self, **actions):
        self.actions.update(actions)

    def client_quit(self):
        self.tell("SHUTDOWN", "host-qmp-quit")
        self.exit_status = 0

    def signal(self):
        self.tell("SHUTDOWN", "host-signal")
        self.exit_status = 0

    # ---- steps: what the guest does on the order

    def takes_orders(self):
        return self.state == "running" and self.guest == LISTENS

    def order(self, letter):
        goes_on = True
        if letter in RESET_LETTERS:
            self.guest = DEAF
            goes_on = False
            self.reset("guest-reset")
        elif letter == "3":
            self.guest = DEAF
            goes_on = False
            self.state = "suspended"
            self.tell("SUSPEND")
        elif letter in "45":
            self.guest = DEAF
            goes_on = False
            if letter == "4":
                self.tell("SUSPEND_DISK")
            self.shutdown("guest-shutdown")
        elif letter in "pb":
            self.panic()
        elif letter == "l":
            self.tell("GUEST_CRASHLOADED", "run")
        elif letter in "we":
            # The guest runs on while it expires: it prints before or after, or not at all.
            self.watchdog()
            goes_on = False
            if self.guest == LISTENS and not (self.state == "running" and self.prints == ["up"]):
                goes_on = True
        elif letter == "h":
            self.guest = DEAF
            goes_on = False
        if goes_on:
            self.prints.append(letter)
