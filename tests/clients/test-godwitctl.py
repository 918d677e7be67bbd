#!/usr/bin/env python3
"""godwitctl against scripted servers, well-behaved and not.

Usage: test-godwitctl.py GODWITCTL [unittest arguments]
"""
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from fake_qmp import GODWIT_VERSION, FakeServer  # noqa: E402

PROGRAM = os.path.abspath(sys.argv.pop(1))
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit that it is ignored
LIMIT_S = 20 * float(os.environ.get("TEST_TIME_FACTOR", "1"))  # no run of the program may take longer, whatever the server does

OK, ERROR, USAGE, TIMEOUT, GONE = range(5)

STATUS = {"status": "running", "running": True, "singlestep": False}

SCHEMA = [
    {"meta-type": "command", "name": "set-things", "arg-type": "0", "ret-type": "1"},
    {"meta-type": "command", "name": "stop", "arg-type": "1", "ret-type": "1"},
    {"meta-type": "event", "name": "STOP", "arg-type": "1"},
    {"meta-type": "event", "name": "SHUTDOWN", "arg-type": "1"},
    {"meta-type": "event", "name": "RESET", "arg-type": "1"},
    {"meta-type": "object", "name": "0", "members": [
        {"name": "name", "type": "str"},
        {"name": "number", "type": "int", "default": None},
        {"name": "size", "type": "int", "default": None},
        {"name": "flag", "type": "bool", "default": None},
        {"name": "mode", "type": "2", "default": None},
        {"name": "list", "type": "[str]", "default": None},
        {"name": "numbers", "type": "[int]", "default": None},
        {"name": "inner", "type": "3", "default": None},
        {"name": "either", "type": "4", "default": None}]},
    {"meta-type": "object", "name": "1", "members": []},
    {"meta-type": "enum", "name": "2", "values": ["fast", "slow", "true"]},
    {"meta-type": "object", "name": "3", "members": [{"name": "id", "type": "str"},
                                                     {"name": "again", "type": "3"}]},
    {"meta-type": "alternate", "name": "4", "members": [{"type": "str"}, {"type": "3"}]},
    {"meta-type": "array", "name": "[str]", "element-type": "str"},
    {"meta-type": "array", "name": "[int]", "element-type": "int"},
    {"meta-type": "builtin", "name": "str", "json-type": "string"},
    {"meta-type": "builtin", "name": "int", "json-type": "int"},
    {"meta-type": "builtin", "name": "bool", "json-type": "boolean"},
]


def environment(**more):
    env = {key: value for key, value in os.environ.items()
           if key not in ("GODWIT_SOCKET", "NO_COLOR")}
    env.update(LC_ALL="C.UTF-8", TZ="UTC")
    env.update(more)
    return env


def run(address, *words, stdin=b"", **env):
    """Runs the program to its end; output is bytes."""
    command = [PROGRAM] + (["-s", address] if address else []) + list(words)
    return subprocess.run(command, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=LIMIT_S, env=environment(**env), check=False)


def answering(answers, version=None, capabilities=("oob",)):
    def script(server):
        server.negotiate(version, capabilities)
        server.serve(answers)
    return script


class Case(unittest.TestCase):
    def outcome(self, done, status, out=None, err=None):
        """Checks exit status, and that the outputs contain texts."""
        self.assertEqual(done.returncode, status, done)
        for text, stream in ((out, done.stdout), (err, done.stderr)):
            if text is not None:
                self.assertIn(text.encode(), stream)

    def play(self, script, *words, **more):
        with FakeServer(script) as server:
            done = run(server.address, *words, **more)
            self.requests = server.requests
            self.commands = server.commands
        return done


class Verbs(Case):
    def test_status(self):
        done = self.play(answering({"query-status": STATUS}), "status")
        self.outcome(done, OK)
        self.assertEqual(done.stdout.splitlines()[0], b"running")
        self.assertEqual(self.commands, ["qmp_capabilities", "query-status"])
        self.assertNotIn("arguments", self.requests[0], "oob must not be enabled unasked")

    def test_status_json(self):
        done = self.play(answering({"query-status": STATUS}), "--json", "status")
        self.assertEqual(json.loads(done.stdout), STATUS)
        self.assertEqual(done.stdout.count(b"\n"), 1)

    def test_unknown_state(self):
        done = self.play(answering({"query-status": {"status": "levitating"}}), "status")
        self.outcome(done, OK, "levitating")

    def test_control_commands(self):
        for verb, command in (("stop", "stop"), ("cont", "cont"), ("reset", "system_reset"),
                              ("powerdown", "system_powerdown")):
            done = self.play(answering({command: {}, "query-status": STATUS}), verb)
            self.outcome(done, OK, "running")
            self.assertEqual(self.commands[1:], [command, "query-status"])

    def test_refusal(self):
        refusal = RuntimeError("Resetting the Virtual Machine is required")
        done = self.play(answering({"cont": refusal}), "cont")
        self.outcome(done, ERROR, err="Resetting the Virtual Machine is required")
        self.assertEqual(done.stdout, b"")

    def test_quit_waits_for_the_end(self):
        def script(server):
            server.negotiate()
            request = server.request()
            server.event("SHUTDOWN", {"guest": False, "reason": "host-qmp-quit"})
            server.reply(request)
            time.sleep(0.3)
        began = time.monotonic()
        self.outcome(self.play(script, "quit"), OK)
        self.assertGreaterEqual(time.monotonic() - began, 0.3)

    def test_quit_without_reply(self):
        def script(server):
            server.negotiate()
            server.request()
        self.outcome(self.play(script, "quit"), OK)

    def test_quit_that_does_not_end(self):
        done = self.play(answering({"quit": {}}), "-t", "0.3", "quit")
        self.outcome(done, TIMEOUT)

    def test_address_forms(self):
        with FakeServer(answering({"query-status": STATUS})) as server:
            self.outcome(run(None, "status", GODWIT_SOCKET=server.address), OK)
            self.outcome(run("unix:" + server.address, "status"), OK)
            self.outcome(run(None, "status", "-s", server.address), OK)
            self.outcome(run(server.address, "status", GODWIT_SOCKET="/nowhere"), OK)
        with FakeServer(answering({"query-status": STATUS}), tcp=True) as server:
            self.outcome(run(server.address, "status"), OK)

    def test_nobody_there(self):
        self.outcome(run("/nonexistent/socket", "status"), GONE, err="/nonexistent/socket")
        with socket.socket() as reserved:
            reserved.bind(("127.0.0.1", 0))
            self.outcome(run("tcp:127.0.0.1:%d" % reserved.getsockname()[1], "status"), GONE)

    def test_usage(self):
        for words in ([], ["nonsense"], ["status", "extra"], ["--bogus", "status"],
                      ["status", "--bogus"], ["wait"], ["wait", "--for", "A", "--where", "x"],
                      ["exec"], ["-t", "-1", "status"], ["-t", "soon", "status"],
                      ["--color", "mauve", "status"], ["help", "nonsense"], ["status"],
                      ["-s", "tcp:nothing", "status"], ["-s", "x" * 200, "status"],
                      ["-s", "", "status"]):
            done = run(None, *words)
            self.outcome(done, USAGE)
            self.assertTrue(done.stderr, words)

    def test_help(self):
        self.outcome(run(None, "--help"), OK, "black-box")
        self.outcome(run(None, "--version"), OK, "godwitctl ")
        listing = run(None, "help").stdout.decode()
        for verb in ("status", "stop", "cont", "reset", "powerdown", "quit", "why", "black-box",
                     "exec", "events", "wait", "shell", "top"):
            self.assertIn("  %s " % verb, listing)
            for words in (("help", verb), (verb, "--help"), ("-h", verb)):
                self.outcome(run(None, *words), OK, "Usage: godwitctl [-s ADDR] " + verb)


class Manual(unittest.TestCase):
    def test_tells_every_verb_and_option(self):
        path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs/godwitctl.1")
        with open(path, encoding="utf-8") as lines:
            manual = lines.read().replace("\\-", "-")
        helps = run(None, "help").stdout.decode()
        verbs = re.findall(r"^  ([a-z][a-z-]+) ", helps, re.M)
        self.assertGreaterEqual(len(verbs), 13)
        for verb in verbs:
            self.assertRegex(manual, r"(?m)^\.(TP\n)?.*\b%s\b|^\\fB%s" % (verb, verb))
            helps += run(None, "help", verb).stdout.decode()
        for option in set(re.findall(r"--[a-z]+", helps)):
            self.assertIn(option, manual)


class Exec(Case):
    def sent(self, *words, schema=SCHEMA):
        """The arguments that the server gets."""
        done = self.play(answering({"set-things": {}, "query-qmp-schema": schema}),
                         "exec", "set-things", *words)
        self.outcome(done, OK)
        self.assertEqual(done.stdout, b"")
        return self.requests[-1].get("arguments")

    def test_typed_arguments(self):
        self.assertEqual(
            self.sent("name=5", "number=7", "size=0x10", "flag=on", "mode=true", "list=a,b",
                      "numbers=1,2", "inner.id=9", "inner.again.id=true"),
            {"name": "5", "number": 7, "size": 16, "flag": True, "mode": "true",
             "list": ["a", "b"], "numbers": [1, 2], "inner": {"id": "9", "again": {"id": "true"}}})
        self.assertEqual(self.sent("either=5"), {"either": "5"})
        self.assertEqual(self.sent('either={"id": "x"}'), {"either": {"id": "x"}})
        self.assertEqual(self.sent("number=18446744073709551615"),
                         {"number": 18446744073709551615})
        self.assertEqual(self.sent("name="), {"name": ""})

    def test_guessed_arguments(self):
        self.assertEqual(
            self.sent("a=5", "b=true", "c=text", 'd={"x": [1]}', "e=1.2.3", "f:=null", 'g:="5"',
                      schema=RuntimeError("none")),
            {"a": 5, "b": True, "c": "text", "d": {"x": [1]}, "e": "1.2.3", "f": None, "g": "5"})

    def test_json_arguments(self):
        self.assertEqual(self.sent('{"name": "x", "deep": [[{}]]}'),
                         {"name": "x", "deep": [[{}]]})
        self.assertNotIn("query-qmp-schema", self.commands)
        self.assertIsNone(self.sent())
        self.assertIsNone(self.sent("{}"))

    def test_schema_is_not_asked_without_need(self):
        self.assertEqual(self.sent("name=plain"), {"name": "plain"})
        self.assertNotIn("query-qmp-schema", self.commands)

    def test_wrong_arguments(self):
        for words in (["name"], ["=x"], ["name=a", "name=b"], ["{"], ["{}", "x=1"], ["a:=nope"],
                      ["a=1", "a.b=2"], ["a..=1"]):
            done = self.play(answering({"query-qmp-schema": SCHEMA}), "exec", "set-things", *words)
            self.outcome(done, USAGE)
            self.assertNotIn("set-things", self.commands)

    def test_results(self):
        text = "one\r\n\x1b[31mtwo\r\n"
        answers = {"text": text, "number": 5, "object": {"a": {"b": 1}}, "list": [], "none": {}}
        self.assertEqual(self.play(answering(answers), "exec", "text").stdout,
                         b"one\n\\u001b[31mtwo\n")
        self.assertEqual(self.play(answering(answers), "exec", "number").stdout, b"5\n")
        self.assertEqual(json.loads(self.play(answering(answers), "exec", "object").stdout),
                         {"a": {"b": 1}})
        self.assertEqual(self.play(answering(answers), "exec", "none").stdout, b"")
        self.assertEqual(self.play(answering(answers), "exec", "none", "--json").stdout, b"{}\n")
        self.assertEqual(json.loads(self.play(answering(answers), "--json", "exec", "text").stdout),
                         text)

    def test_oob(self):
        done = self.play(answering({"yank": {}}), "exec", "--oob", "yank")
        self.outcome(done, OK)
        self.assertEqual(self.requests[0]["arguments"], {"enable": ["oob"]})
        self.assertIn("exec-oob", self.requests[1])
        done = self.play(answering({"yank": {}}, capabilities=()), "exec", "--oob", "yank")
        self.outcome(done, ERROR, err="out-of-band")

    def test_unknown_command(self):
        self.outcome(self.play(answering({}), "exec", "nope"), ERROR, err="CommandNotFound")


def events_script(*events):
    """Sends events after the schema, then closes."""
    def script(server):
        server.negotiate()
        request = server.request()
        server.reply(request, SCHEMA)
        for event in events:
            server.event(*event)
    return script


class Events(Case):
    def test_follow(self):
        def script(server):
            server.negotiate()
            server.event("STOP")
            server.event("SHUTDOWN", {"guest": True, "reason": "guest-shutdown",
                                      "deep": {"x": [1]}})
        done = self.play(script, "events", "--follow")
        self.outcome(done, GONE)
        self.assertEqual(done.stdout.decode().splitlines(), [
            "22:13:20.250 STOP",
            "22:13:20.250 SHUTDOWN guest=true reason=guest-shutdown deep.x=[1]"])

    def test_follow_for_a_time(self):
        def script(server):
            server.negotiate()
            server.event("STOP")
            while server.request():
                pass
        done = self.play(script, "events", "--follow", "--timeout", "1.5")
        self.outcome(done, TIMEOUT, "STOP")

    def test_follow_json(self):
        def script(server):
            server.negotiate()
            server.event("STOP")
            server.event("RESUME")
        done = self.play(script, "events", "-f", "--json", "--count", "1")
        self.outcome(done, OK)
        self.assertEqual(json.loads(done.stdout)["event"], "STOP")

    def test_colour(self):
        def script(server):
            server.negotiate()
            server.event("STOP")
        self.assertIn(b"\x1b[", self.play(script, "events", "-f", "--color", "always").stdout)
        self.assertNotIn(b"\x1b[", self.play(script, "events", "-f").stdout)

    def test_filter(self):
        done = self.play(events_script(("STOP",), ("RESET", {"guest": False}),
                                       ("RESET", {"guest": True})),
                         "events", "-f", "--for", "reset,shutdown", "--where", "data.guest=true")
        self.assertEqual(done.stdout.decode().splitlines(), ["22:13:20.250 RESET guest=true"])

    def test_no_journal(self):
        done = self.play(answering({"query-commands": [{"name": "stop"}]}), "events")
        self.outcome(done, ERROR, err="no journal")
        done = self.play(answering({"query-commands": [{"name": "stop"}]}),
                         "events", "-f", "--since", "3")
        self.outcome(done, ERROR, err="no journal")

    def test_reader_goes_away(self):
        def script(server):
            server.negotiate()
            server.event("STOP")
            server.wait_closed()
        with FakeServer(script) as server:
            with subprocess.Popen([PROGRAM, "-s", server.address, "events", "-f"],
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  env=environment()) as child:
                self.assertIn(b"STOP", child.stdout.readline())
                child.stdout.close()
                self.assertEqual(child.wait(LIMIT_S), ERROR)
                self.assertEqual(child.stderr.read(), b"")

    def test_interrupt_ends_by_the_signal(self):
        def script(server):
            server.negotiate()
            server.event("STOP")
            server.wait_closed()
        with FakeServer(script) as server:
            with subprocess.Popen([PROGRAM, "-s", server.address, "events", "-f"],
                                  stdout=subprocess.PIPE, env=environment()) as child:
                child.stdout.readline()
                child.send_signal(signal.SIGINT)
                self.assertEqual(child.wait(LIMIT_S), -signal.SIGINT)


class Wait(Case):
    def test_happened(self):
        done = self.play(events_script(("STOP",), ("SHUTDOWN", {"reason": "guest-reset"}),
                                       ("SHUTDOWN", {"reason": "guest-shutdown"})),
                         "wait", "--for", "SHUTDOWN", "--where", "data.reason=guest-shutdown",
                         "--json")
        self.outcome(done, OK)
        self.assertEqual(json.loads(done.stdout)["data"], {"reason": "guest-shutdown"})

    def test_negated_condition(self):
        done = self.play(events_script(("RESET", {"guest": False, "reason": "a"}),
                                       ("RESET", {"guest": True, "reason": "b"})),
                         "wait", "--for", "RESET", "--where", "data.reason!=a")
        self.outcome(done, OK, "reason=b")

    def test_timeout(self):
        def script(server):
            events_script(("STOP",))(server)
            server.wait_closed()
        began = time.monotonic()
        done = self.play(script, "wait", "--for", "RESET", "--timeout", "0.4")
        self.outcome(done, TIMEOUT)
        self.assertEqual(done.stdout, b"")
        self.assertGreaterEqual(time.monotonic() - began, 0.4)

    def test_timeout_amid_other_events(self):
        def script(server):
            server.negotiate()
            server.reply(server.request(), SCHEMA)
            while True:
                server.event("STOP")
        self.outcome(self.play(script, "wait", "--for", "RESET", "-t", "0.4"), TIMEOUT)

    def test_server_goes(self):
        self.outcome(self.play(events_script(("STOP",)), "wait", "--for", "RESET"), GONE)

    def test_event_just_before_the_end(self):
        self.outcome(self.play(events_script(("SHUTDOWN", {})), "wait", "--for", "SHUTDOWN"), OK)

    def test_unknown_event(self):
        done = self.play(events_script(), "wait", "--for", "SHUTDWON")
        self.outcome(done, ERROR, err="no event SHUTDWON")

    def test_exec_whose_event_precedes_its_reply(self):
        def stop(server, request):
            server.event("STOP")
            return {}
        script = answering({"stop": stop, "query-qmp-schema": SCHEMA})
        done = self.play(script, "wait", "--exec", "stop", "--for", "STOP")
        self.outcome(done, OK, "STOP")

    def test_exec_refused(self):
        script = answering({"query-qmp-schema": SCHEMA})
        done = self.play(script, "wait", "--exec", "nope a=b", "--for", "STOP")
        self.outcome(done, ERROR, err="CommandNotFound")
        self.assertEqual(self.requests[-1]["arguments"], {"a": "b"})


class Godwit(Case):
    """What only servers with Godwit's own commands have."""
    JOURNAL = [{"event": "STOP", "seq": number, "boot-id": "b", "data": {"n": number},
                "timestamp": {"seconds": 1700000000, "microseconds": 0}} for number in range(5, 9)]
    COMMANDS = [{"name": name} for name in
                ("godwit-query-events", "godwit-query-cause", "godwit-query-black-box")]

    def script(self, **more):
        answers = {"query-commands": self.COMMANDS, "query-qmp-schema": SCHEMA}
        answers.update({key.replace("_", "-"): value for key, value in more.items()})
        return answering(answers, GODWIT_VERSION, ("oob", "godwit-events"))

    def test_capability(self):
        done = self.play(self.script(query_status=STATUS), "status")
        self.outcome(done, OK)
        self.assertEqual(self.requests[0]["arguments"], {"enable": ["godwit-events"]})

    def test_journal(self):
        done = self.play(self.script(godwit_query_events={"events": self.JOURNAL}), "events",
                         "--since", "5")
        self.outcome(done, OK)
        self.assertEqual(self.requests[-1]["arguments"], {"since": 5})
        self.assertEqual([line.split()[1] for line in done.stdout.decode().splitlines()],
                         ["#5", "#6", "#7", "#8"])
        self.assertEqual(done.stderr, b"")

    def test_gap_is_told(self):
        journal = {"events": self.JOURNAL, "gone": {"first": 2, "last": 4}}
        done = self.play(self.script(godwit_query_events=journal), "events", "--since", "2")
        self.outcome(done, OK, err="events 2 to 4 are gone")

    def test_journal_and_live_meet(self):
        def query(server, request):
            server.send(self.JOURNAL[3])  # comes live too, before the reply
            server.reply(request, {"events": self.JOURNAL})
            server.event("RESET", {}, seq=10)
            server.event("WATCHDOG", {}, seq=9)  # a rate limit held it back
            server.sock.shutdown(socket.SHUT_WR)
            return Ellipsis
        done = self.play(self.script(godwit_query_events=query), "events", "--since", "0", "-f")
        self.outcome(done, GONE)
        self.assertEqual([line.split()[1] for line in done.stdout.decode().splitlines()],
                         ["#5", "#6", "#7", "#8", "#10", "#9"])

    def loss(self, journal, *then):
        """The server follows up a STOP with the notice that it left out 5 to 7."""
        def query(server, request):
            server.reply(request, journal)
            for name, number in then:
                server.event(name, {}, seq=number)
            server.sock.shutdown(socket.SHUT_WR)
            return Ellipsis

        def commands(server, request):
            server.reply(request, self.COMMANDS)
            return Ellipsis

        def script(server):
            server.negotiate(GODWIT_VERSION, ("oob", "godwit-events"))
            server.event("STOP", {}, seq=4)
            server.event("GODWIT_EVENTS_DROPPED", {"count": 3, "first": 5, "last": 7}, seq=7)
            server.serve({"query-commands": commands, "godwit-query-events": query,
                          "query-qmp-schema": SCHEMA})
        return script

    def test_what_was_left_out_is_fetched(self):
        done = self.play(self.loss({"events": self.JOURNAL}, ("RESET", 8), ("WATCHDOG", 6)), "events", "-f")
        self.outcome(done, GONE)
        self.assertEqual(self.requests[-1]["arguments"], {"since": 5})
        # 8 is not of what was left out: it comes by itself. 6 has been shown.
        self.assertEqual([line.split()[1:3] for line in done.stdout.decode().splitlines()],
                         [["#4", "STOP"], ["#5", "STOP"], ["#6", "STOP"], ["#7", "STOP"], ["#8", "RESET"]])
        self.assertNotIn(b"gone from", done.stderr)

    def test_what_was_left_out_is_gone(self):
        journal = {"events": self.JOURNAL[1:], "gone": {"first": 5, "last": 5}}
        done = self.play(self.loss(journal), "events", "-f")
        self.outcome(done, GONE, err="events 5 to 5 are gone from the server's journal")
        self.assertEqual([line.split()[1] for line in done.stdout.decode().splitlines()],
                         ["#4", "#6", "#7"])

    def test_wait_finds_what_was_left_out(self):
        done = self.play(self.loss({"events": self.JOURNAL}), "wait", "--for", "STOP", "--where", "data.n=6")
        self.outcome(done, OK, "#6 STOP")

    def test_wait_for_the_past(self):
        done = self.play(self.script(godwit_query_events={"events": self.JOURNAL}),
                         "wait", "--for", "STOP", "--since", "0", "--where", "data.n=7")
        self.outcome(done, OK, "#7 STOP")

    def test_why_and_black_box(self):
        stamp = {"seconds": 1700000000, "microseconds": 1000}
        guest = {"who": "guest", "what": "acpi", "vcpu": 0, "access": {
            "space": "port", "address": "0x604", "size": 2, "write": True, "value": "0x2000"}}
        cause = {"status": "shutdown", "cause": guest, "changes": [
            {"from": "running", "to": "shutdown", "timestamp": stamp, "cause": guest},
            {"from": "prelaunch", "to": "running", "timestamp": stamp}],
            "chain": [{"event": "SHUTDOWN", "seq": 7, "timestamp": stamp, "cause": guest}], "last": []}
        done = self.play(self.script(godwit_query_cause=cause), "why")
        self.outcome(done, OK)
        lines = done.stdout.decode().splitlines()
        self.assertEqual(lines[0], "shutdown")
        self.assertRegex(lines[3], r"^  \S+ running to shutdown "
                                   r"\(guest acpi vCPU 0 wrote 0x2000 to port 0x604\)$")
        self.assertRegex(lines[4], r"^  \S+ prelaunch to running$")
        self.assertRegex(lines[6], r"^  \S+ #7 SHUTDOWN \(guest acpi")
        for strange in ([], {}, {"status": 5, "changes": 7, "chain": [1]}, {"changes": [{"to": "\x1b[2J"}]}):
            done = self.play(self.script(godwit_query_cause=strange), "why")
            self.outcome(done, OK)
            self.assertNotIn(b"\x1b", done.stdout)
        done = self.play(self.script(godwit_query_cause=cause), "why", "--json")
        self.assertEqual(json.loads(done.stdout), cause)
        done = self.play(self.script(godwit_query_black_box={"vcpus": [{"rip": 1}]}), "black-box")
        self.outcome(done, OK, "rip: 1")

    def test_absent_on_qemu(self):
        script = answering({"query-commands": [{"name": "stop"}], "query-status": STATUS})
        done = self.play(script, "why")
        self.outcome(done, ERROR, "running", "no command godwit-query-cause")
        self.assertNotIn("godwit-query-cause", self.commands)
        self.outcome(self.play(script, "black-box"), ERROR)


class RunStates(Case):
    """The states that godwitctl explains are those of the machine, with the same ways in and out."""

    def test_all_are_known(self):
        source = os.path.join(os.path.dirname(os.path.abspath(__file__)),
                              "../../src/machine/runstate.c")
        with open(source, encoding="utf-8") as lines:
            pairs = {tuple(name.lower().replace("_", "-") for name in pair)
                     for pair in re.findall(r"FROM\(([A-Z_]+), ([A-Z_]+)\)", lines.read())}
        states = {state for pair in pairs for state in pair}
        self.assertEqual(len(states), 16)
        for state in states:
            answers = answering({"query-status": {"status": state}, "query-cpus-fast": []})
            done = self.play(answers, "top", COLUMNS="1000", LC_ALL="C")
            text = done.stdout.decode()
            before = re.search(r"^ from  (.*)$", text, re.M).group(1).split()
            after = re.search(r"^   --> \| %s \| --> (.*)$" % state, text, re.M).group(1).split()
            self.assertEqual({(state, to) for to in after} | {(of, state) for of in before},
                             {pair for pair in pairs if state in pair})


class Hostile(Case):
    """Servers that break the protocol. Each ends with the right status, and soon."""

    def test_silence(self):
        self.outcome(self.play(lambda server: server.wait_closed(), "-t", "0.3", "status"), TIMEOUT,
                     err="no greeting")

    def test_not_qmp(self):
        for data in (b"SSH-2.0-OpenSSH\r\n", b"[]\r\n", b'{"hello": 1}\r\n', b"null\r\n", b"7 \r\n",
                     b"\0\0\0\0", b"\xff\xfe\r\n", b'{"QMP": \0', b'"text"\r\n'):
            def script(server, data=data):
                server.raw(data)
                server.wait_closed()
            self.outcome(self.play(script, "-t", "2", "status"), ERROR)

    def test_greeting_of_wrong_shape(self):
        for greeting in ({"QMP": None}, {"QMP": []}, {"QMP": {"version": 5, "capabilities": {}}},
                         {"QMP": {"version": {"qemu": "x", "package": 5}, "capabilities": [1]}}):
            def script(server, greeting=greeting):
                server.send(greeting)
                server.reply(server.request())
                server.serve({"query-status": STATUS})
            self.outcome(self.play(script, "status"), OK, "running")

    def test_end_at_any_point(self):
        greeting = b'{"QMP": {"version": {}, "capabilities": []}}\r\n'
        for data in (b"", greeting[:9], greeting):
            self.outcome(self.play(lambda server, data=data: server.raw(data), "status"), GONE)

        def in_reply(server):
            server.negotiate()
            server.request()
            server.raw(b'{"return": {"sta')
        self.outcome(self.play(in_reply, "status"), GONE, err="went away")

    def test_reset_connection(self):
        def script(server):
            server.negotiate()
            server.request()
            server.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        with FakeServer(script, tcp=True) as server:
            self.outcome(run(server.address, "status"), GONE)

    def test_negotiation_refused(self):
        def script(server):
            server.greet()
            server.error(server.request(), "no")
            server.wait_closed()
        self.outcome(self.play(script, "status"), ERROR)

    def test_bytes_one_by_one_and_all_at_once(self):
        def script(server):
            for byte in json.dumps({"QMP": {"version": {}, "capabilities": []}}).encode():
                server.raw(bytes([byte]))
            server.reply(server.request())
            request = server.request()
            text = "\r\n".join(json.dumps(one, indent=4) for one in (
                {"event": "STOP", "timestamp": {}}, {"event": "RESUME", "timestamp": {}},
                {"return": STATUS, "id": request["id"]}))
            server.raw(text.encode())
            server.wait_closed()
        self.outcome(self.play(script, "status"), OK, "running")

    def test_replies_to_other_ids(self):
        def status(server, request):
            server.send({"return": {"status": "paused"}, "id": request["id"] + 1000})
            server.send({"return": {"status": "paused"}, "id": "x"})
            server.send({"return": {"status": "paused"}, "id": {"a": [1]}})
            return STATUS
        self.outcome(self.play(answering({"query-status": status}), "status"), OK, "running")

    def test_errors_of_wrong_shape(self):
        for error in (None, 5, {}, {"class": 5, "desc": []}):
            def status(server, request, error=error):
                server.send({"error": error, "id": request["id"]})
                return Ellipsis
            self.outcome(self.play(answering({"query-status": status}), "status"), ERROR)

    def test_error_without_id(self):
        def status(server, request):
            server.send({"error": {"class": "GenericError", "desc": "JSON parse error"}})
            return Ellipsis
        done = self.play(answering({"query-status": status}), "status")
        self.outcome(done, ERROR, err="JSON parse error")

    def test_malformed_reply(self):
        for data in (b'{"return": }', b"}",
                     b'{"neither": 1}', b"[" * 2000, b'{"return": "\0"}',
                     b'{"a": /* */ 1}'):
            def status(server, request, data=data):
                server.raw(data + b"\r\n")
                return Ellipsis
            self.outcome(self.play(answering({"query-status": status}), "-t", "3", "status"), ERROR)

    def test_values_of_wrong_type(self):
        for value in (None, 5, [], "x", {"status": 5}, {"status": None}):
            def status(server, request, value=value):
                server.send({"return": value, "id": request["id"]})
                return Ellipsis
            done = self.play(answering({"query-status": status}), "status")
            self.outcome(done, OK, "unknown")

    def test_events_of_wrong_shape(self):
        def script(server):
            server.negotiate()
            for event in ({"event": "A"}, {"event": "B", "data": [1], "timestamp": []},
                          {"event": "C", "data": None, "timestamp": {"seconds": "x"}},
                          {"event": "D", "timestamp": {"seconds": -1, "microseconds": -1}},
                          {"event": "E", "timestamp": {"seconds": 2 ** 62, "microseconds": 0}},
                          {"event": "F", "seq": "x", "timestamp": {"seconds": 1, "microseconds": 1e9}}):
                server.send(event)
        done = self.play(script, "events", "-f")
        self.outcome(done, GONE)
        self.assertEqual([line.split()[1] for line in done.stdout.decode().splitlines()],
                         list("ABCDEF"))

    def test_endless_message(self):
        def status(server, request):
            server.raw(b'{"return": "')
            while True:
                server.raw(b"x" * 65536)
        done = self.play(answering({"query-status": status}), "status")
        self.outcome(done, ERROR, err="longer than 16 MiB")

    def test_many_values(self):
        def status(server, request):
            server.raw(b'{"return": [')
            while True:
                server.raw(b"[]," * 65536)
        done = self.play(answering({"query-status": status}), "status")
        self.outcome(done, ERROR, err="too many values")

    def test_endless_events_and_no_reply(self):
        def status(server, request):
            while True:
                server.event("STOP", {"text": "x" * 1000})
        done = self.play(answering({"query-status": status}), "-t", "0.5", "status")
        self.outcome(done, TIMEOUT)

    def test_endless_blanks(self):
        def status(server, request):
            while True:
                server.raw(b" \r\n" * 10000)
        done = self.play(answering({"query-status": status}), "-t", "0.5", "status")
        self.outcome(done, TIMEOUT)

    def test_server_does_not_read(self):
        def script(server):
            server.negotiate()
            server.wait_hangup()
        big = "name=" + "x" * 120000
        done = self.play(script, "-t", "0.5", "exec", "set-things", big, "b" + big, "c" + big,
                         "d" + big, "e" + big)
        self.outcome(done, TIMEOUT)

    def test_terminal_is_safe(self):
        attack = "\x1b]0;title\x07\x9b31m\u202e\x7f\r\n"
        def script(server):
            server.negotiate()
            server.event("STOP" + attack, {attack: attack, "list": [attack]})
            server.raw(b'{"event": "BAD\xff\x9b", "data": {"x": "\xc0\x80"}}\r\n')
        for words in (["events", "-f"], ["events", "-f", "--json"]):
            out = self.play(script, *words).stdout
            self.assertEqual(out.count(b"\n"), 2)
            for line in out.decode().splitlines():
                self.assertTrue(line.isprintable(), line)
        def status(server, request):
            return RuntimeError(attack)
        err = self.play(answering({"query-status": status}), "status").stderr.decode()
        self.assertTrue(err.strip("\n").replace("\n", "").isprintable(), err)

    def test_many_held_events(self):
        def status(server, request):
            for _ in range(20000):
                server.event("STOP")
            return STATUS
        self.outcome(self.play(answering({"query-status": status}), "status"), OK, "running")

    def test_schema_nonsense(self):
        loop = [{"meta-type": "command", "name": "set-things", "arg-type": "a"},
                {"meta-type": "object", "name": "a", "members": [
                    {"name": "name", "type": "b"}, {"name": 5}, 7, None], "tag": "name",
                 "variants": [{"case": "x", "type": "a"}, 5]},
                {"meta-type": "array", "name": "b", "element-type": "b"},
                {"meta-type": "alternate", "name": "c", "members": [{"type": "c"}]},
                {"meta-type": 5, "name": []}, 5, None, {}]
        script = answering({"set-things": {}, "query-qmp-schema": loop})
        self.outcome(self.play(script, "exec", "set-things", "name=1,2", "x=true"), OK)


if __name__ == "__main__":
    unittest.main(verbosity=1)
