"""The differences between readers that are accepted, each with its reason.

`explain_frames` and `explain_http` are given what we say and what another reader says. They return
an empty string for "the same", the name of an accepted difference, or None: unexplained.
"""

from typing import Any

from fuzz.differential.verdict import Verdict

#: What stands here is printed with the number of times that it was met.
REASONS = {
    "websockets: any length":
        "RFC 6455, 5.2, wants the shortest form of a length and a top bit of 0; "
        "websockets takes any.",
    "websockets: header after payload":
        "reserved bits, control frames that are long or fragmented, and fragments out of order are "
        "refused by us at the header, by websockets behind the payload, if that comes and fits.",
    "websockets: UTF-8 of whole messages":
        "8.1: we fail at the first wrong byte, websockets leaves it to its caller, who has whole "
        "messages.",
    "websockets: limit on control frames":
        "websockets holds control frames to what is left of the limit for the message; ours, which "
        "5.5 holds to 125 bytes, pass.",
    "websockets: close inside a message":
        "5.4: control frames \"MAY be injected in the middle of a fragmented message\"; websockets "
        "calls a close there an error.",
    "websockets: fragments without end":
        "websockets has no limit on their number.",
    "websockets: order of checks":
        "where a frame breaks a rule and the limit too, websockets looks at the limit first.",
    "websockets: close reason first":
        "where a close frame has a wrong code and a reason that is not UTF-8, we complain of the "
        "code, websockets of the reason.",
    "wsproto: codes registered later":
        "wsproto does not know 1014, which IANA's registry has had since 2017.",
    "wsproto: length before mask":
        "the length is judged by us when the header has come whole, by wsproto before the mask.",
    "wsproto: UTF-8 later":
        "Python's incremental decoder sees a surrogate at its third byte, we at its second.",
    "wsproto: no limits":
        "wsproto has no limit on messages and none on fragments.",
    "wsproto: fragments out of order":
        "we refuse them at the header, wsproto with the first byte of the payload.",
    "wsproto: header after its extension":
        "reserved bits and a missing mask are refused by us at the second byte, by wsproto behind "
        "the extended length.",
}  # fmt: skip

LATE_IN_WEBSOCKETS = {
    "reserved bits are set",
    "control frame is longer than 125 bytes",
    "control frame is fragmented",
    "continuation frame without a message",
    "new message inside a fragmented message",
}

ANY_LENGTH = {
    "length is not in its shortest form",
    "top bit of a 64-bit length is set",
    "control frame is longer than 125 bytes",  # of an honest length in a longer form, too
}


def is_prefix(shorter: Verdict, longer: Verdict) -> bool:
    """Tell whether one found, at the same places, all that the other did up to its end."""
    return longer.events[: len(shorter.events)] == shorter.events


def explain_frames(name: str, ours: Verdict, theirs: Verdict) -> str | None:
    """Name the difference between two verdicts on a stream of RFC 6455."""
    same_events = ours.events == theirs.events
    if same_events and ours.failure == theirs.failure:
        return ""
    if name == "websockets":
        return explain_websockets(ours, theirs, same_events=same_events)
    return explain_wsproto(ours, theirs, same_events=same_events)


def explain_websockets(ours: Verdict, theirs: Verdict, *, same_events: bool) -> str | None:
    """Name the difference between ours and that of `websockets`."""
    if same_events and ours.rule in LATE_IN_WEBSOCKETS:
        if theirs.failure is None:
            return "websockets: header after payload"
        if theirs.failure == 1009:
            return "websockets: order of checks"
    if ours.rule in ANY_LENGTH and is_prefix(ours, theirs):
        return "websockets: any length"
    if ours.rule == "text is not UTF-8" and is_prefix(ours, theirs):
        return "websockets: UTF-8 of whole messages"
    if ours.rule == "message has too many fragments" and is_prefix(ours, theirs):
        return "websockets: fragments without end"
    if (
        same_events
        and ours.rule == "close code is not allowed in a frame"
        and (theirs.failure == 1007)
    ):
        return "websockets: close reason first"
    if theirs.failure == 1009 and is_prefix(theirs, ours):
        if len(ours.events) > len(theirs.events):
            kind = ours.events[len(theirs.events)][1][0]
            if kind in ("ping", "pong", "close"):
                return "websockets: limit on control frames"
        # A control frame that is over what is left of the limit, and has not come whole.
        if ours.failure is None or ours.rule.startswith("close "):
            return "websockets: limit on control frames"
    if theirs.rule == "incomplete fragmented message" and is_prefix(theirs, ours):
        return "websockets: close inside a message"
    return None


def explain_wsproto(ours: Verdict, theirs: Verdict, *, same_events: bool) -> str | None:
    """Name the difference between ours and that of `wsproto`."""
    if ours.failure in (1008, 1009) and is_prefix(ours, theirs):
        return "wsproto: no limits"
    if same_events and ours.failure is None and "payload length" in theirs.rule.lower():
        return "wsproto: length before mask"
    if same_events and theirs.failure is None and ours.rule == "text is not UTF-8":
        return "wsproto: UTF-8 later"
    if (
        theirs.rule == "CLOSE with unknown reserved code"
        and is_prefix(theirs, ours)
        and (
            ours.rule == "close reason is not UTF-8"
            or ours.events[len(theirs.events) :][0][1][:2] == ("close", 1014)
        )
    ):
        return "wsproto: codes registered later"
    if same_events and theirs.failure is None:
        if ours.rule in (
            "continuation frame without a message",
            "new message inside a fragmented message",
        ):
            return "wsproto: fragments out of order"
        if ours.rule in ("reserved bits are set", "frame is not masked"):
            return "wsproto: header after its extension"
    return None


#: What we refuse and others need not: the beginning of our sentence, and why.
STRICTER = {
    "expected HTTP/1.1 or HTTP/1.0":
        "other versions of HTTP are answered with 505; h11 and llhttp take 1.2 or 2.0 for 1.1.",
    "malformed request: expected CRLF":
        "RFC 9112, 2.2, lets a lone LF pass for a line end, and so do h11 and trailers in llhttp; "
        "readers that differ in it can be played off against each other.",
    "malformed request line: expected a method":
        "a byte that no token has is refused where a method has to begin, without the rest.",
    "malformed request line: expected method, target and HTTP/1.1":
        "RFC 9112, 3: one space between the words, none behind them.",
    "malformed request line: expected HTTP/1.1 as":
        "the protocol is spelled in capital letters.",
    "malformed request: expected a request line":
        "RFC 9112, 2.2: one empty line in front is forgiven, and some more; llhttp forgives any "
        "number, and what is no CRLF.",
    "malformed request: expected one head":
        "an empty line ends the head.",
    "malformed request: ":
        "llhttp's strict mode refuses it, as it has a byte where none may stand; h11 has its own "
        "list of such bytes.",
    "malformed target":
        "RFC 9112, 3.2: a path, an absolute URI of http, or * for OPTIONS, without a fragment; "
        "others leave this to their caller.",
    "CONNECT is not implemented":
        "others leave this to their caller.",
    "expected a Host header field":
        "RFC 9112, 3.2: HTTP/1.1 must have one; llhttp leaves this to its caller.",
    "malformed Host header field":
        "RFC 9112, 3.2; others leave this to their caller.",
    "expected one Host header field":
        "RFC 9112, 3.2; llhttp leaves this to its caller.",
    "expected the same host in":
        "two names for one request mislead whoever reads the other one; others leave this to their "
        "caller.",
    "expected one Content-Length or Transfer-Encoding":
        "RFC 9112, 6.3: h11 takes the length twice, if it is the same, and prefers the coding.",
    "expected no Transfer-Encoding in HTTP/1.0":
        "RFC 9112, 6.1: such a message has \"faulty framing\"; others take it as it is.",
    "expected chunked as the Transfer-Encoding":
        "no other coding is spoken here, and none behind odd white space.",
    "expected no Transfer-Encoding but chunked":
        "RFC 9112, 6.1: \"A server that receives a request message with a transfer coding it does "
        "not understand SHOULD respond with 501\"; llhttp leaves other codings to its caller.",
    "malformed Content-Length":
        "RFC 9110, 8.6: digits and nothing else, after one space at most; others trim, or take a "
        "list of equal lengths.",
    "malformed chunked body":
        "RFC 9112, 7.1: a size, and behind a semicolon anything but control characters; h11 takes "
        "those, too, and white space behind a size.",
    "a body of more than":
        "the limit is ours.",
    "the body ended early":
        "the others are not told of the end of the stream.",
    "unknown expectation":
        "RFC 9110, 10.1.1, lets us answer with 417; others leave this to their caller.",
}  # fmt: skip

REASONS["stricter: what HEAD brings"] = (
    "a refused body or head of a HEAD request: the same rules, but the answer says nothing of them."
)
REASONS |= {f"stricter: {rule}": reason for rule, reason in STRICTER.items()} | {
    "h11: empty line in front":
        "RFC 9112, 2.2: \"a server [...] SHOULD ignore at least one empty line\"; h11 does not.",
    "h11: white space before a chunk extension":
        "RFC 9112, 7.1.1: chunk-ext = *( BWS \";\" BWS chunk-ext-name ... ); h11 does not read the "
        "first of these.",
    "httptools: chunk extensions":
        "RFC 9112, 7.1.1: \"A recipient MUST ignore unrecognized chunk extensions\", with optional "
        "white space; llhttp refuses that, and names or quotes that are none.",
    "httptools: methods that it does not know":
        "RFC 9110, 9.1: a method is a token, and the application may know any of them.",
    "httptools: close beside keep-alive":
        "RFC 9112, 9.3: \"If the \"close\" connection option is present [...], the connection will "
        "not persist\"; llhttp goes by the last of the two.",
    "httptools: before the head is whole":
        "llhttp refuses a head at the first wrong byte, we when it is whole, unless it is the line "
        "end that is wrong.",
}  # fmt: skip


def explain_http(name: str, ours: Verdict, theirs: Verdict) -> str | None:
    """Name the difference between two verdicts on a stream of requests."""
    if ours.what == theirs.what and (ours.failure is None) == (theirs.failure is None):
        return ""
    if ours.failure is not None and theirs.what[: len(ours.what)] == ours.what:
        if not ours.rule:
            return "stricter: what HEAD brings"
        for rule in STRICTER:
            if ours.rule.startswith(rule):
                return f"stricter: {rule}"
    if (
        name == "h11"
        and theirs.rule == "no request line received"
        and (ours.what[: len(theirs.what)] == theirs.what)
    ):
        return "h11: empty line in front"
    if is_shorter_for(theirs, "illegal chunk header", ours):
        return "h11: white space before a chunk extension"
    if is_shorter_for(theirs, "Invalid character in chunk", ours):
        return "httptools: chunk extensions"
    if is_shorter_for(theirs, "Invalid method", ours) or is_shorter_for(
        theirs, "Expected space after method", ours
    ):
        return "httptools: methods that it does not know"
    if (
        name == "httptools"
        and ours.what
        and theirs.what[: len(ours.what)] == ours.what
        and says_close(ours.what[-1])
    ):
        return "httptools: close beside keep-alive"
    if name == "httptools" and ours.what == theirs.what and ours.failure is None:
        return "httptools: before the head is whole"
    return None


def is_shorter_for(theirs: Verdict, rule: str, ours: Verdict) -> bool:
    """Tell whether another reader has read a part of what we have, and then refused by a rule."""
    return theirs.rule.startswith(rule) and ours.what[: len(theirs.what)] == theirs.what


def says_close(event: tuple[object, ...]) -> bool:
    """Tell whether a request ends its connection, and says the contrary too."""
    fields: Any = event[3]
    values = [value.lower() for name, value in fields if name == "connection"]
    return "close" in values and "keep-alive" in values
