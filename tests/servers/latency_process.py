"""The latency server's process: ``python -m servers.latency_process ROOT HOST...``.

It listens on a free port of the first host, and on the same port of the others. A protocol on asyncio's transports, and
not its streams or ``http.server``: it answers ten thousand requests a second on one core, so that a client that
has hundreds of them in flight is not measured by its server. Commands come as lines of JSON on stdin, and are answered
by lines on stdout; the end of stdin ends the process.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import socket
import struct
import sys
from collections import Counter, deque
from pathlib import Path
from typing import Any, cast

from servers.answers import Actions, Answer, PatternSource, Request, Source, make_answer, parse_request
from servers.rules import CHOICE_FIELDS

KEPT_REQUESTS = 10_000
PIECE_NBYTES = 1 << 18  # a body is handed out in such pieces, so that a large one takes no memory
LINK_PIECE_NBYTES = 1 << 14  # where bandwidth is shared, in smaller ones: everybody gets some
NO_LINGER = struct.pack("ii", 1, 0)  # close() then sends RST
HEADER = re.compile(r"([^:]+): *(.*)")


class ActiveRule:
    """A rule, and how often it has met its requests."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self.path: str = fields["path"]
        self.method: str | None = fields["method"]
        self.offset: int | None = fields["offset"]
        self.skip: int = fields["skip"]
        self.every: int = fields["every"]
        self.probability: float = fields["probability"]
        self.count: int | None = fields["count"]
        self.met = self.chosen = 0
        self.actions = {name: it for name, it in fields.items() if name not in CHOICE_FIELDS and it is not None}

    def chooses(self, request: Request, dice: random.Random) -> bool:
        """Whether the rule is for this request; counts it."""
        if not request.path.startswith(self.path):
            return False
        if self.method not in (None, request.method) or self.offset not in (None, request.offset):
            return False
        index = self.met - self.skip
        self.met += 1
        if index < 0 or index % self.every or (self.count is not None and self.chosen >= self.count):
            return False
        if self.probability < 1 and dice.random() >= self.probability:
            return False
        self.chosen += 1
        return True


class State:
    """What all connections share: rules, patterns, counts, and the bandwidth."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.connections: set[Connection] = set()
        self.in_flight = 0
        self.reset()

    def reset(self) -> None:
        self.patterns: dict[str, Source] = {}
        self.rules: list[ActiveRule] = []
        self.dice = random.Random(0)
        self.link_free_s = 0.0  # when the last byte of what was handed out will have left
        self.opened = self.body_nbytes = self.serial = 0
        self.most_in_flight = self.in_flight
        self.most_connections = len(self.connections)
        self.statuses: Counter[int] = Counter()
        self.requests: deque[Request] = deque(maxlen=KEPT_REQUESTS)

    def actions(self, request: Request) -> Actions:
        """What is to be done to the answer."""
        chosen = [rule.actions for rule in self.rules if rule.chooses(request, self.dice)]
        if len(chosen) == 1:
            return chosen[0]
        return {name: it for actions in chosen for name, it in actions.items()}

    def link_wait_s(self, nbytes: int, bytes_per_s: float, now_s: float) -> float:
        """Takes ``nbytes`` of the bandwidth; gives the seconds until they have left."""
        self.link_free_s = max(self.link_free_s, now_s) + nbytes / bytes_per_s
        return self.link_free_s - now_s


class Connection(asyncio.BufferedProtocol):
    """One client: a request at a time, the next ones wait."""

    # Of all connections, since what is in it is taken at once: asyncio's other protocols allocate 256 KiB a read.
    buffer = bytearray(1 << 16)

    transport: asyncio.Transport

    def __init__(self, state: State, loop: asyncio.AbstractEventLoop) -> None:
        self.state, self.loop = state, loop
        self.received = b""
        self.request: Request | None = None
        self.actions: Actions = {}
        self.answer: Answer | None = None
        self.paused = False
        self.timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        state = self.state
        state.opened += 1
        state.connections.add(self)
        state.most_connections = max(state.most_connections, len(state.connections))

    def connection_lost(self, exc: Exception | None) -> None:
        if self.timer is not None:
            self.timer.cancel()
        self.state.connections.discard(self)
        if self.request is not None:
            self.done()

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        data = bytes(memoryview(self.buffer)[:nbytes])
        self.received = self.received + data if self.received else data
        if self.request is None:
            self.next_request()

    def next_request(self) -> None:
        """Takes the next request, if there is a whole one."""
        end = self.received.find(b"\r\n\r\n") + 4
        if end < 4:
            return
        head, self.received = self.received[:end], self.received[end:]
        try:
            request = parse_request(head)
        except ValueError:
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            self.transport.close()
            return
        state = self.state
        self.request, self.answer = request, None
        state.serial += 1
        state.in_flight += 1
        state.most_in_flight = max(state.most_in_flight, state.in_flight)
        state.requests.append(request)
        self.actions = actions = state.actions(request)
        wait_s = actions.get("delay_s", 0.0)
        if jitter_s := actions.get("jitter_s"):
            wait_s += state.dice.uniform(-jitter_s, jitter_s)
        if wait_s > 0:
            self.timer = self.loop.call_later(wait_s, self.begin)
        else:
            self.begin()

    def begin(self) -> None:
        """Answers."""
        actions, state = self.actions, self.state
        assert self.request is not None
        if actions.get("ending") and actions.get("ending_after_nbytes") is None:
            self.end(actions["ending"])
            return
        if "raw" in actions:
            self.transport.write(actions["raw"].encode("latin-1"))
            self.end("cut")
            return
        self.answer = answer = make_answer(self.request, state.root, state.patterns, state.serial, actions)
        self.request.status = answer.status
        state.statuses[answer.status] += 1
        if answer.nbytes <= PIECE_NBYTES and not (actions.keys() & {"bytes_per_s", "drip_nbytes", "chunked"}):
            state.body_nbytes += answer.nbytes
            # One system call for both, on every Python.
            self.transport.write(b"".join((answer.head, answer.source.read(answer.offset, answer.nbytes))))
            self.end(answer.ending)
            return
        self.transport.write(answer.head)
        self.pump()

    def pump(self) -> None:
        """Hands out the body, piece by piece, as fast as the client takes it and the rules let it."""
        self.timer = None
        answer, actions = self.answer, self.actions
        assert answer is not None
        rate, drip_nbytes = actions.get("bytes_per_s"), actions.get("drip_nbytes")
        piece_nbytes = drip_nbytes or (LINK_PIECE_NBYTES if rate else PIECE_NBYTES)
        while answer.nbytes and not self.paused and not self.transport.is_closing():
            nbytes = min(piece_nbytes, answer.nbytes)
            self.write(answer, nbytes)
            wait_s = actions.get("drip_wait_s", 0.0) if drip_nbytes else 0.0
            if rate:
                wait_s = max(wait_s, self.state.link_wait_s(nbytes, rate, self.loop.time()))
            if wait_s > 0:
                self.timer = self.loop.call_later(wait_s, self.pump)
                return
        if answer.nbytes == 0:
            if answer.chunked and not answer.ending:
                self.transport.write(b"0\r\n\r\n")
            self.end(answer.ending)

    def write(self, answer: Answer, nbytes: int) -> None:
        data = answer.source.read(answer.offset, nbytes)
        if answer.chunked:
            self.transport.write(b"".join((f"{nbytes:x}\r\n".encode(), data, b"\r\n")))
        else:
            self.transport.write(data)
        answer.offset += nbytes
        answer.nbytes -= nbytes
        self.state.body_nbytes += nbytes

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        if self.answer is not None and self.timer is None:
            self.pump()

    def end(self, ending: str) -> None:
        """The answer has gone out; what becomes of the connection is the ending's business."""
        if ending == "stall":
            return  # the request stays in flight until the client has had enough
        self.done()
        if ending == "reset":
            sock = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
            self.transport.abort()
        elif ending == "cut":
            self.transport.close()
        elif self.received:
            self.loop.call_soon(self.next_if_idle)

    def next_if_idle(self) -> None:
        if self.request is None and not self.transport.is_closing():
            self.next_request()

    def done(self) -> None:
        self.request = self.answer = None
        self.state.in_flight -= 1


class Commands:
    """What the lines on stdin ask for: a method each."""

    def __init__(self, state: State) -> None:
        self.state = state

    def rules(self, rules: list[dict[str, Any]], seed: int) -> dict[str, Any]:
        self.state.rules = [ActiveRule(fields) for fields in rules]
        self.state.dice = random.Random(seed)
        return {}

    def put_pattern(self, path: str, nbytes: int) -> dict[str, Any]:
        self.state.patterns[path] = PatternSource(nbytes)
        return {}

    def seen(self) -> dict[str, Any]:
        state = self.state
        return {
            "requests": state.serial,
            "connections": state.opened,
            "in_flight": state.in_flight,
            "most_in_flight": state.most_in_flight,
            "open_connections": len(state.connections),
            "most_connections": state.most_connections,
            "body_nbytes": state.body_nbytes,
            "statuses": state.statuses,
        }

    def requests(self) -> dict[str, Any]:
        return {"requests": [describe(request) for request in self.state.requests]}

    def reset(self) -> dict[str, Any]:
        self.state.reset()
        return {}

    def disconnect(self) -> dict[str, Any]:
        for connection in list(self.state.connections):
            connection.transport.abort()
        return {}


def describe(request: Request) -> dict[str, Any]:
    """A request as SeenRequest has it."""
    first, *lines = request.head.decode("latin-1").rstrip().split("\r\n")
    pairs = [match.groups() for match in map(HEADER.fullmatch, lines) if match is not None]
    return {
        "method": request.method,
        "target": first.split(" ")[1],
        "headers": {name.lower(): value for name, value in pairs},
        "status": request.status,
    }


def obey(commands: Commands, line: bytes) -> dict[str, Any]:
    """Does what a line says."""
    arguments = json.loads(line)
    try:
        answer: dict[str, Any] = getattr(commands, arguments.pop("command"))(**arguments)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}
    return answer


def say(document: dict[str, Any]) -> None:
    """Writes a line to stdout."""
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


def listen(hosts: list[str]) -> list[socket.socket]:
    """Sockets on the same free port of all hosts."""
    first = socket.create_server((hosts[0], 0), backlog=4096)
    port = first.getsockname()[1]
    return [first, *(socket.create_server((host, port), family=socket.AF_INET6, backlog=4096) for host in hosts[1:])]


async def serve(root: Path, hosts: list[str]) -> None:
    """Serves until stdin ends."""
    loop = asyncio.get_running_loop()
    state = State(root)
    commands, ended = Commands(state), asyncio.Event()
    listeners = listen(hosts)
    servers = [await loop.create_server(lambda: Connection(state, loop), sock=it, backlog=4096) for it in listeners]
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    pending = b""

    def on_stdin() -> None:
        nonlocal pending
        data = os.read(0, 1 << 16)
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            say(obey(commands, line))
        if not data:
            loop.remove_reader(0)
            ended.set()

    loop.add_reader(0, on_stdin)
    say({"port": listeners[0].getsockname()[1]})
    await ended.wait()
    for server in servers:
        server.close()
    commands.disconnect()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), sys.argv[2:]))
