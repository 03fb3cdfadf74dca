"""What a server and a client agree on about compression (RFC 7692, section 7.1)."""

import dataclasses
import os
import subprocess
import sys
import time
from typing import Any

import pytest
from costs import Costs
from hypothesis import given
from hypothesis import strategies as st
from prepared import EXECUTED
from together import together

from sockwave import Deflate
from sockwave.deflate import Agreement, negotiate
from sockwave.options import Options

DEFAULT = Deflate()
# All that RFC 7692 lets both sides have.
FULL = Deflate(
    server_max_window_bits=15,
    client_max_window_bits=15,
    server_context_takeover=True,
    server_history_size=32768,
    client_context_takeover=True,
)
REMEMBERS = Deflate(server_context_takeover=True)


def agree(*values: str, settings: Deflate = FULL) -> Agreement:
    """Negotiate what must end in an agreement."""
    agreement = negotiate(values, settings)
    assert agreement is not None
    return agreement


# ---- settings ------------------------------------------------------------------------------------


def test_defaults_remember_nothing() -> None:
    assert dataclasses.asdict(DEFAULT) == {
        "server_max_window_bits": 12,
        "client_max_window_bits": 12,
        "memory_level": 5,
        "level": 2,
        "server_context_takeover": False,
        "server_history_size": 1024,
        "client_context_takeover": False,
        "threshold": 1024,
    }


def test_zlib_takes_the_place_of_zlib_ng_where_that_is_missing() -> None:
    program = """
import sys, zlib
sys.modules["zlib_ng"] = None  # what Python makes of a package that is not there
import sockwave.deflate
print(sockwave.deflate.library is zlib)
"""
    environment = os.environ | EXECUTED
    command = [sys.executable, "-c", program]
    said = subprocess.run(command, check=True, capture_output=True, env=environment)
    assert said.stdout.split() == [b"True"]


def test_settings_cannot_be_changed_later() -> None:
    settings: Any = Deflate()
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.level = 9


@together
@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("server_max_window_bits", 9, 15),
        ("client_max_window_bits", 9, 15),
        ("memory_level", 1, 9),
        ("level", 0, 9),
        ("server_history_size", 1, 32768),
        ("threshold", 0, None),
    ],
)
def test_setting_is_held_to_its_range(name: str, least: int, most: int | None) -> None:
    assert getattr(Deflate(**{name: least}), name) == least  # type: ignore[arg-type]
    wrong = [least - 1]
    if most is not None:
        assert getattr(Deflate(**{name: most}), name) == most  # type: ignore[arg-type]
        wrong.append(most + 1)
    for value in wrong:
        with pytest.raises(ValueError, match=f"^{name}: expected .*{least}.*, given {value}$"):
            Deflate(**{name: value})  # type: ignore[arg-type]
    for value in (None, True, 9.0, "9"):
        with pytest.raises(TypeError, match=f"^{name}: expected int, given"):
            Deflate(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["server_context_takeover", "client_context_takeover"])
def test_context_takeover_is_a_bool(name: str) -> None:
    with pytest.raises(TypeError, match=f"^{name}: expected bool, given int$"):
        Deflate(**{name: 1})  # type: ignore[arg-type]


def test_compression_is_off_unless_it_is_asked_for() -> None:
    assert Options().compression is None
    assert Options(compression=None).compression is None
    assert Options(compression=False).compression is None
    assert Options(compression=True).compression == Deflate()
    assert Options(compression=FULL).compression is FULL


@pytest.mark.parametrize("value", [1, "deflate", {"level": 1}, Deflate])
def test_compression_of_another_type_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match=r"^compression: expected True, False, None or sockwave"):
        Options(compression=value)


# ---- each parameter ------------------------------------------------------------------------------


def test_plain_offer_gets_what_the_server_has() -> None:
    assert agree("permessage-deflate").answer == "permessage-deflate"
    assert agree("permessage-deflate", settings=DEFAULT).answer == (
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover; "
        "server_max_window_bits=12"
    )


def test_offer_of_a_browser_gets_all_four_parameters() -> None:
    found = agree("permessage-deflate; client_max_window_bits", settings=DEFAULT)
    assert found.answer == (
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover; "
        "server_max_window_bits=12; client_max_window_bits=12"
    )
    assert (found.server_window_bits, found.client_window_bits) == (12, 12)
    assert (found.server_context_takeover, found.client_context_takeover) == (False, False)


def test_server_that_remembers_does_not_answer_that_it_does_not() -> None:
    offer = "permessage-deflate; client_max_window_bits"
    found = agree(offer, settings=REMEMBERS)
    assert found.answer == (
        "permessage-deflate; client_no_context_takeover; "
        "server_max_window_bits=12; client_max_window_bits=12"
    )
    assert found.server_context_takeover


def test_client_decides_that_there_is_no_server_context_takeover() -> None:
    found = agree("permessage-deflate; server_no_context_takeover")
    assert found.answer == "permessage-deflate; server_no_context_takeover"
    assert not found.server_context_takeover
    assert found.client_context_takeover


def test_client_that_forgoes_its_context_takeover_is_taken_at_its_word() -> None:
    found = agree("permessage-deflate; client_no_context_takeover")
    assert found.answer == "permessage-deflate; client_no_context_takeover"
    assert found.server_context_takeover
    assert not found.client_context_takeover


@together
@pytest.mark.parametrize("bits", range(9, 16))
def test_server_window_is_the_smaller_one(bits: int) -> None:
    for own in range(9, 16):
        found = agree(
            f"permessage-deflate; server_max_window_bits={bits}",
            settings=dataclasses.replace(FULL, server_max_window_bits=own),
        )
        assert found.server_window_bits == min(bits, own)
        assert found.answer == f"permessage-deflate; server_max_window_bits={min(bits, own)}"


@together
@pytest.mark.parametrize("bits", range(8, 16))
def test_client_window_is_never_larger_than_what_the_client_says(bits: int) -> None:
    for own in range(9, 16):
        found = agree(
            f"permessage-deflate; client_max_window_bits={bits}",
            settings=dataclasses.replace(FULL, client_max_window_bits=own),
        )
        assert found.answer == f"permessage-deflate; client_max_window_bits={min(bits, own)}"
        assert found.client_window_bits == max(min(bits, own), 9)  # zlib makes 9 of 8


def test_client_that_cannot_limit_its_window_is_not_told_to() -> None:
    found = agree("permessage-deflate", settings=DEFAULT)
    assert "client_max_window_bits" not in found.answer
    assert found.client_window_bits == 15


def test_server_window_that_zlib_cannot_make_is_declined() -> None:
    assert negotiate(["permessage-deflate; server_max_window_bits=8"], FULL) is None


# ---- several offers ------------------------------------------------------------------------------


def test_first_acceptable_offer_wins() -> None:
    found = agree(
        "permessage-deflate; server_max_window_bits=8, x-webkit-deflate-frame,"
        "permessage-deflate; server_max_window_bits=10, permessage-deflate"
    )
    assert found.answer == "permessage-deflate; server_max_window_bits=10"


def test_offers_stand_in_several_fields() -> None:
    found = agree("permessage-bzip2", "permessage-deflate; unknown", "permessage-deflate")
    assert found.answer == "permessage-deflate"


def test_white_space_and_empty_elements_do_not_matter() -> None:
    offer = ", ,\t permessage-deflate\t;  server_max_window_bits \t=\t10 , "
    assert agree(offer).answer == "permessage-deflate; server_max_window_bits=10"


def test_value_may_be_a_quoted_string() -> None:
    offer = 'other; a="b", permessage-deflate; server_max_window_bits="10"'
    assert agree(offer).server_window_bits == 10


def test_separators_in_quoted_strings_separate_nothing() -> None:
    offer = 'other; a="x, permessage-deflate; b", permessage-deflate; server_max_window_bits=10'
    assert agree(offer).server_window_bits == 10
    assert negotiate(['other; a="x, permessage-deflate, y"'], FULL) is None


# ---- what is declined (section 7.1, and the record of other servers) -----------------------------

WRONG_VALUES = [
    *("0", "7", "16", "99", "", "-1", "+9", "09", "0x9", "9.0", "9 9", "\uff19", "nan", "1" * 5000),
    *('"15;15"', '""', '"', '"15', '15"', '"1""5"', '"15" x', "15;15", "'15'", "constructor"),
    *('"1\\5"', "\\15", "\x00", "\x7f", "é", "15="),
]


@together
@pytest.mark.parametrize("value", WRONG_VALUES)
@pytest.mark.parametrize("name", ["server_max_window_bits", "client_max_window_bits"])
def test_wrong_window_bits_are_declined(name: str, value: str) -> None:
    assert negotiate([f"permessage-deflate; {name}={value}"], FULL) is None


@together
@pytest.mark.parametrize(
    "offer",
    [
        "permessage-deflate; server_max_window_bits",  # 7.1.2.1: this one needs a value
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; client_no_context_takeover=",
        "permessage-deflate; client_no_context_takeover=true",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        "permessage-deflate; client_max_window_bits; client_max_window_bits=10",
        "permessage-deflate; server_max_window_bits=10; server_max_window_bits=10",
        "permessage-deflate; unknown",
        "permessage-deflate; unknown=10",
        "permessage-deflate; constructor; __proto__",
        "permessage-deflate; Server_No_Context_Takeover",
        "permessage-deflate;",
        "permessage-deflate; ; server_no_context_takeover",
        "permessage-deflate; =10",
        "permessage-deflate=10",
        "permessage-deflate server_no_context_takeover",
        "permessage-deflat",
        "permessage-deflate2",
        '"permessage-deflate"',
        "",
        ";",
        ",",
        '"',
    ],
)
def test_offer_that_is_wrong_is_declined(offer: str) -> None:
    assert negotiate([offer], FULL) is None


def test_malformed_offer_does_not_hurt_the_one_before_it() -> None:
    found = agree('permessage-deflate; server_max_window_bits=11, permessage-deflate; x="')
    assert found.server_window_bits == 11


def test_no_field_is_no_offer() -> None:
    assert negotiate([], FULL) is None


@together
@pytest.mark.parametrize(
    "block",
    [
        "permessage-deflate; unknown, ",
        "permessage-deflate; server_max_window_bits=8,",
        'permessage-deflate; x="',
        '"',
        '",',
        '"a"',
        ";",
        ",",
        " ",
        "\t;",
        "\\",
        "=",
        "a",
    ],
)
def test_long_offers_are_declined_in_time_proportional_to_their_length(block: str) -> None:
    def measure(size: int) -> float:
        text = "permessage-deflate; x=" + (block * (size // len(block) + 1))[:size]
        start = time.perf_counter()
        assert negotiate([text], FULL) is None
        return time.perf_counter() - start

    measure(1000)
    costs = Costs(64, floor_s=1e-5)
    while costs.are_in_doubt:
        costs.take(measure(2**10), measure(2**15))
    assert costs.ratio < 64


@given(
    st.lists(
        st.one_of(
            st.text(max_size=60),
            st.lists(
                st.sampled_from(
                    [
                        "permessage-deflate",
                        "server_max_window_bits",
                        "client_max_window_bits",
                        "server_no_context_takeover",
                        "client_no_context_takeover",
                        *(";", ",", "=", '"', "\\", " ", "9", "15", "\t", "\0"),
                    ]
                ),
                max_size=20,
            ).map("".join),
        ),
        max_size=4,
    )
)
def test_no_offer_ever_raises(values: list[str]) -> None:
    for settings in (DEFAULT, FULL):
        found = negotiate(values, settings)
        if found is not None:
            assert 9 <= found.server_window_bits <= settings.server_max_window_bits
            assert 9 <= found.client_window_bits <= 15
            # The answer is an offer as well, and leads to itself.
            assert agree(found.answer, settings=settings) == found
