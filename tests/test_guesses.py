"""An error about a name that does not exist says which one, or which call, was meant."""

from typing import Any

import pytest
from conftest import BothEnds
from wire import case

import sockwave
from sockwave.guesses import TOPIC_EVENTS
from sockwave.topics.handle import _EVENTS

OF_SERVER = {
    "conection": "; did you mean 'connection'?",
    "on_connection": "; did you mean 'connection'?",
    "connect": "; did you mean 'connection'?",
    "onRequest": "; did you mean 'request'?",
    "ready_state_change": "; did you mean 'readyStateChange'?",
    "disconnect": "; did you mean 'close'?",
    "message": " of a server: it is an event of the connection, as in conn.on('message', listener)",
    "onmessage": " of a server: 'message' is an event of the connection, as in conn.on('message', "
    "listener)",
    "pong": " of a server: it is an event of the connection, as in conn.on('pong', listener)",
    "json": " of a server: it is an event of the connection, as in conn.on('json', listener)",
    "join": " of a server: it is an event of a topic, as in server.topic(name).on('join', "
    "listener)",
}
OF_CONNECTION = {
    "mesage": "; did you mean 'message'?",
    "on_message": "; did you mean 'message'?",
    "data": "; did you mean 'message'?",
    "disconnected": "; did you mean 'close'?",
    "request": " of a connection: it is an event of the server, as in server.on('request', "
    "listener)",
    "connect": " of a connection: 'connection' is an event of the server, as in "
    "server.on('connection', listener)",
    "error": " of a connection: it is an event of the server, as in server.on('error', listener)",
    "zzzz": "; the events here are close, drain, json, message, ping, pong, readyStateChange",
}
OPTIONS = {
    "ssl": ": it is an argument of listen, as in server.listen(..., ssl=...)",
    "port": ": it is an argument of listen, as in server.listen(..., port=...)",
    "workers": ": it is an argument of run, as in server.run(..., workers=...)",
    "drain": ": it is an argument of close, as in server.close(..., drain=...)",
    "certfile": ": TLS is an argument of listen, as in server.listen(..., ssl=context), with an "
    "ssl.SSLContext",
    "on_connect": ": 'connection' is an event of the server, as in server.on('connection', "
    "listener)",
    "onConnection": ": 'connection' is an event of the server, as in server.on('connection', "
    "listener)",
    "on_message": ": 'message' is an event of the connection, as in conn.on('message', listener)",
    "on_disconnect": ": 'close' is an event of the connection, as in conn.on('close', listener)",
    "request": ": 'request' is an event of the server, as in server.on('request', listener)",
    "max_sise": "; did you mean 'max_size'?",
    "maxPayload": "; did you mean 'max_size'?",
    "perMessageDeflate": "; did you mean 'compression'?",
    "process_request": "; did you mean 'authorize'?",
    "origins": "; did you mean 'origin'?",
}


def test_unknown_event_of_a_server_says_which_is_meant() -> None:
    server: Any = sockwave.create_server()
    for name, end in OF_SERVER.items():
        for add in (server.on, server.once):
            with case(name), pytest.raises(ValueError, match="unknown event") as caught:
                add(name, print)
            assert str(caught.value) == f"unknown event {name!r}{end}"


async def test_unknown_event_of_a_connection_says_which_is_meant(both_ends: BothEnds) -> None:
    conn: Any = both_ends[1]
    for name, end in OF_CONNECTION.items():
        with case(name), pytest.raises(ValueError, match="unknown event") as caught:
            conn.on(name, print)
        assert str(caught.value) == f"unknown event {name!r}{end}"


def test_unknown_option_says_which_option_argument_or_event_is_meant() -> None:
    create: Any = sockwave.create_server
    for name, end in OPTIONS.items():
        with case(name), pytest.raises(TypeError, match="unknown option") as caught:
            create(**{name: None})
        assert str(caught.value) == f"unknown option {name!r}{end}"


def test_events_of_a_topic_are_known() -> None:
    assert set(TOPIC_EVENTS) == set(_EVENTS)
