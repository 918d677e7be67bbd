#!/usr/bin/env python3
"""The control protocol, byte for byte: framing, negotiation, errors, ordering, many clients.

Usage: test-qmp.py PROGRAM [unittest arguments]

PROGRAM is godwit, or QEMU as the oracle: most tests must pass with either. Those marked godwit are
about what Godwit does better on purpose.
"""
import array
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from qmpwire import Emulator, LIMIT_S, Wire, connect, is_godwit, take_program  # noqa: E402

PROGRAM = take_program()
IS_GODWIT = is_godwit(PROGRAM)
godwit = unittest.skipUnless(IS_GODWIT, "QEMU does otherwise")

IDS = [None, True, False, 0, -1, 2**63, 1.5, "text", "\u00e9\U0001f600", "", [], [1, [2]], {},
       {"a": {"b": None}}]


class Case(unittest.TestCase):
    args = ("-S",)
    sockets = 1
    options = ""

    def setUp(self):
        self.emulator = Emulator(PROGRAM, *self.args, sockets=self.sockets, options=self.options)
        self.addCleanup(self.emulator.close)

    def assert_error(self, reply, text, error_class="GenericError"):
        self.assertEqual(reply.get("error"), {"class": error_class, "desc": text}, reply)

    def assert_ends(self, status=0):
        self.assertEqual(self.emulator.wait(), status)


class Greeting(Case):
    def test_shape(self):
        wire = self.emulator.wire(negotiate=False)
        qmp = wire.greeting["QMP"]
        self.assertEqual(set(wire.greeting), {"QMP"})
        self.assertEqual(set(qmp), {"version", "capabilities"})
        own = ["godwit-events"] if IS_GODWIT else []
        self.assertEqual(qmp["capabilities"], ["oob", *own])
        self.assertEqual(set(qmp["version"]), {"qemu", "package"})
        for part in ("major", "minor", "micro"):
            self.assertIs(type(qmp["version"]["qemu"][part]), int)
        self.assertEqual((qmp["version"]["qemu"]["major"], qmp["version"]["qemu"]["minor"]), (7, 2))
        self.assertEqual(wire.ask("qmp_capabilities"), {"return": {}})
        self.assertEqual(wire.value("query-version"), qmp["version"])

    def test_lines_end_with_crlf_and_are_ascii(self):
        wire = self.emulator.wire()
        wire.send('{"execute": "query-status", "id": "\u00e9"}')
        raw = wire.raw_line()
        self.assertTrue(raw.endswith(b"}\r\n"), raw)
        self.assertIn(b'"\\u00E9"', raw)
        raw.decode("ascii")


class Negotiation(Case):
    EXPECTING = "Expecting capabilities negotiation with 'qmp_capabilities'"

    def test_nothing_else_before(self):
        wire = self.emulator.wire(negotiate=False)
        for command in ("query-status", "no-such-command", "quit"):
            reply = wire.ask(command, id="x")
            self.assert_error(reply, self.EXPECTING, "CommandNotFound")
            self.assertEqual(reply["id"], "x")
        self.assertEqual(wire.ask("qmp_capabilities", {}, id=[1]), {"return": {}, "id": [1]})
        self.assertIn("running", wire.value("query-status"))

    def test_shape_is_checked_before(self):
        wire = self.emulator.wire(negotiate=False)
        self.assert_error(wire.ask("query-status", bogus=1),
                          "QMP input member 'bogus' is unexpected")

    def test_second_time(self):
        wire = self.emulator.wire()
        self.assert_error(wire.ask("qmp_capabilities"),
                          "Capabilities negotiation is already complete, command ignored",
                          "CommandNotFound")
        self.assert_error(wire.ask("qmp_capabilities", {"x": 1}), "Parameter 'x' is unexpected")

    def test_unknown_capability(self):
        wire = self.emulator.wire(negotiate=False)
        reply = wire.ask("qmp_capabilities", {"enable": ["bogus"]})
        self.assert_error(reply, "Parameter 'null' does not accept value 'bogus'")
        self.assert_error(wire.ask("qmp_capabilities", {"enable": ["oob", 1]}),
                          "Invalid parameter type for 'enable[1]', expected: string")
        self.assert_error(wire.ask("query-status"), self.EXPECTING, "CommandNotFound")

    def test_oob_without_capability(self):
        wire = self.emulator.wire()
        wire.send('{"exec-oob": "query-status", "id": 1}')
        reply = wire.reply()
        self.assert_error(reply, "QMP input member 'exec-oob' is unexpected")
        self.assertEqual(reply["id"], 1)

    def test_oob(self):
        wire = self.emulator.wire(negotiate=False)
        self.assertEqual(wire.ask("qmp_capabilities", {"enable": ["oob"]}), {"return": {}})
        wire.send('{"exec-oob": "query-name", "id": 1}')
        self.assert_error(wire.reply(), "The command query-name does not support OOB")
        wire.send('{"exec-oob": "nope", "id": 1}')
        self.assert_error(wire.reply(), "The command nope has not been found", "CommandNotFound")
        wire.send('{"exec-oob": "nope", "execute": "nope", "id": 1}')
        self.assertIn("clashes with", wire.reply()["error"]["desc"])
        # read ahead, still answered in order
        wire.send("".join('{"execute": "%s", "id": %d}\n' % (command, i) for i, command in
                          enumerate(["query-status", "query-chardev"] * 30)))
        self.assertEqual([wire.reply()["id"] for _ in range(60)], list(range(60)))

    def test_oob_overtakes_what_waits(self):
        """A command that waits for the writer of a pipe holds up its session's in-band requests, the
        broken ones too, and nothing out of band."""
        wire = self.emulator.wire(negotiate=False)
        wire.ask("qmp_capabilities", {"enable": ["oob"]})
        folder = tempfile.mkdtemp(prefix="qmp-test-")
        self.addCleanup(shutil.rmtree, folder)
        pipe = os.path.join(folder, "pipe")
        os.mkfifo(pipe)
        for i in range(2):
            wire.send(json.dumps({"execute": "blockdev-add", "id": "waits", "arguments": {
                "driver": "blkdebug", "node-name": f"n{i}", "config": pipe,
                "image": {"driver": "null-co", "read-zeroes": True}}}) +
                '{"execute": "query-name", "id": "good"}{"id": "bad"}{]\n{"exec-oob": "nope", "id": "oob"}')
            self.assertEqual(wire.reply()["id"], "oob")
            with open(pipe, "w") as file:
                file.write("# no rules\n")
            self.assertEqual([wire.reply().get("id") for _ in range(4)],
                             ["waits", "good", "bad", None])

    def test_reconnect_starts_over(self):
        self.emulator.wire().close()
        wire = self.emulator.wire(negotiate=False)
        self.assert_error(wire.ask("query-status"), self.EXPECTING, "CommandNotFound")


class Errors(Case):
    """Every row of the order of checks, without id and with one of each type."""

    ROWS = [
        ({"execute": 1}, "QMP input member 'execute' must be a string"),
        ({"execute": "query-status", "arguments": 1}, "QMP input member 'arguments' must be an object"),
        ({"execute": "query-status", "arguments": []},
         "QMP input member 'arguments' must be an object"),
        ({"execute": "query-status", "bogus": 1}, "QMP input member 'bogus' is unexpected"),
        ({}, "QMP input lacks member 'execute'"),
        ({"arguments": {}}, "QMP input lacks member 'execute'"),
        ({"execute": "query-status", "arguments": {"x": 1}}, "Parameter 'x' is unexpected"),
        ({"execute": "query-status", "arguments": {"": 1}}, "Parameter '' is unexpected"),
        ({"execute": "human-monitor-command"}, "Parameter 'command-line' is missing"),
        ({"execute": "human-monitor-command", "arguments": {"x": 1}},
         "Parameter 'command-line' is missing"),
        ({"execute": "human-monitor-command", "arguments": {"command-line": 1}},
         "Invalid parameter type for 'command-line', expected: string"),
        ({"execute": "human-monitor-command", "arguments": {"command-line": "", "cpu-index": "0"}},
         "Invalid parameter type for 'cpu-index', expected: integer"),
        ({"execute": "pmemsave", "arguments": {"val": 1.5, "size": 1, "filename": "x"}},
         "Invalid parameter type for 'val', expected: integer"),
        ({"execute": "qmp_capabilities", "arguments": {"enable": "oob"}},
         "Invalid parameter type for 'enable', expected: array"),
        ({"execute": "set-action", "arguments": {"reboot": "bad"}},
         "Parameter 'reboot' does not accept value 'bad'"),
        ({"execute": "set-action", "arguments": {"reboot": None}},
         "Invalid parameter type for 'reboot', expected: string"),
        ({"execute": "system_wakeup"}, None),
    ]

    @godwit
    def test_a_command_with_more_behind_its_name(self):
        wire = self.emulator.wire()
        wire.send('{"execute": "quit\\u0000", "id": 1}')
        self.assert_error(wire.reply(), "QMP input member 'execute' must be without \\u0000")

    def test_rows(self):
        wire = self.emulator.wire()
        for request, text in self.ROWS:
            for more in [{}] + [{"id": value} for value in IDS]:
                wire.send(json.dumps({**request, **more}))
                reply = wire.reply()
                if text:
                    self.assert_error(reply, text)
                self.assertEqual(set(reply), {"error", *more})
                self.assertEqual(reply.get("id"), more.get("id"))

    # Parameters by the type that they take, each with the parameters that its command needs too.
    TYPED = [
        ("human-monitor-command", "command-line", "string", {}),
        ("human-monitor-command", "cpu-index", "integer", {"command-line": ""}),
        ("pmemsave", "val", "integer", {"size": 1, "filename": "/nonexistent/x"}),
        ("pmemsave", "size", "integer", {"val": 0, "filename": "/nonexistent/x"}),
        ("pmemsave", "filename", "string", {"val": 0, "size": 1}),
        ("set-action", "panic", "string", {}),
        ("qmp_capabilities", "enable", "array", {}),
    ]
    VALUES = {"string": ["x", ""], "integer": [0, -1], "number": [1.5, 2.0, 2**70],
              "boolean": [True, False], "null": [None], "array": [[], [0]],
              "object": [{}, {"x": 1}]}

    def test_each_wrong_type(self):
        wire = self.emulator.wire()
        for command, name, expected, rest in self.TYPED:
            for values in [v for kind, v in self.VALUES.items() if kind != expected]:
                for value in values:
                    with self.subTest(command=command, name=name, value=value):
                        self.assert_error(
                            wire.ask(command, {**rest, name: value}),
                            f"Invalid parameter type for '{name}', expected: {expected}")
        self.assertEqual(wire.value("query-name"), {})

    def test_unknown_command(self):
        wire = self.emulator.wire()
        for name in ("foo", "", "Query-Status", "query_status", "\u00e9"):
            self.assert_error(wire.ask(name), f"The command {name} has not been found",
                              "CommandNotFound")

    def test_not_an_object(self):
        wire = self.emulator.wire()
        for text in ('"x" ', "1 ", "null ", "[]", '[{"execute": "quit"}]', "true "):
            wire.send(text)
            self.assert_error(wire.reply(), "QMP input must be a JSON object")

    def test_bad_action_changes_nothing(self):
        wire = self.emulator.wire()
        wire.ask("set-action", {"shutdown": "pause", "reboot": "bad"})
        self.assertEqual(wire.value("set-action", {}), {})
        self.assertEqual(wire.request("quit")[0], ["SHUTDOWN"])
        self.assert_ends()


class Parsing(Case):
    def setUp(self):
        super().setUp()
        self.wire = self.emulator.wire()

    def check_alive(self, mark="alive"):
        reply = self.wire.ask("query-status", id=mark)
        while "id" not in reply:
            reply = self.wire.reply()
        self.assertEqual(reply["id"], mark)
        self.assertIn("return", reply)

    def check_error(self, data, text):
        self.wire.send(data + b"\n")
        self.assert_error(self.wire.reply(), "JSON parse error, " + text)
        self.check_alive()

    def test_ids_are_echoed(self):
        for value in IDS:
            reply = self.wire.ask("query-name", id=value)
            self.assertEqual(reply, {"return": {}, "id": value})
        self.assertEqual(self.wire.ask("query-name"), {"return": {}})

    def test_large_integers(self):
        for value in (2**64 - 1, -2**63, 2**53 + 1):
            self.assertEqual(self.wire.ask("query-name", id=value)["id"], value)
        self.assertEqual(float(self.wire.ask("query-name", id=2**64)["id"]), 2.0**64)

    def test_several_in_one_write(self):
        self.wire.send('{"execute": "query-status", "id": 1}{"execute":"query-name","id":2}'
                       ' \t\r\n\n {"execute"\r\n:"query-uuid"\n,\n"id":3}')
        self.assertEqual([self.wire.reply()["id"] for _ in range(3)], [1, 2, 3])

    def test_one_byte_at_a_time(self):
        self.wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        for byte in b'{"execute": "query-name", "id": "a\\"{\\u00e9\xc3\xa9"}':
            self.wire.send(bytes([byte]))
        self.assertEqual(self.wire.reply(), {"return": {}, "id": 'a"{\u00e9\u00e9'})

    def test_pipelining(self):
        commands = ["query-status", "query-name", "query-chardev", "stop", "nope"]
        self.wire.send("".join(json.dumps({"execute": commands[i % 5], "id": i}) + "\r\n"
                               for i in range(50)))
        self.assertEqual([self.wire.reply()["id"] for _ in range(50)], list(range(50)))

    def test_single_quotes(self):
        self.wire.send("{'execute': 'query-name', 'id': 'a\"b'}\n")
        self.assertEqual(self.wire.reply(), {"return": {}, "id": 'a"b'})

    def test_grammar(self):
        for data, text in [
                (b'}', "expecting value"), (b'{"a":}', "expecting value"),
                (b'{"a":1,}', "expecting value"), (b'[1,]', "expecting value"),
                (b'{"a" 1}', "missing : in object pair"),
                (b'{"a":1 "b":2}', "expected separator in dict"),
                (b'[1 2]', "expected separator in list"),
                (b'{1:2}', "key is not a string in object"),
                (b'{"execute":"quit","execute":"quit"}', "duplicate key"),
                (b'{"a":nan}', "invalid keyword 'nan'"), (b'{"a":1.}', "stray '1.}'"),
                (b'{"a":tru}', "invalid keyword 'tru'"),
                (b'{"a":"\\q"}', "invalid escape sequence in string"),
                (b'{"a":"\\ud800"}', "\\ud800 is not a valid Unicode character"),
                (b'{"a":"\x80"}', "invalid UTF-8 sequence in string"),
                (b'{"a":"\xed\xa0\x80"}', "invalid UTF-8 sequence in string"),
                (b'{"a":"\xf5"}', "invalid UTF-8 sequence in string")]:
            self.check_error(data, text)

    @godwit
    def test_one_error_each(self):
        for data in (b'{"execute": @}', b'{"a":01}', b'{"a":NaN}', b'{"a":-Infinity}',
                     b'{"a":\x00}', b'{"exe\x01cute":"quit"}', b'// comment', b'{"a":[}',
                     b'{"a":"\xc0\x80"}', b'{"a": /* no */ 1}', b'{"a":%d}', b'{"a\\u0000":1}'):
            self.wire.send(data + b"\n")
            self.assertIn("JSON parse error", self.wire.reply()["error"]["desc"])
            reply = self.wire.ask("query-name", id="next")
            self.assertEqual(reply, {"return": {}, "id": "next"}, data)

    def test_resync(self):
        for byte in (b"\x01", b"\xff", b"\x00", b"\x1f"):
            self.wire.send(b'{"exe' + byte)
            self.assertIn("JSON parse error, stray", self.wire.reply()["error"]["desc"])
            self.wire.send(b'{"execute": "query-name", "id": 7}')
            self.assertEqual(self.wire.reply(), {"return": {}, "id": 7})
        self.wire.send(b'{"exe\x01')
        self.assert_error(self.wire.reply(), "JSON parse error, stray '\"exe\x01'")

    def test_depth(self):
        nested = "[" * 1023 + "]" * 1023
        self.wire.send('{"execute": "query-name", "id": ' + nested + '}')
        self.assertIn("return", json.loads(self.wire.raw_line().replace(b"[", b"").replace(
            b"]", b"0", 1).replace(b"]", b"")))
        self.wire.send("[" * 1025 + "]" * 1025 + "\n")
        self.assert_error(self.wire.reply(), "JSON nesting depth limit exceeded")
        self.check_alive()

    @godwit
    def test_depth_without_end(self):
        self.wire.send("[" * 100000 + "\n")
        self.assert_error(self.wire.reply(), "JSON nesting depth limit exceeded")
        self.assertEqual(self.wire.ask("query-name", id=1), {"return": {}, "id": 1})

    @godwit
    def test_oversized(self):
        chunk = b"x" * (1 << 20)
        self.wire.send(b'{"execute": "')
        for _ in range(100):
            self.wire.send(chunk)
        self.wire.send(b'"}\n')
        self.assert_error(self.wire.reply(), "JSON token size limit exceeded")
        self.assertEqual(self.wire.ask("query-name", id=1), {"return": {}, "id": 1})
        self.assertLess(self.emulator.resident_bytes(), 40 << 20)

    @godwit
    def test_many_tokens(self):
        self.wire.send(b'{"id": [' + b"1," * (2 << 20) + b'1]}\n')
        self.assert_error(self.wire.reply(), "JSON token count limit exceeded")
        self.check_alive()

    @godwit
    def test_half_closed_client_gets_its_answers(self):
        self.wire.send('{"execute":"query-chardev","id":1}{"execute":"query-name","id":2}')
        self.wire.sock.shutdown(socket.SHUT_WR)
        self.assertEqual([self.wire.reply()["id"] for _ in range(2)], [1, 2])
        self.assertIsNone(self.wire.line())


class Order(Case):
    """Events and the replies of the commands that cause them."""
    sockets = 2

    def setUp(self):
        super().setUp()
        self.wire = self.emulator.wire(0)
        self.other = self.emulator.wire(1)

    def check(self, command, events, status=None, arguments=None):
        seen, reply = self.wire.request(command, arguments)
        self.assertEqual((seen, reply), (events, {"return": {}}))
        for event in events:
            self.assertEqual(self.other.line()["event"], event)
        if status:
            self.assertEqual(self.wire.value("query-status"),
                             {"status": status, "running": status == "running",
                              "singlestep": False})

    def test_stop_and_cont(self):
        self.check("stop", [], "prelaunch")
        self.check("cont", ["RESUME"], "running")
        self.check("cont", [], "running")
        self.check("stop", ["STOP"], "paused")
        self.check("stop", [], "paused")
        self.check("cont", ["RESUME"], "running")

    def test_reset(self):
        self.check("system_reset", ["RESET"], "prelaunch")
        self.check("cont", ["RESUME"], "running")
        self.check("system_reset", ["RESET"], "running")
        self.check("stop", ["STOP"], "paused")
        self.check("system_reset", ["RESET"], "prelaunch")

    def test_powerdown(self):
        self.check("system_powerdown", ["POWERDOWN"], "prelaunch")

    def test_data_and_time(self):
        before = time.time()
        self.check("cont", ["RESUME"])
        self.wire.send('{"execute": "system_reset"}')
        event = self.wire.line()
        self.assertEqual(event["data"], {"guest": False, "reason": "host-qmp-system-reset"})
        self.assertEqual(set(event), {"event", "data", "timestamp"})
        self.assertEqual(set(event["timestamp"]), {"seconds", "microseconds"})
        stamp = event["timestamp"]["seconds"] + event["timestamp"]["microseconds"] / 1e6
        self.assertTrue(before - 1 < stamp < time.time() + 1)
        self.assertEqual(self.wire.reply(), {"return": {}})
        self.wire.send('{"execute": "stop"}')
        self.assertEqual(set(self.wire.line()), {"event", "timestamp"})

    def test_quit(self):
        self.wire.send('{"execute": "quit", "id": 9}')
        event = self.wire.line()
        self.assertEqual((event["event"], event["data"]),
                         ("SHUTDOWN", {"guest": False, "reason": "host-qmp-quit"}))
        self.assertEqual(self.wire.line(), {"return": {}, "id": 9})
        self.assertIsNone(self.wire.line())
        self.assertEqual(self.other.line()["event"], "SHUTDOWN")
        self.assertIsNone(self.other.line())
        self.assert_ends()

    def test_set_action(self):
        self.check("set-action", [], arguments={"reboot": "shutdown", "shutdown": "pause"})
        self.check("system_reset", ["SHUTDOWN"], "prelaunch")
        self.check("cont", ["RESUME"], "running")
        self.check("system_reset", ["SHUTDOWN", "STOP"], "shutdown")
        self.assert_error(self.wire.ask("cont"), "Resetting the Virtual Machine is required")
        self.check("stop", [], "shutdown")
        self.check("system_reset", ["SHUTDOWN"], "shutdown")
        self.assertEqual(self.other.line()["event"] if not self.other.quiet() else None, None)
        self.check("set-action", [], arguments={"reboot": "reset"})
        self.check("system_reset", ["RESET"], "prelaunch")
        self.check("cont", ["RESUME"], "running")
        self.check("quit", ["SHUTDOWN"])
        self.assert_ends()

    def test_no_events_before_negotiation(self):
        self.other.close()
        deaf = Wire(self.emulator.paths[1], negotiate=False)
        self.addCleanup(deaf.close)
        self.assertEqual(self.wire.request("cont"), (["RESUME"], {"return": {}}))
        self.assertTrue(deaf.quiet())
        self.assertEqual(deaf.ask("qmp_capabilities"), {"return": {}})
        self.assertEqual(self.wire.request("stop"), (["STOP"], {"return": {}}))
        self.assertEqual(deaf.line()["event"], "STOP")


class Signals(Case):
    def check(self, number):
        wire = self.emulator.wire()
        self.emulator.process.send_signal(number)
        event = wire.line()
        self.assertEqual((event["event"], event["data"]),
                         ("SHUTDOWN", {"guest": False, "reason": "host-signal"}))
        self.assertIsNone(wire.line())
        self.assert_ends()

    def test_term(self):
        self.check(signal.SIGTERM)

    def test_int(self):
        self.check(signal.SIGINT)

    def test_hup(self):
        self.check(signal.SIGHUP)


class NoShutdown(Case):
    args = ("-S", "-no-shutdown", "-no-reboot")

    def test_quit_ends(self):
        wire = self.emulator.wire()
        self.assertEqual(wire.request("system_reset"), (["SHUTDOWN"], {"return": {}}))
        self.assertEqual(wire.request("quit"), (["SHUTDOWN"], {"return": {}}))
        self.assert_ends()

    def test_signal_ends(self):
        wire = self.emulator.wire()
        wire.ask("cont")
        self.emulator.process.send_signal(signal.SIGTERM)
        self.assertEqual(wire.line()["event"], "SHUTDOWN")
        self.assert_ends()


class NoReboot(Case):
    args = ("-S", "-no-reboot")

    def test_reset_ends(self):
        wire = self.emulator.wire()
        self.assertEqual(wire.request("system_reset"), (["SHUTDOWN"], {"return": {}}))
        self.assert_ends()


class Running(Case):
    args = ()

    def test_starts_by_itself(self):
        wire = self.emulator.wire()
        self.assertEqual(wire.value("query-status")["status"], "running")


@godwit
class ManyClients(Case):
    """One socket, many clients, none of which can harm the others."""

    def test_each_negotiates_for_itself(self):
        first = self.emulator.wire()
        second = self.emulator.wire(negotiate=False)
        self.assertIn("error", second.ask("query-status"))
        self.assertIn("return", first.ask("query-status"))
        self.assertEqual(second.ask("qmp_capabilities"), {"return": {}})
        self.assertEqual(first.request("cont"), (["RESUME"], {"return": {}}))
        self.assertEqual(second.line()["event"], "RESUME")
        self.assertEqual(second.request("stop"), (["STOP"], {"return": {}}))
        self.assertEqual(first.line()["event"], "STOP")
        self.assertTrue(first.quiet(0.05) and second.quiet(0.05))

    def test_leaving_in_mid_request(self):
        other = self.emulator.wire()
        for data in (b'{"execute": "sto', b'{"execute": "query-chardev"}' * 100, b'{"execute": "'):
            wire = self.emulator.wire()
            wire.send(data)
            wire.close()
        self.assertEqual(other.value("query-status")["status"], "prelaunch")

    def test_a_thousand(self):
        own, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard != resource.RLIM_INFINITY and hard < 4096:
            self.skipTest(f"{hard} descriptors are not enough")
        resource.setrlimit(resource.RLIMIT_NOFILE, (4096, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (own, hard))
        resource.prlimit(self.emulator.process.pid, resource.RLIMIT_NOFILE, (4096, hard))
        wires = [self.emulator.wire() for _ in range(1000)]
        self.assertEqual(wires[50].request("cont"), (["RESUME"], {"return": {}}))
        for i, wire in enumerate(wires):
            if i != 50:
                self.assertEqual(wire.line()["event"], "RESUME")

    def test_more_than_there_is_room_for(self):
        """They wait, and those of one socket leave room for another's."""
        emulator = Emulator(PROGRAM, sockets=2)
        self.addCleanup(emulator.close)
        emulator.wire(1).close()
        resource.prlimit(emulator.process.pid, resource.RLIMIT_NOFILE, (128, 128))
        wires = [emulator.wire() for _ in range(48)]
        late = socket.socket(socket.AF_UNIX)
        self.addCleanup(late.close)
        late.connect(emulator.paths[0])
        late.settimeout(0.2)
        with self.assertRaises(socket.timeout):
            late.recv(1)
        self.assertIn("monitor 'compat_monitor0': more than 48 clients: others wait", emulator.errors())
        self.assertIn("return", emulator.wire(1).ask("query-status"))
        wires[0].close()
        late.settimeout(LIMIT_S)
        self.assertTrue(late.recv(100).startswith(b'{"QMP"'))

    def test_flood_without_reading(self):
        """What a client pipelines waits in its socket; it is neither dropped nor kept in memory."""
        flood = self.emulator.wire()
        other = self.emulator.wire()
        request = b'{"execute": "query-qmp-schema"}\n' * 4000
        flood.sock.setblocking(False)
        sent = 0
        end = time.monotonic() + 1
        while sent < len(request) and time.monotonic() < end:
            try:
                sent += flood.sock.send(request[sent:])
            except BlockingIOError:
                time.sleep(0.01)
        for _ in range(100):
            self.assertIn("return", other.ask("query-status"))
            self.assertIn("return", other.ask("query-chardev"))
        self.assertLess(self.emulator.resident_bytes(), 40 << 20)
        flood.sock.settimeout(LIMIT_S)
        complete = sent // (len(request) // 4000)
        for _ in range(complete):
            self.assertTrue(flood.raw_line().startswith(b'{"return": [{'))

    def test_passed_descriptors_are_closed(self):
        wire = self.emulator.wire()
        wire.ask("query-chardev")  # the main loop runs: all is open that stays open
        fds = f"/proc/{self.emulator.process.pid}/fd"
        before = len(os.listdir(fds))
        for _ in range(10):
            wire.sock.sendmsg([b'{"execute": "query-name"}\n'],
                              [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [1, 2]))])
            self.assertEqual(wire.reply(), {"return": {}})
        self.assertEqual(len(os.listdir(fds)), before)

    def pass_fd(self, wire, text, *fds):
        wire.sock.sendmsg([text.encode() + b"\n"],
                          [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])

    def test_getfd(self):
        wire = self.emulator.wire()
        wire.ask("query-chardev")
        folder = f"/proc/{self.emulator.process.pid}/fd"
        before = len(os.listdir(folder))
        self.assert_error(wire.ask("getfd", {"fdname": "a"}), "No file descriptor supplied via SCM_RIGHTS")
        self.assert_error(wire.ask("closefd", {"fdname": "a"}), "File descriptor named 'a' not found")
        self.pass_fd(wire, '{"execute": "getfd", "arguments": {"fdname": "1a"}}', 1)
        self.assert_error(wire.reply(), "Parameter 'fdname' expects a name not starting with a digit")
        for _ in range(3):  # each takes the place of the one before
            self.pass_fd(wire, '{"execute": "getfd", "arguments": {"fdname": "a"}}', 1)
            self.assertEqual(wire.reply(), {"return": {}})
        self.assertEqual(len(os.listdir(folder)), before + 1)
        self.assertEqual(wire.ask("closefd", {"fdname": "a"}), {"return": {}})
        self.assert_error(wire.ask("closefd", {"fdname": "a"}), "File descriptor named 'a' not found")
        self.assertEqual(len(os.listdir(folder)), before)

    @godwit
    def test_getfd_in_a_row_and_at_the_end(self):
        wire = self.emulator.wire()
        wire.ask("query-chardev")
        folder = f"/proc/{self.emulator.process.pid}/fd"
        before = len(os.listdir(folder))
        for name in ("a", "b", "c"):  # without waiting for replies
            self.pass_fd(wire, '{"execute": "getfd", "arguments": {"fdname": "%s"}}' % name, 1, 2)
        for _ in range(3):
            self.assertEqual(wire.reply(), {"return": {}})
        self.assertEqual(len(os.listdir(folder)), before + 3)
        wire.close()
        other = self.emulator.wire()
        self.assert_error(other.ask("closefd", {"fdname": "a"}), "File descriptor named 'a' not found")
        self.assertEqual(len(os.listdir(folder)), before)

    def test_socket_file_is_removed(self):
        self.emulator.wire().ask("quit")
        self.assert_ends()
        self.assertFalse(os.path.exists(self.emulator.paths[0]))


class Pretty(unittest.TestCase):
    def test_indented(self):
        directory = tempfile.mkdtemp(prefix="qmp-test-")
        self.addCleanup(shutil.rmtree, directory)
        path = os.path.join(directory, "qmp")
        emulator = Emulator(PROGRAM, "-S", "-chardev", f"socket,id=c,path={path},server=on,wait=off",
                            "-mon", "chardev=c,mode=control,pretty=on", sockets=0)
        self.addCleanup(emulator.close)
        sock = connect(path)
        self.addCleanup(sock.close)
        sock.sendall(b'{"execute":"qmp_capabilities"}{"execute":"cont"}')
        text = b""
        while text.count(b"\r\n}\r\n") < 4:
            text += sock.recv(65536)
        self.assertIn(b'{\r\n    "QMP": {\r\n        "version": {', text)
        decoder, rest, values = json.JSONDecoder(), text.decode("ascii"), []
        while rest.strip():
            value, at = decoder.raw_decode(rest.lstrip())
            values.append(value)
            rest = rest.lstrip()[at:]
        self.assertEqual([values[1], values[3]], [{"return": {}}] * 2)
        self.assertEqual(values[2]["event"], "RESUME")


class Stdio(unittest.TestCase):
    def test_session(self):
        process = subprocess.Popen(
            [PROGRAM, "-S", "-nodefaults", "-display", "none", "-machine", "none", "-qmp", "stdio"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.addCleanup(process.kill)
        process.stdin.write(b'{"execute": "qmp_capabilities"}{"execute": "query-name", "id": 1}')
        process.stdin.flush()
        self.assertIn(b'"QMP"', process.stdout.readline())
        self.assertEqual(json.loads(process.stdout.readline()), {"return": {}})
        self.assertEqual(json.loads(process.stdout.readline()), {"return": {}, "id": 1})
        process.stdin.write(b'{"execute": "quit"}\n')
        process.stdin.flush()
        rest = process.stdout.read().splitlines()
        self.assertEqual(json.loads(rest[0])["event"], "SHUTDOWN")
        self.assertEqual(json.loads(rest[1]), {"return": {}})
        self.assertEqual(process.wait(LIMIT_S), 0)
        process.stdin.close()
        process.stdout.close()


class Commands(Case):
    args = ("-S", "-name", "a b", "-uuid", "12345678-1234-1234-1234-123456789abc", "-m", "64")

    def setUp(self):
        super().setUp()
        self.wire = self.emulator.wire()

    def test_queries(self):
        value = self.wire.value
        self.assertEqual(value("query-name"), {"name": "a b"})
        self.assertEqual(value("query-uuid"), {"UUID": "12345678-1234-1234-1234-123456789abc"})
        self.assertEqual(value("query-target"), {"arch": "x86_64"})
        self.assertEqual(value("query-cpus-fast"), [])
        self.assertEqual(value("query-current-machine"), {"wakeup-suspend-support": False})
        self.assertEqual(set(value("query-kvm")), {"enabled", "present"})
        machines = {entry["name"]: entry for entry in value("query-machines")}
        self.assertIn("none", machines)
        for entry in machines.values():
            self.assertTrue({"name", "cpu-max", "hotpluggable-cpus", "numa-mem-supported",
                             "deprecated"} <= set(entry))
        for name, ram, hotplug in (("pc-i440fx-7.2", "pc.ram", True), ("pc-q35-7.2", "pc.ram", True),
                                   ("microvm", "microvm.ram", False)):
            self.assertEqual((machines[name]["default-ram-id"], machines[name]["hotpluggable-cpus"]), (ram, hotplug))
        self.assertEqual(machines["pc-i440fx-7.2"]["alias"], "pc")
        self.assertEqual(machines["pc-q35-7.2"]["alias"], "q35")

    def test_commands_are_in_the_schema(self):
        names = {entry["name"] for entry in self.wire.value("query-commands")}
        schema = self.wire.value("query-qmp-schema")
        self.assertEqual(names, {entry["name"] for entry in schema
                                 if entry["meta-type"] == "command"})
        self.assertTrue({"query-status", "stop", "cont", "quit", "set-action", "memsave"} <= names)
        self.assertIn("error", self.wire.ask("query-qmp-schema", {"x": 1}))

    def test_machine_without_anything(self):
        errors = {"query-hotpluggable-cpus": "not enabled", "query-acpi-ospm-status": "missing ACPI device"}
        if IS_GODWIT:  # QEMU's empty machine has an accelerator all the same
            errors["x-query-jit"] = "accel=tcg"
        for command, text in errors.items():
            reply = self.wire.ask(command)
            self.assertEqual(reply["error"]["class"], "GenericError")
            self.assertIn(text, reply["error"]["desc"])

    def test_chardev(self):
        entry = self.wire.value("query-chardev")[-1]
        self.assertEqual(entry["label"], "compat_monitor0")
        self.assertEqual(entry["filename"], f"unix:{self.emulator.paths[0]},server=on")
        self.assertIs(entry["frontend-open"], True)

    def test_wakeup(self):
        self.assert_error(self.wire.ask("system_wakeup"),
                          "wake-up from suspend is not supported by this guest")

    def hmp(self, line):
        return self.wire.value("human-monitor-command", {"command-line": line})

    def test_human_monitor(self):
        self.assertEqual(self.hmp("info status"), "VM status: paused (prelaunch)\r\n")
        self.assertEqual(self.hmp("foo bar"), "unknown command: 'foo'\r\n")
        self.assertEqual(self.hmp("info foo"), "unknown command: 'info foo'\r\n")
        self.assertEqual(self.hmp(""), "")
        self.assertTrue(self.hmp("info version").startswith("7.2."))
        self.assertEqual(self.hmp("info status x"),
                         "status: extraneous characters at the end of line\r\n"
                         'Try "help info status" for more information\r\n')
        self.assertEqual(self.hmp("cont x"),
                         "cont|c: extraneous characters at the end of line\r\n"
                         'Try "help cont" for more information\r\n')
        events, reply = self.wire.request("human-monitor-command", {"command-line": "c"})
        self.assertEqual((events, reply), (["RESUME"], {"return": ""}))
        self.assertEqual(self.hmp("info status"), "VM status: running\r\n")
        events, reply = self.wire.request("human-monitor-command", {"command-line": "stop"})
        self.assertEqual((events, reply), (["STOP"], {"return": ""}))
        self.assertEqual(self.hmp("info status"), "VM status: paused\r\n")
        self.assert_error(self.wire.ask("human-monitor-command",
                                        {"command-line": "info status", "cpu-index": 3}),
                          "Parameter 'cpu-index' expects a CPU number")

    def test_human_power(self):
        for line, event in (("system_reset", "RESET"), ("system_powerdown", "POWERDOWN"),
                            ("quit", "SHUTDOWN")):
            events, reply = self.wire.request("human-monitor-command", {"command-line": line})
            self.assertEqual((events, reply), ([event], {"return": ""}))
        self.assert_ends()


if __name__ == "__main__":
    unittest.main()
