"""Cookies that a response sets: RFC 6265, section 4.1."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from asgi_apps import get
from certificates import server_context
from conftest import ErrorLog, StartServer
from http_wire import receive_answer
from tls_wire import TlsWire
from wire import Wire, case, wait_until

import sockwave


def lines_of(raw: bytes) -> list[str]:
    """Give the Set-Cookie values of a head."""
    lines = raw.decode("latin-1").split("\r\n")
    return [line.partition(": ")[2] for line in lines if line.startswith("Set-Cookie: ")]


async def set_by(start_server: StartServer, use: Any, *, headers: Any = (), **options: Any) -> Any:
    """Give the Set-Cookie values of the answer to one request."""
    server = await start_server(**options)
    server.get("/", lambda request, response: (use(response), "ok")[1])
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(get(headers=headers))
        answer = await receive_answer(wire)
        assert answer.status == 200
        return lines_of(answer.head.raw)


async def test_defaults_are_safe(start_server: StartServer) -> None:
    def use(response: sockwave.Response) -> None:
        assert response.set_cookie("session", "abc") is response

    assert await set_by(start_server, use) == ["session=abc; Path=/; HttpOnly; SameSite=Lax"]


async def test_attributes_are_those_of_the_standard(start_server: StartServer) -> None:
    def use(response: sockwave.Response) -> None:
        for name, attributes in cases.items():
            response.set_cookie(name, "v", **attributes)

    east = timezone(timedelta(hours=2))
    cases: dict[str, dict[str, Any]] = {
        "a": {"max_age": 3600, "httponly": False, "samesite": None, "path": None},
        "b": {"expires": 0, "samesite": "strict"},
        "c": {"expires": datetime(2030, 1, 1, 2, tzinfo=east), "samesite": "Lax"},
        "d": {"domain": "example.com", "path": "/a b"},
        "e": {"secure": True, "samesite": "none"},
        "__Host-f": {"secure": True},
        "__Secure-g": {"secure": True, "domain": ".example.com"},
        "h": {"max_age": 0, "expires": datetime(2030, 1, 1, tzinfo=UTC).timestamp()},
    }
    assert await set_by(start_server, use) == [
        "a=v; Max-Age=3600",
        "b=v; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Path=/; HttpOnly; SameSite=Strict",
        "c=v; Expires=Tue, 01 Jan 2030 00:00:00 GMT; Path=/; HttpOnly; SameSite=Lax",
        "d=v; Domain=example.com; Path=/a b; HttpOnly; SameSite=Lax",
        "e=v; Path=/; Secure; HttpOnly; SameSite=None",
        "__Host-f=v; Path=/; Secure; HttpOnly; SameSite=Lax",
        "__Secure-g=v; Domain=.example.com; Path=/; Secure; HttpOnly; SameSite=Lax",
        "h=v; Max-Age=0; Expires=Tue, 01 Jan 2030 00:00:00 GMT; Path=/; HttpOnly; SameSite=Lax",
    ]


async def test_deleted_cookie_has_ended_long_ago(start_server: StartServer) -> None:
    def use(response: sockwave.Response) -> None:
        response.delete_cookie("a").delete_cookie("b", path="/x", domain="example.com")

    ended = "Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT"
    assert await set_by(start_server, use) == [
        f"a=; {ended}; Path=/; HttpOnly; SameSite=Lax",
        f"b=; {ended}; Domain=example.com; Path=/x; HttpOnly; SameSite=Lax",
    ]


async def test_second_cookie_of_one_name_replaces_the_first(start_server: StartServer) -> None:
    def use(response: sockwave.Response) -> None:
        response.set_cookie("a", "1").set_cookie("b", "2").set_cookie("a", "3")
        response.set_cookie("a", "4", path="/x")

    found = await set_by(start_server, use)
    assert [line.partition(";")[0] for line in found] == ["a=3", "b=2", "a=4"]


async def test_secure_where_the_request_came_by_tls(start_server: StartServer) -> None:
    server = await start_server()
    server.listen(0, "127.0.0.1", ssl=server_context())
    server.get("/", lambda request, response: (response.set_cookie("a", "1"), "ok")[1])
    await wait_until(lambda: len(server.addresses) == 2)
    wire = await TlsWire.open(server.addresses[1])
    wire.write(get())
    assert lines_of((await wire.receive_head()).raw) == [
        "a=1; Path=/; Secure; HttpOnly; SameSite=Lax"
    ]


async def test_secure_where_a_trusted_proxy_says_so(start_server: StartServer) -> None:
    def use(response: sockwave.Response) -> None:
        response.set_cookie("a", "1").set_cookie("b", "2", secure=False)

    headers = (("X-Forwarded-For", "1.2.3.4"), ("X-Forwarded-Proto", "https"))
    assert await set_by(start_server, use, headers=headers, trusted_proxies="127.0.0.1") == [
        "a=1; Path=/; Secure; HttpOnly; SameSite=Lax",
        "b=2; Path=/; HttpOnly; SameSite=Lax",
    ]


async def test_what_cannot_be_a_cookie_is_refused(start_server: StartServer) -> None:
    refused: dict[str, tuple[Any, ...]] = {
        "name: expected str": ("", None),
        "name: expected a token": ("", "a b", "a;b", "a=b", "é", "a\r\nb"),
        "value: expected str": ("a", None, 1, b"x"),
        "value: expected ASCII": (
            "a",
            "a b",
            "a;b",
            "a,b",
            'a"b',
            "a\\b",
            "é",
            "a\nb",
            '"',
            "\x7f",
        ),
    }
    attributes: dict[str, list[dict[str, Any]]] = {
        "max_age: expected int": [{"max_age": "1"}, {"max_age": 1.5}, {"max_age": True}],
        "max_age: expected 0 or more": [{"max_age": -1}],
        "expires: expected a datetime with": [{"expires": datetime(2030, 1, 1)}],
        "expires: expected datetime or": [{"expires": "tomorrow"}, {"expires": True}],
        "expires: expected a date": [{"expires": 1e20}],
        "domain: expected the name": [
            {"domain": "a:8000"},
            {"domain": "a;b"},
            {"domain": ""},
            {"domain": "a..b"},
        ],
        "domain: expected str": [{"domain": 1}],
        "path: expected a path": [{"path": "x"}, {"path": ""}, {"path": "/;x"}, {"path": "/é"}],
        "path: expected str": [{"path": 1}],
        "samesite: expected 'strict'": [{"samesite": "Never"}, {"samesite": True}],
        "without secure, given 'none'": [{"samesite": "none"}],
        "secure: expected bool": [{"secure": 1}],
        "httponly: expected bool": [{"httponly": None}],
    }
    tried = 0

    def use(response: sockwave.Response) -> None:
        nonlocal tried
        for said, (name, *values) in refused.items():
            for value in values:
                pair = (value, "v") if said.startswith("name") else (name, value)
                with case(pair), pytest.raises((TypeError, ValueError), match=said):
                    response.set_cookie(*pair)
                tried += 1
        for said, choices in attributes.items():
            for choice in choices:
                with case(choice), pytest.raises((TypeError, ValueError), match=said):
                    response.set_cookie("a", "v", **choice)
                tried += 1
        for name, more in (
            ("__Host-a", {}),
            ("__host-a", {"secure": True, "path": "/x"}),
            ("__Host-a", {"secure": True, "domain": "a.b"}),
            ("__SECURE-a", {}),
        ):
            with pytest.raises(ValueError, match="name: expected"):
                response.set_cookie(name, "v", **more)  # type: ignore[arg-type]
        response.set_cookie("a", "v" * (4096 - len("a=; Path=/; HttpOnly; SameSite=Lax")))
        with pytest.raises(ValueError, match="expected at most 4096 bytes, given 4097"):
            response.set_cookie("a", "w" * (4097 - len("a=; Path=/; HttpOnly; SameSite=Lax")))

    found = await set_by(start_server, use)
    assert tried > 40
    assert len(found) == 1
    assert found[0].startswith("a=vvv")


async def test_cookies_go_with_whatever_is_answered(
    start_server: StartServer, error_log: ErrorLog, tmp_path: Any
) -> None:
    server = await start_server(response_headers={"X-All": "1"})
    (tmp_path / "file.txt").write_text("file")

    @server.get("/{kind}")
    async def answer(request: sockwave.Request, response: sockwave.Response) -> Any:
        response.set_cookie("a", "1")
        kind = request.path_params["kind"]
        if kind == "head":
            response.write_head(200, {"Set-Cookie": "b=2"})
            response.set_cookie("c", "3").end()
        elif kind == "file":
            await response.send_file(tmp_path / "file.txt")
        elif kind == "redirect":
            response.redirect("/")
        elif kind == "json":
            response.json([])
        elif kind == "chunked":
            response.write("x")
            with pytest.raises(RuntimeError, match="set_cookie: expected before"):
                response.set_cookie("c", "3")
            response.end()
            with pytest.raises(RuntimeError, match="expected before the end"):
                response.delete_cookie("c")
        elif kind == "refused":
            raise sockwave.Refused(403)
        elif kind == "failed":
            raise ZeroDivisionError

    for kind, names in {
        "head": ["b", "a", "c"],
        "file": ["a"],
        "redirect": ["a"],
        "json": ["a"],
        "chunked": ["a"],
        "refused": ["a"],
        "failed": [],
    }.items():
        with case(kind):
            async with await Wire.open(server.addresses[0]) as wire:
                wire.write(get(f"/{kind}"))
                answer_found = await receive_answer(wire)
                found = lines_of(answer_found.head.raw)
                assert [line.partition("=")[0] for line in found] == names
                assert answer_found.headers["x-all"] == "1"
    error_log.take()
