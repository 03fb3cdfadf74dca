"""The differences from uvicorn that are accepted, each with its reason.

`WHY` has an entry for each difference that a test in `peers/` may find: the reason, a pattern for
the lines that tell the difference, and of which questions to which applications. A line that none
explains fails the test, and so does an entry that explains nothing any more. What is not compared
at all stands in `peers/transcript.py`.
"""

import re
from typing import NamedTuple


class Accepted(NamedTuple):
    """An explanation: of which lines, for which question put to which application, and why."""

    application: str
    question: str
    line: str
    why: str
    #: Whether the difference is there each time; where not, it depends on what comes first.
    is_constant: bool


class Why(NamedTuple):
    """A reason, and where it holds."""

    why: str
    line: str
    questions: dict[str, tuple[str, ...]]
    is_constant: bool = True


#: A race: what a client sends in two parts has arrived in time, or has not.
SOMETIMES = False

WHY = [
    # ---- HTTP
    Why(
        "RFC 9110, 7.6.1: `Connection` is the server's. What an application says of it is left "
        "out, but for `close`; HTTP/1.1 keeps the connection without it.",
        r"headers - 'connection: keep-alive'",
        {
            "litestar": ("server-sent events",),
            "mcp": ("a beginning", "a session"),
            "sse_starlette": (
                "events",
                "events with all that they may have",
                "HEAD of events",
                "an event behind silence",
            ),
        },
    ),
    Why(
        "An answer that the application gives as a whole, without its length, is sent with its "
        "length; uvicorn sends it in chunks, or leaves the length of HEAD's out.",
        r"headers ([+] 'content-length: \d+|- 'transfer-encoding: chunked)'",
        {
            "django": ("a path without its slash",),
            "prometheus": (
                "metrics",
                "metrics in OpenMetrics",
                "metrics in gzip",
                "metrics without gzip",
                "one metric",
                "HEAD of metrics",
                "OPTIONS of metrics",
            ),
        },
    ),
    Why(
        'RFC 9112, 6.1: "Transfer-Encoding MAY be sent in a response to a HEAD request": it says '
        "there how GET would be answered.",
        r"headers [+] 'transfer-encoding: chunked'",
        {"starlette": ("HEAD of a stream",), "sse_starlette": ("HEAD of events",)},
    ),
    Why(
        "A body that the application does not read is not read to its end: the connection ends "
        "behind the answer, which says so.",
        r"headers [+] 'connection: close'",
        {"starlette": ("a large body that is not read",), "quart": ("a body that is too large",)},
    ),
    Why(
        "The same, for a small body that a client sends behind its head: what has arrived in time "
        "is dropped, and the connection goes on.",
        r"headers [+] 'connection: close'",
        {
            "strawberry": ("no query", "another content type"),
            "django": ("a body that is too large",),
        },
        SOMETIMES,
    ),
    Why(
        "An error of the application is told in other words.",
        r"'content-length: 2[12]'|(?i:internal server error)",
        {"sentry": ("an error",)},
    ),
    Why(
        "FIN says that the client sends no more, and not that it has gone: it may have closed its "
        "own side alone. The application hears of it when something is sent, or by RST.",
        r"here '(poll given up: fin|wait over|silent given up)'",
        {
            "starlette": ("a client that leaves before the answer",),
            "django": ("a client that leaves a view",),
            "sse_starlette": ("a client that leaves in silence",),
        },
    ),
    # ---- WebSockets
    Why(
        "An empty answer has no type of content.",
        r"- 'content-type: text/plain; charset=utf-8'",
        {
            "starlette": (
                "a handshake that is refused",
                "a WebSocket where there is none",
                "a WebSocket at a path of requests",
                "no authentication of a WebSocket",
            ),
            "fastapi": (
                "a WebSocket without its token",
                "a WebSocket whose parameter is not valid",
            ),
            "litestar": ("a WebSocket that a guard refuses", "no WebSocket"),
            "django": ("no origin", "an origin that is not allowed", "a consumer that refuses"),
        },
    ),
    Why(
        "An error of the application before the handshake is told in other words.",
        r"'content-length: 2[12]'|(?i:internal server error)",
        {"starlette": ("an error before the handshake",), "django": ("no consumer",)},
    ),
    Why(
        "The application's own answer to a handshake goes out as it is sent, in chunks, if it "
        "comes in parts; uvicorn keeps it back until it is whole.",
        r"[+] 'transfer-encoding: chunked'|- 'content-length: \d+'",
        {"quart": ("a WebSocket that is refused", "a WebSocket that is aborted", "no WebSocket")},
    ),
    Why(
        'RFC 6455, 7.4.1: 1011 is for "an unexpected condition that prevented it from fulfilling '
        'the request". uvicorn drops the connection of an application that raises.',
        r"closed: (1011|1006) ",
        {
            "starlette": ("an error in a WebSocket",),
            "fastapi": ("no JSON in a WebSocket",),
            "django": ("a consumer that fails",),
            "sentry": ("an error in a WebSocket",),
        },
    ),
    Why(
        "An application that returns has ended its conversation: the close says 1000. uvicorn "
        "drops the connection.",
        r"closed: (1000|1006) ",
        {"starlette": ("an application that leaves",)},
    ),
    Why(
        "The same; Strawberry returns when its client has closed in the midst of a subscription.",
        r"closed: (1000|1006) ",
        {"strawberry": ("a subscription that the client ends",)},
        SOMETIMES,
    ),
    Why(
        'RFC 6455, 5.5.1: the answer to a close "typically echos the status code"; its reason is '
        "told to the application, and not echoed.",
        r"closed: (4321|3000|4999) ",
        {
            "starlette": ("a code and a reason of the client",),
            "fastapi": ("JSON in a WebSocket",),
            "litestar": ("a WebSocket",),
        },
    ),
    # ---- what is logged
    Why(
        "What only says that the client has gone is no error of the application, and not logged.",
        r"- 'WebSocketDisconnect",
        {"fastapi": ("the log",)},
    ),
    Why(
        "Strawberry itself logs that it could not send to a client that had just closed; uvicorn "
        "says nothing where something is sent then.",
        r"[+] '(ClientDisconnected|ConnectionClosed|WebSocketDisconnect(ed)?)'",
        {"strawberry": ("the log",)},
        SOMETIMES,
    ),
]

ACCEPTED = [
    Accepted(application, question, one.line, one.why, one.is_constant)
    for one in WHY
    for application, questions in one.questions.items()
    for question in questions
]


def explain(application: str, question: str, line: str) -> Accepted | None:
    """Give the explanation of a line; None if there is none."""
    for one in ACCEPTED:
        if one[:2] == (application, question) and re.search(one.line, line):
            return one
    return None


def find_stale(application: str, needed: set[Accepted]) -> list[Accepted]:
    """Give the explanations of which none was needed."""
    return [
        one
        for one in ACCEPTED
        if one.application == application and one.is_constant and one not in needed
    ]
