"""What a name that does not exist may have meant: of options, and of events."""

from collections.abc import Iterable, Mapping
from typing import Any

#: The events of a topic: see `Topic.on`.
TOPIC_EVENTS = ("join", "leave", "unwatched")

# What other servers call our events.
_EVENT_SYNONYMS = {
    "connect": "connection",
    "connected": "connection",
    "open": "connection",
    "data": "message",
    "receive": "message",
    "text": "message",
    "disconnect": "close",
    "disconnected": "close",
    "closed": "close",
    "end": "close",
    "exception": "error",
    "http": "request",
    "upgrade": "handshake",
    "listen": "listening",
    "ready": "listening",
    "start": "listening",
    "startup": "listening",
    "statechange": "readyStateChange",
}

# What other servers call our options.
_OPTION_SYNONYMS = {
    "allowed_origins": "origin",
    "cors": "origin",
    "cors_allowed_origins": "origin",
    "heartbeat": "ping_interval",
    "max_message_size": "max_size",
    "max_msg_size": "max_size",
    "max_payload": "max_size",
    "max_queue": "queue_count",
    "open_timeout": "handshake_timeout",
    "per_message_deflate": "compression",
    "permessage_deflate": "compression",
    "process_request": "authorize",
    "protocols": "subprotocol",
    "select_subprotocol": "subprotocol",
    "write_limit": "high_water",
}

# Arguments of the server's methods.
_ARGUMENTS = {
    **dict.fromkeys(("port", "host", "path", "mode", "sock", "ssl", "reuse_port"), "listen"),
    **dict.fromkeys(("workers", "sequencer"), "run"),
    **dict.fromkeys(("drain", "jitter"), "close"),
    **dict.fromkeys(("handler", "cancel_on_close"), "handle_with"),
}

# What other servers call an `ssl.SSLContext`, or what one is made of.
_TLS = ("cert", "certfile", "key", "keyfile", "ssl_context", "ssl_certfile", "ssl_keyfile", "tls")

Events = Mapping[str, Any]


def describe_unknown_event(name: str, here: Events, server: Events, connection: Events) -> str:
    """Return the sentence for an event that an emitter does not have.

    `here` are its events; `server` and `connection` those of all servers and all connections.
    """
    found = _find_event(name, here) or _find_near_event(name, here)
    if found is not None:
        return f"unknown event {name!r}; did you mean {found!r}?"
    owner = "server" if here is server else "connection"
    there = connection if here is server else server
    found = _find_event(name, there)
    if found is not None:
        what = "it" if found == name else repr(found)
        example = _show_event(found, is_server=there is server)
        return f"unknown event {name!r} of a {owner}: {what} is an event of the {example}"
    if name in TOPIC_EVENTS:
        return (
            f"unknown event {name!r} of a {owner}: it is an event of a topic, as in "
            f"server.topic(name).on({name!r}, listener)"
        )
    return f"unknown event {name!r}; the events here are {', '.join(sorted(here))}"


def describe_unknown_option(
    name: str, options: Iterable[str], server: Events, connection: Events
) -> str:
    """Return the sentence for an option that does not exist; the rest as above."""
    options = sorted(options)
    method = _ARGUMENTS.get(name)
    if method is not None:
        example = f"server.{method}(..., {name}=...)"
        return f"unknown option {name!r}: it is an argument of {method}, as in {example}"
    if name in _TLS:
        return (
            f"unknown option {name!r}: TLS is an argument of listen, as in "
            "server.listen(..., ssl=context), with an ssl.SSLContext"
        )
    for events in (connection, server):
        event = _find_event(name, events)
        if event is not None:
            example = _show_event(event, is_server=events is server)
            return f"unknown option {name!r}: {event!r} is an event of the {example}"
    meant = _OPTION_SYNONYMS.get(_spell(name)) or _find_nearest(name.lower(), options, 0.5)
    if meant is not None:
        return f"unknown option {name!r}; did you mean {meant!r}?"
    return f"unknown option {name!r}; the options are {', '.join(options)}"


def _show_event(event: str, *, is_server: bool) -> str:
    """Return the end of a sentence: whose event it is, and how it is heard."""
    if is_server:
        return f"server, as in server.on({event!r}, listener)"
    return f"connection, as in conn.on({event!r}, listener)"


def _spell(name: str) -> str:
    """Return a name in lower case, with underscores: as it is, or between the words."""
    words = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
    return words.replace("-", "_").strip("_")


def _find_event(name: str, events: Events) -> str | None:
    """Return the event that a name means, as "on_message" or "data"; None: it means none."""
    spelt = _spell(name)
    for one in (spelt, spelt.removeprefix("on_"), spelt.removeprefix("on")):
        for meant in (one.replace("_", ""), _EVENT_SYNONYMS.get(one.replace("_", ""))):
            for event in events:
                if meant is not None and event.lower() == meant.lower():
                    return event
    return None


def _find_near_event(name: str, events: Events) -> str | None:
    """Return the event whose name is most like this one; None: none is like it."""
    return _find_nearest(name, events, 0.6)


def _find_nearest(name: str, known: Iterable[str], cutoff: float) -> str | None:
    """Return which name is most like this one; None: none is as like as `cutoff`, from 0 to 1."""
    from difflib import get_close_matches  # what is rarely needed is not imported with all else

    nearest = get_close_matches(name, list(known), 1, cutoff)
    return nearest[0] if nearest else None
