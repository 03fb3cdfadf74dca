"""WSGI applications, by way of a2wsgi."""

import sys
from typing import Any

import pytest
from asgi_apps import get, post
from conftest import StartServer
from http_wire import receive_answer
from wire import Wire

from sockwave.asgi import wsgi


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Path", environ["PATH_INFO"])])
    return [environ["REQUEST_METHOD"].encode(), b" ", body]


async def test_wsgi_application_answers(start_server: StartServer) -> None:
    server = await start_server(asgi=wsgi(application))
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(get("/a?b"))
        found = await receive_answer(wire)
        assert (found.body, found.headers["x-path"]) == (b"GET ", "/a")
        wire.write(post(b"hello"))
        assert (await receive_answer(wire)).body == b"POST hello"


def test_missing_a2wsgi_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "a2wsgi", None)
    with pytest.raises(ImportError, match=r"pip install sockwave\[wsgi\]"):
        wsgi(application)


def test_what_is_no_application_is_refused() -> None:
    with pytest.raises(TypeError, match="expected a WSGI application"):
        wsgi("main:app")  # type: ignore[arg-type]
