"""What tells the versions of the protocol apart (RFC 6455, section 4.4)."""

from typing import Any

import pytest
from opening import open_handshake, parse, refuse
from together import together
from wire import KEY, KEY1, KEY2, hixie_headers, upgrade_headers

from sockwave.handshake import identify

REQUESTS = {
    "draft75": hixie_headers(75),
    "draft76": hixie_headers(76),
    "hybi-07": upgrade_headers(7),
    "hybi-08": upgrade_headers(8),
    "rfc6455": upgrade_headers(13),
}
MODERN = ["hybi-07", "hybi-08", "rfc6455"]


@pytest.mark.parametrize("version", REQUESTS)
def test_each_version_is_told_by_its_request(version: str) -> None:
    assert open_handshake(parse(REQUESTS[version]))[0] == version


@pytest.mark.parametrize("version", REQUESTS)
def test_each_version_can_be_the_only_one(version: str) -> None:
    assert open_handshake(parse(REQUESTS[version]), version=version)[0] == version


@pytest.mark.parametrize("version", REQUESTS)
def test_each_version_can_be_left_out(version: str) -> None:
    refused = refuse(REQUESTS[version], version=[name for name in REQUESTS if name != version])
    assert refused.status == (426 if version in MODERN else 400)


@pytest.mark.parametrize(
    ("accepted", "listed"),
    [
        ("rfc6455", "13"),
        (["hybi-08", "draft76", "rfc6455"], "13, 8"),
        (["hybi-08", "draft75"], "8"),
    ],
)
def test_a_refused_version_is_told_the_accepted_ones(accepted: Any, listed: str) -> None:
    refused = refuse(upgrade_headers(7), version=accepted)
    assert refused.status == 426
    assert dict(refused.headers) == {"Upgrade": "websocket", "Sec-WebSocket-Version": listed}


def test_a_refused_version_is_told_nothing_where_only_drafts_are_spoken() -> None:
    refused = refuse(upgrade_headers(13), version=["draft75", "draft76"])
    assert refused.status == 426
    assert dict(refused.headers) == {"Upgrade": "websocket"}


@together
@pytest.mark.parametrize("number", ["0", "1", "4", "6", "9", "12", "14", "255"])
def test_an_unknown_version_number_is_answered_with_426_and_the_known_ones(number: str) -> None:
    refused = refuse(upgrade_headers() | {"Sec-WebSocket-Version": number})
    assert refused.status == 426
    assert ("Sec-WebSocket-Version", "13, 8, 7") in refused.headers


def test_an_unknown_version_number_is_told_all_versions_when_no_options_are_known() -> None:
    with pytest.raises(Exception, match="refused with 426") as caught:
        identify(parse(upgrade_headers(12)))
    assert ("Sec-WebSocket-Version", "13, 8, 7") in caught.value.headers  # type: ignore[attr-defined]


@together
@pytest.mark.parametrize(
    "number",
    [
        "",
        "13, 8",
        "13,13",
        "013",
        "+13",
        "1 3",
        "13.0",
        "0xd",
        "256",
        "x",
        "\xb9\xb3",
        "13;",
        "-13",
    ],
)
def test_a_malformed_version_number_is_answered_with_400_and_the_known_ones(number: str) -> None:
    refused = refuse(upgrade_headers() | {"Sec-WebSocket-Version": number})
    assert refused.status == 400
    assert ("Sec-WebSocket-Version", "13, 8, 7") in refused.headers


@pytest.mark.parametrize("second", ["13", "8"])
def test_a_repeated_version_number_is_refused(second: str) -> None:
    pairs = [*upgrade_headers().items(), ("Sec-WebSocket-Version", second)]
    assert refuse(pairs).status == 400


def test_a_key_without_a_version_number_is_refused() -> None:
    headers = upgrade_headers()
    del headers["Sec-WebSocket-Version"]
    assert refuse(headers).status == 400


@pytest.mark.parametrize(
    "added", [{"Sec-WebSocket-Key": KEY}, {"Sec-WebSocket-Version": "13"}, upgrade_headers()]
)
def test_keys_of_two_versions_are_refused(added: dict[str, str]) -> None:
    assert refuse(hixie_headers(76) | added).status == 400


@pytest.mark.parametrize("added", [{"Sec-WebSocket-Key1": KEY1}, {"Sec-WebSocket-Key2": KEY2}])
def test_one_key_of_draft_76_alone_is_refused(added: dict[str, str]) -> None:
    assert refuse(hixie_headers(75) | added).status == 400
    assert refuse(upgrade_headers() | added).status == 400


@pytest.mark.parametrize(("draft", "status"), [("2", 426), ("3", 426), ("x", 426)])
def test_a_draft_with_the_keys_of_76_and_other_frames_is_refused(draft: str, status: int) -> None:
    assert refuse(hixie_headers(76) | {"Sec-WebSocket-Draft": draft}).status == status


def test_draft_76_may_say_that_it_is_hybi_00() -> None:
    head = parse(hixie_headers(76) | {"Sec-WebSocket-Draft": "0"})
    assert identify(head) == "draft76"


def test_versions_are_told_by_headers_in_any_case() -> None:
    folded = {name.upper(): value for name, value in REQUESTS["rfc6455"].items()}
    assert identify(parse(folded)) == "rfc6455"
    folded = {name.lower(): value for name, value in REQUESTS["draft76"].items()}
    assert identify(parse(folded)) == "draft76"
