"""Which subprotocol is chosen (RFC 6455, section 1.9)."""

from typing import Any

import pytest
from opening import open_handshake, parse, refuse
from together import together
from wire import Headers, hixie_headers, upgrade_headers

from sockwave.handshake import read_subprotocols
from sockwave.http import RequestHead

MODERN = pytest.mark.parametrize("version", [7, 8, 13])


def choose(headers: Headers, subprotocol: Any) -> str | None:
    """Give the subprotocol chosen, having checked that the answer tells it."""
    _, chosen, response = open_handshake(parse(headers), subprotocol=subprotocol)
    told = [line for line in response.split(b"\r\n") if b"websocket-protocol:" in line.lower()]
    if chosen is None:
        assert told == []
    else:
        assert [line.split(b": ")[1] for line in told] == [chosen.encode()]
    return chosen


def offer(*values: str, version: int = 13) -> list[tuple[str, str]]:
    """Give the headers of a request with these fields of subprotocols."""
    headers = hixie_headers(version) if version > 70 else upgrade_headers(version)
    name = "WebSocket-Protocol" if version == 75 else "Sec-WebSocket-Protocol"
    return [*headers.items(), *((name, value) for value in values)]


@pytest.mark.parametrize("version", [75, 76, 7, 8, 13])
def test_the_first_of_ours_that_was_offered_is_chosen(version: int) -> None:
    offered = offer("a, b, c", version=version)
    assert choose(offered, ["d", "c", "a"]) == "c"
    assert choose(offered, "b") == "b"
    assert choose(offered, ["d", "e"]) is None
    assert choose(offered, None) is None
    assert choose(offer(version=version), ["a"]) is None


@MODERN
def test_an_offer_may_be_repeated(version: int) -> None:
    assert choose(offer("a", "b,c", version=version), ["c"]) == "c"


@pytest.mark.parametrize("version", [75, 76])
def test_the_drafts_join_an_offer_with_spaces(version: int) -> None:
    assert choose(offer("a b  c", version=version), ["c", "b"]) == "c"


def test_names_are_compared_with_case() -> None:
    assert choose(offer("Chat"), "chat") is None


def test_an_offer_is_read_in_order_each_name_once() -> None:
    assert read_subprotocols(parse(offer("b, a,,b", "\tc "))) == ["b", "a", "c"]


def test_the_name_of_draft_75_means_nothing_in_other_versions() -> None:
    for version in (7, 8, 13):
        headers = upgrade_headers(version) | {"WebSocket-Protocol": "chat"}
        assert choose(headers, "chat") is None


@together
@MODERN
@pytest.mark.parametrize("name", ["a b", "a/b", "\xe9", "a\x85b", 'a"b"', "a;b=1", "{}", "a\xa0"])
def test_an_offer_that_is_not_of_tokens_is_refused_with_400(version: int, name: str) -> None:
    assert refuse(offer(f"chat, {name}", version=version)).status == 400


@pytest.mark.parametrize("version", [75, 76, 7, 8, 13])
def test_an_offer_of_more_than_a_hundred_is_refused_with_400(version: int) -> None:
    assert refuse(offer(",".join(["a"] * 101), version=version)).status == 400


# ---- a function of the application ---------------------------------------------------------------


def test_a_function_chooses_from_the_offer_and_sees_the_request() -> None:
    seen = []

    def pick(offered: list[str], head: RequestHead) -> str | None:
        seen.append((offered, head.target))
        return offered[-1] if offered else None

    assert choose(offer("a, b"), pick) == "b"
    assert choose(offer(), pick) is None
    assert seen == [(["a", "b"], "/"), ([], "/")]


@together
@pytest.mark.parametrize("chosen", ["c", "A", "", "a\r\nSet-Cookie: x=y", "a, b", "\x85"])
def test_a_function_that_chooses_what_was_not_offered_is_an_error_of_the_application(
    chosen: str,
) -> None:
    def pick(offered: list[str], head: RequestHead) -> str | None:
        offered.append(chosen)
        return chosen

    with pytest.raises(ValueError, match="subprotocol: expected one of those offered"):
        open_handshake(parse(offer("a, b")), subprotocol=pick)


def test_a_function_that_chooses_something_else_is_an_error_of_the_application() -> None:
    choice: Any = ["a"]
    with pytest.raises(TypeError, match="subprotocol: expected str or None, given list"):
        open_handshake(parse(offer("a")), subprotocol=lambda offered, head: choice)
