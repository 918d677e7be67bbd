"""A QMP server that plays a script: the other end of the tests of QMP clients.

A script is a function that gets a Connection and says what the server does, good or bad. It runs in a
thread; what it raises is told to the test by FakeServer.check().
"""
import json
import os
import select
import socket
import tempfile
import threading

QEMU_VERSION = {"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": ""}
GODWIT_VERSION = {"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": "godwit-0.1.0"}


class Closed(Exception):
    """The client went away while the script waited for it."""


class Connection:
    def __init__(self, sock):
        self.sock = sock
        self.pending = b""
        self.requests = []  # every request seen, in order

    def raw(self, data):
        self.sock.sendall(data)

    def send(self, message):
        self.raw(json.dumps(message).encode() + b"\r\n")

    def greet(self, version=None, capabilities=("oob",)):
        self.send({"QMP": {"version": version or QEMU_VERSION,
                           "capabilities": list(capabilities)}})

    def negotiate(self, version=None, capabilities=("oob",)):
        """Greets and answers qmp_capabilities; gives what the client enables."""
        self.greet(version, capabilities)
        request = self.request()
        assert request["execute"] == "qmp_capabilities", request
        self.reply(request)
        return request.get("arguments", {}).get("enable", [])

    def request(self):
        while b"\n" not in self.pending:
            chunk = self.sock.recv(65536)
            if not chunk:
                raise Closed()
            self.pending += chunk
        line, self.pending = self.pending.split(b"\n", 1)
        request = json.loads(line)
        self.requests.append(request)
        return request

    def reply(self, request, value=None):
        self.send({"return": {} if value is None else value, "id": request["id"]})

    def error(self, request, desc, error_class="GenericError"):
        self.send({"id": request["id"], "error": {"class": error_class, "desc": desc}})

    def event(self, name, data=None, **more):
        event = {"timestamp": {"seconds": 1700000000, "microseconds": 250000}, "event": name}
        if data is not None:
            event["data"] = data
        event.update(more)
        self.send(event)

    def serve(self, answers):
        """Answers each request from a table: command -> value, Exception text, or function."""
        while True:
            request = self.request()
            name = request.get("execute", request.get("exec-oob"))
            if name not in answers:
                self.error(request, "The command %s has not been found" % name, "CommandNotFound")
                continue
            answer = answers[name]
            if callable(answer):
                answer = answer(self, request)
            if isinstance(answer, Exception):
                self.error(request, str(answer))
            elif answer is not Ellipsis:
                self.reply(request, answer)

    def wait_hangup(self):
        """Waits for the client to go, and reads nothing of what it sends."""
        poll = select.poll()
        poll.register(self.sock, 0)
        poll.poll()

    def wait_closed(self):
        while self.sock.recv(65536):
            pass


class FakeServer:
    """Listens; plays the script for each connection, one after the other."""

    def __init__(self, script, tcp=False):
        self.script = script
        self.failures = []
        self.connections = []
        self.folder = tempfile.TemporaryDirectory(prefix="godwitctl-")
        if tcp:
            self.listener = socket.socket(socket.AF_INET)
            self.listener.bind(("127.0.0.1", 0))
            self.address = "tcp:127.0.0.1:%d" % self.listener.getsockname()[1]
        else:
            self.listener = socket.socket(socket.AF_UNIX)
            path = os.path.join(self.folder.name, "qmp.sock")
            self.listener.bind(path)
            self.address = path
        self.listener.listen(4)
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            connection = Connection(sock)
            self.connections.append(connection)
            try:
                self.script(connection)
            except (Closed, ConnectionError):
                pass
            except Exception as failure:  # pylint: disable=broad-except
                self.failures.append(failure)
            finally:
                sock.close()

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        for connection in self.connections:
            try:
                connection.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.thread.join(5)
        self.folder.cleanup()
        if self.failures:
            raise self.failures[0]

    @property
    def requests(self):
        return [request for connection in self.connections for request in connection.requests]

    @property
    def commands(self):
        return [request.get("execute", request.get("exec-oob")) for request in self.requests]
