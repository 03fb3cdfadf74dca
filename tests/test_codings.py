"""Which content codings a client takes: RFC 9110, 12.5.3."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sockwave
from sockwave.http.codings import SUFFIXES, accepted_codings


@pytest.mark.parametrize(
    ("field", "codings"),
    [
        ("gzip", "gzip"),
        ("GZIP", "gzip"),
        ("x-gzip", "gzip"),
        ("gzip, deflate, br", "br gzip"),
        ("gzip, deflate, br, zstd", "br zstd gzip"),
        ("gzip;q=0.8, br;q=0.5", "gzip br"),
        ("gzip;q=0.8, br;q=0.5, zstd", "zstd gzip br"),
        ("gzip ; q=0.8 , br ; Q=0.9", "br gzip"),
        ("gzip;q=0.001", "gzip"),
        ("gzip;q=1.000", "gzip"),
        ("gzip;q=1.", "gzip"),
        ("gzip;q=0", ""),
        ("gzip;q=0.000, br", "br"),
        ("gzip;q=0.0001", ""),
        ("gzip;q=1.001", ""),
        ("gzip;q=2", ""),
        ("gzip;q=-1", ""),
        ("gzip;q=nan", ""),
        ("gzip;q", ""),
        ("gzip;level=9", ""),
        ("gzip;q=1;q=1", ""),
        ("gzip;q=0, gzip", ""),
        ("*", "br zstd gzip"),
        ("*;q=0.5", "br zstd gzip"),
        ("*, br;q=0", "zstd gzip"),
        ("gzip, *;q=0", "gzip"),
        ("*;q=0", ""),
        ("identity", ""),
        ("identity, gzip;q=0.5", ""),
        ("identity;q=0.5, gzip;q=0.5", "gzip"),
        ("identity;q=0.5, gzip", "gzip"),
        ("identity;q=0, br", "br"),
        ("deflate, compress", ""),
        ("", ""),
        (" , ,gzip,, ", "gzip"),
        ("gzipped, brr", ""),
        ("g\xffzip", ""),
    ],
)
def test_codings_are_taken_by_their_weight(field: str, codings: str) -> None:
    headers = sockwave.Headers([("Accept-Encoding", field)])
    assert accepted_codings(headers) == codings.split()


def test_client_that_does_not_say_gets_the_file_as_it_is() -> None:
    assert accepted_codings(sockwave.Headers()) == []


def test_lines_of_the_field_are_one_list() -> None:
    headers = sockwave.Headers([("Accept-Encoding", "gzip;q=0.5"), ("accept-encoding", "br")])
    assert accepted_codings(headers) == ["br", "gzip"]


@given(st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=60))
def test_any_field_gives_codings_that_we_know(text: str) -> None:
    for field in (text, f"gzip;q={text}", f"br, {text}"):
        found = accepted_codings(sockwave.Headers([("Accept-Encoding", field)]))
        assert set(found) <= SUFFIXES.keys()
        assert len(set(found)) == len(found)
