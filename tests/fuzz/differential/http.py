"""Requests read by us, by h11, and by httptools as it is: what is accepted, and as what."""

import functools
import random
import re
from collections.abc import Callable, Coroutine
from typing import Any

import h11
from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from fuzz.answers import read_answers
from fuzz.differential.accepted import explain_http
from fuzz.differential.verdict import Event, Tally, Verdict, cut, splits
from fuzz.loop import running
from fuzz.memory import MemoryServer
from sockwave.http import Request, Response

#: Requests up to this size are split at every point.
SHORT_SIZE = 100

# ---- the readers ---------------------------------------------------------------------------------


class Recorder:
    """Our server, and the requests that its application has seen."""

    def __init__(self) -> None:
        self.front = MemoryServer()
        self.verdict = Verdict()
        self.received = 0
        self.methods: list[str] = []
        self.front.server.on("request", self.begin)

    def begin(self, request: Request, response: Response) -> Coroutine[Any, Any, None]:
        """Take note of a request when its body has come."""
        self.methods.append(request.method)
        return self.answer(request, response)

    async def answer(self, request: Request, response: Response) -> None:
        """Answer a request when its body has come."""
        body = await request.body()
        self.verdict.events.append(
            (self.received, event_of(request.method, request.target, request.headers.items(), body))
        )
        response.end(b"ok")


def event_of(method: str, target: str, headers: Any, body: bytes) -> Event:
    """Give a request in the form in which all are compared.

    llhttp leaves white space behind values to its caller, h11 spells a coding in lower case.
    """
    fields = [(name.lower(), value.strip(" \t")) for name, value in headers]
    fields = [
        (name, value.lower() if name == "transfer-encoding" else value) for name, value in fields
    ]
    return ("request", method, target, fields, body)


@functools.cache
def recorder() -> Recorder:
    """Give the one server of this process."""
    return Recorder()


def read_ours(pieces: list[bytes]) -> Verdict:
    """Read a stream by our server."""
    ours = recorder()
    ours.verdict = verdict = Verdict()
    ours.received = 0
    ours.methods.clear()
    front = ours.front
    peer = front.connect()
    with running(front.loop):
        for piece in pieces:
            ours.received += len(piece)
            peer.send(piece)
            while peer.deliver() or front.loop.run_ready():
                pass
            if peer.is_finished and verdict.failure is None:
                check_refusal(ours, bytes(peer.output))
    front.end(peer)
    return verdict


def check_refusal(ours: Recorder, output: bytes) -> None:
    """Take note of the answer that ends a connection, where it is a refusal."""
    answers, _ = read_answers(output, ours.methods, is_cut=False)
    if answers and answers[-1].status != 200:
        rule = answers[-1].body.decode().strip()
        ours.verdict.fail(answers[-1].status, rule, ours.received)


def read_h11(data: bytes) -> Verdict:
    """Read a stream by h11, and answer each request at its end."""
    verdict = Verdict()
    connection = h11.Connection(h11.SERVER)
    try:
        connection.receive_data(data)
        request: Any = None
        body = b""
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                request, body = event, b""
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                headers = [
                    (name.decode("latin-1"), value.decode("latin-1"))
                    for name, value in request.headers
                ]
                method, target = request.method.decode(), request.target.decode("latin-1")
                verdict.events.append((0, event_of(method, target, headers, body)))
                if method == "CONNECT":
                    return verdict
                connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
                connection.send(h11.EndOfMessage())
                if connection.our_state is not h11.DONE:
                    return verdict
                connection.start_next_cycle()
            else:
                return verdict
    except h11.RemoteProtocolError as error:
        verdict.fail(error.error_status_hint, str(error), 0)
    return verdict


class Parsed:
    """What httptools says, put together."""

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict
        self.parser = HttpRequestParser(self)
        self.is_over = False

    def on_message_begin(self) -> None:
        self.target, self.headers, self.body = b"", [], b""
        self.in_body = False

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.in_body:  # else a trailer, which we drop
            self.headers.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        self.in_body = True
        self.method = self.parser.get_method().decode()

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        if not self.is_over:
            event = event_of(self.method, self.target.decode("latin-1"), self.headers, self.body)
            self.verdict.events.append((0, event))
        self.is_over = self.is_over or not self.parser.should_keep_alive()


def read_httptools(data: bytes) -> Verdict:
    """Read a stream by httptools: llhttp."""
    verdict = Verdict()
    parsed = Parsed(verdict)
    try:
        parsed.parser.feed_data(data)
    except HttpParserUpgrade:
        pass
    except HttpParserError as error:
        if not parsed.is_over:
            verdict.fail(400, str(error), 0)
    return verdict


OTHERS: dict[str, Callable[[bytes], Verdict]] = {"h11": read_h11, "httptools": read_httptools}


# ---- the comparison ------------------------------------------------------------------------------


def compare(stream: bytes, rng: random.Random, tally: Tally) -> None:
    """Have everybody read a stream, and ours in every way in which it may arrive."""
    if re.search(rb"(?i)upgrade:\s*websocket", stream):
        return
    tally.inputs += 1
    ours = read_ours([stream])
    tally.cases += 1
    ways = (
        splits(len(stream), SHORT_SIZE)
        if len(stream) <= SHORT_SIZE
        else [tuple(sorted(rng.sample(range(1, len(stream)), count))) for count in (1, 2, 5)]
    )
    for places in ways:
        cut_up = read_ours(cut(stream, places))
        tally.cases += 1
        # Of two things that are wrong, the one that comes first may be named, or the graver one.
        if cut_up.what != ours.what or (cut_up.failure is None) != (ours.failure is None):
            tally.unexplained.append(f"ours: {stream!r} split at {places}: {cut_up}, whole: {ours}")
            return
    for name, read in OTHERS.items():
        theirs = read(stream)
        difference = explain_http(name, ours, theirs)
        if difference is None:
            tally.unexplained.append(f"{name}: {stream!r}: ours {ours}, theirs {theirs}")
        elif difference:
            tally.listed[difference] += 1
