"""Sec-WebSocket-Extensions: what is malformed is refused (RFC 6455, section 9.1), on every path."""

import re
from typing import Any

import pytest
from conftest import StartServer
from hypothesis import example, given
from hypothesis import strategies as st
from opening import expect_linear, parse, refuse
from wire import Wire, build_request, case, hixie_headers, upgrade_headers

import sockwave
from sockwave.core.opening.extension_list import is_well_formed
from sockwave.core.opening.fast_request import is_fast_request
from sockwave.handshake import Handshake, check
from sockwave.options import Options

WELL_FORMED = [
    "a",
    "permessage-deflate",
    "permessage-deflate; client_max_window_bits",
    "permessage-deflate; client_max_window_bits=10",
    "x-webkit-deflate-frame",
    "a, b;c=d;e , f",
    "a;b;b",
    ' a\t;\tb = "c" ,, ,d ',
    ",a,",
    r'a; b="\c\d"',
    "!#$%&'*+-.^_`|~09AZaz; 0=1",
]
MALFORMED = [
    "",
    " ",
    ",",
    " , ,",
    ";",
    "=",
    "a;",
    "a; ;b",
    "a;;b",
    "a b",
    "a=b",
    "a; b=",
    "a; b=;c",
    "a; =b",
    "a; b=c=d",
    "a; b=c d",
    '"a"',
    'a; "b"',
    'a; b="',
    'a; b=""',
    'a; b="c',
    'a; b="c d"',
    'a; b="c,d"',
    'a; b="c"d',
    'a; b="c""d"',
    'a; b="c\\"',
    r'a; b="c\"d"',
    r'a; b="\ c"',
    r"a; b=\c",
    "a; b=(c)",
    "a/b",
    "a, b;",
    "é",
    "a; b=é",
    "a, permessage-deflate; x=\x7f",
]

# The rule as it is written there, and as slow.
TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
QUOTED = r'"(?:[!#$%&\'*+\-.^_`|~0-9A-Za-z]|\\[!#$%&\'*+\-.^_`|~0-9A-Za-z])+"'
SPACE = r"[ \t]*"
PARAMETER = rf"{TOKEN}(?:{SPACE}={SPACE}(?:{TOKEN}|{QUOTED}))?"
EXTENSION = rf"{TOKEN}(?:{SPACE};{SPACE}{PARAMETER})*"


def is_by_the_rule(text: str) -> bool:
    """Tell whether a short text is a list of extensions: each element is one, or is empty."""
    elements = re.fullmatch(
        rf"{SPACE}(?:{EXTENSION})?{SPACE}(?:,{SPACE}(?:{EXTENSION})?{SPACE})*", text
    )
    return elements is not None and any(part.strip(" \t") for part in text.split(","))


@pytest.mark.parametrize("text", WELL_FORMED)
def test_well_formed_list_is_taken(text: str) -> None:
    assert is_well_formed(text)
    assert is_by_the_rule(text)


@pytest.mark.parametrize("text", MALFORMED)
def test_malformed_list_is_not(text: str) -> None:
    assert not is_well_formed(text)
    assert not is_by_the_rule(text)


@given(
    st.lists(
        st.sampled_from(["a", "b-c", ";", ",", "=", '"', "\\", " ", "\t", "(", "é"]), max_size=9
    ).map("".join)
)
@example('a;b="\\c"')
def test_list_is_judged_as_by_the_rule(text: str) -> None:
    assert is_well_formed(text) == is_by_the_rule(text)


@pytest.mark.parametrize("block", ['"', '";a="b', "\\a", ";a", ",", " ", "a", ",a;b=c"])
def test_list_is_judged_in_time_proportional_to_its_length(block: str) -> None:
    expect_linear(lambda size: is_well_formed('a;b="c' + block * (size // len(block))))


@pytest.mark.parametrize("version", [7, 8, 13])
def test_malformed_list_is_refused_in_each_version(version: int) -> None:
    for text in MALFORMED:
        headers = upgrade_headers(version) | {"Sec-WebSocket-Extensions": text}
        if text.isprintable():
            with case(text):
                refused = refuse(headers)
                assert refused.status == 400
                assert b"Sec-WebSocket-Extensions" in refused.body


def test_several_fields_are_one_list() -> None:
    def judge(*fields: str) -> None:
        pairs = [("Sec-WebSocket-Extensions", field) for field in fields]
        head = parse([*upgrade_headers().items(), *pairs])
        options = Options()
        check(head, "rfc6455", options.version, options.origin)

    judge("a", "", "b")
    judge("", "a")
    for fields in [("", ""), ("a", "b;"), ("a;", "b")]:
        with case(fields), pytest.raises(sockwave.Refused):
            judge(*fields)


@pytest.mark.parametrize("options", [{}, {"compression": True}])
async def test_fast_path_and_strict_path_answer_alike(
    options: dict[str, Any], start_server: StartServer
) -> None:
    server = await start_server(**options)
    handshakes: list[Handshake] = []

    async def ask(text: str) -> tuple[int, str | None]:
        headers = upgrade_headers() | {"Sec-WebSocket-Extensions": text}
        async with await Wire.open(server.addresses[0]) as wire:
            wire.write(build_request(headers))
            head = await wire.receive_head()
            return head.status, head.headers.get("sec-websocket-extensions")

    for text in [*WELL_FORMED, *MALFORMED]:
        with case(text):
            is_fine = text in WELL_FORMED
            raw = build_request(upgrade_headers() | {"Sec-WebSocket-Extensions": text})
            assert is_fast_request(raw) == is_fine
            fast = await ask(text)
            server.on("handshake", handshakes.append)  # which no request passes at a glance
            strict = await ask(text)
            server.off("handshake", handshakes.append)
            assert fast == strict
            assert fast[0] == (101 if is_fine else 400)
    assert len(handshakes) == len(WELL_FORMED)


async def test_application_of_asgi_is_not_asked_for_a_malformed_list(
    start_server: StartServer,
) -> None:
    calls: list[str] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        calls.append(scope["type"])

    server = await start_server(asgi=application, lifespan="off")
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(build_request(upgrade_headers() | {"Sec-WebSocket-Extensions": "a;"}))
        assert (await wire.receive_head()).status == 400
    assert calls == []


async def test_drafts_know_no_extensions(start_server: StartServer) -> None:
    server = await start_server()
    async with await Wire.open(server.addresses[0]) as wire:
        wire.write(build_request(hixie_headers(75) | {"Sec-WebSocket-Extensions": "a;"}))
        assert (await wire.receive_head()).status == 101
