"""Every option of the server: defaults, ranges, and what is said of a wrong one."""

import dataclasses
import re
import select
import sys
from typing import Any

import pytest
from together import together

from sockwave.limits import COUNTED_LIMITS, LIMIT_NAMES, Limits
from sockwave.options import ENGINES, Options
from sockwave.versions import VERSIONS

TIMES = [
    "handshake_timeout",
    "body_timeout",
    "answer_timeout",
    "keep_alive_timeout",
    "write_timeout",
    "ping_interval",
    "ping_timeout",
    "idle_timeout",
    "max_lifetime",
    "listen_timeout",
    "close_timeout",
    "finish_timeout",
]
RATES = ["message_rate", "byte_rate", "control_rate"]
BOUNDED_SIZES = [
    "fragment_count",
    "control_burst",
    "request_line_size",
    "header_count",
    "header_block_size",
    "pipelined_count",
    "queue_count",
    "queue_size",
    "high_water",
    "low_water",
    "subscription_count",
    "pattern_count",
    "topic_name_size",
    "topic_count",
    "history_budget",
    "append_size",
]
UNLIMITED_SIZES = [
    "body_size",
    "max_size",
    "max_backlog",
    "max_tasks",
    "max_finishing",
    "max_connections",
    "max_connections_per_address",
    "max_handshakes",
    "memory_budget",
]


def test_the_defaults_accept_everyone_in_every_version() -> None:
    options = Options()
    assert options.version == set(VERSIONS)
    assert options.origin == "*"
    assert options.subprotocol == ()
    assert options.engine == "auto"
    assert options.authorize is None
    assert options.compression is None
    assert options.slow == "close"
    assert options.limits == Limits()


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [
        ("orign", "origin"),
        ("maxsize", "max_size"),
        ("Version", "version"),
        ("protocol", "subprotocol"),
    ],
)
def test_an_unknown_option_raises_with_the_nearest_name(misspelt: str, meant: str) -> None:
    with pytest.raises(TypeError) as caught:
        Options(**{misspelt: "x"})
    assert str(caught.value) == f"unknown option {misspelt!r}; did you mean {meant!r}?"


def test_an_unknown_option_like_no_other_raises_with_all_the_names() -> None:
    with pytest.raises(
        TypeError,
        match=r"unknown option 'zzzz'; the options are access_log, answer_timeout, .*version",
    ):
        Options(zzzz=1)


# ---- limits --------------------------------------------------------------------------------------


def test_every_limit_is_an_option_of_the_same_name() -> None:
    assert {*TIMES, *RATES, *BOUNDED_SIZES, *UNLIMITED_SIZES, "lifetime_jitter"} == LIMIT_NAMES
    for name in LIMIT_NAMES - {"low_water", "max_backlog", "byte_rate", "lifetime_jitter"}:
        assert getattr(Options(**{name: 7}).limits, name) == 7


def test_every_limit_says_what_it_costs_and_what_counts_it() -> None:
    for limit in dataclasses.fields(Limits):
        assert set(limit.metadata) == {"kind", "least", "unlimited", "costs", "metric"}
        for cost in limit.metadata["costs"]:
            assert 400 <= cost <= 599 or 1001 <= cost <= 1013
        if limit.metadata["metric"] is None:
            assert not limit.metadata["costs"]
        else:
            assert limit.metadata["metric"] == "sockwave_limit_hits_total"
            assert limit.name in COUNTED_LIMITS


def test_no_limit_is_off_unless_the_default_says_why() -> None:
    off = {limit.name for limit in dataclasses.fields(Limits) if limit.default is None}
    # What only the operator can know, and has to say.
    assert off == {
        "max_connections_per_address",
        "max_lifetime",
        "memory_budget",
        "message_rate",
        "byte_rate",
    }


def test_limits_cannot_be_changed_later() -> None:
    limits: Any = Limits()
    with pytest.raises(dataclasses.FrozenInstanceError):
        limits.max_size = None


@together
@pytest.mark.parametrize("name", [*TIMES, *RATES, *UNLIMITED_SIZES])
def test_none_means_unlimited_where_that_makes_sense(name: str) -> None:
    assert getattr(Options(**{name: None}).limits, name) is None


@together
@pytest.mark.parametrize("name", BOUNDED_SIZES)
def test_none_is_refused_where_nothing_else_bounds_the_memory(name: str) -> None:
    with pytest.raises(TypeError, match=f"^{name}: expected int, given NoneType$"):
        Options(**{name: None})


@together
@pytest.mark.parametrize("name", [*BOUNDED_SIZES, *UNLIMITED_SIZES])
@pytest.mark.parametrize("value", ["1", 1.0, True, b"1"])
def test_a_size_of_another_type_is_refused(name: str, value: object) -> None:
    sentence = f"^{name}: expected ('auto' or )?int.*, given {type(value).__name__}$"
    with pytest.raises(TypeError, match=sentence):
        Options(**{name: value})


@together
@pytest.mark.parametrize("name", [*BOUNDED_SIZES, *UNLIMITED_SIZES])
@pytest.mark.parametrize("value", [-1, sys.maxsize + 1, 10**30])
def test_a_size_out_of_range_is_refused(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"^{name}: expected at least .* given {value}$"):
        Options(**{name: value})


@together
@pytest.mark.parametrize("name", [*BOUNDED_SIZES, *sorted(set(UNLIMITED_SIZES) - {"body_size"})])
def test_a_size_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}: expected at least 1 .* given 0$"):
        Options(**{name: 0})


def test_bodies_can_be_refused_altogether() -> None:
    assert Options(body_size=0).limits.body_size == 0


@together
@pytest.mark.parametrize("name", TIMES)
@pytest.mark.parametrize("value", [0, -1, 0.0, float("nan"), float("inf"), 1e12])
def test_a_time_out_of_range_is_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"^{name}: expected more than 0 .*, given {value}$"):
        Options(**{name: value})


@together
@pytest.mark.parametrize("name", RATES)
@pytest.mark.parametrize("value", [0, -1, 0.0, float("nan"), float("inf"), -float("inf"), 1e12])
def test_a_rate_out_of_range_is_refused(name: str, value: float) -> None:
    with pytest.raises(
        ValueError, match=f"^{name}: expected more than 0 .* a number a second .*, given {value}$"
    ):
        Options(**{name: value})


@together
@pytest.mark.parametrize("name", RATES)
@pytest.mark.parametrize("value", ["10", b"10", [], True])
def test_a_rate_of_another_type_is_refused(name: str, value: object) -> None:
    with pytest.raises(TypeError, match=f"^{name}: expected a number a second as int or float"):
        Options(**{name: value})


def test_a_message_of_the_largest_size_must_fit_the_byte_rate() -> None:
    assert Options(byte_rate=500, max_size=1000).limits.byte_rate == 500
    assert Options(byte_rate=1, max_size=None).limits.byte_rate == 1
    with pytest.raises(ValueError, match=r"^byte_rate: expected at least 524288, .*given 524287$"):
        Options(byte_rate=524287)


def test_auto_is_for_the_number_of_connections_alone() -> None:
    assert Options().limits.max_connections == "auto"
    assert Options(max_connections="auto").limits.max_connections == "auto"
    with pytest.raises(TypeError, match=r"^max_connections: expected 'auto' or int or None, given"):
        Options(max_connections="all")
    with pytest.raises(TypeError, match=r"^max_size: expected int or None, given str$"):
        Options(max_size="auto")


@pytest.mark.parametrize("value", ["10", b"10", [], True])
def test_a_time_of_another_type_is_refused(value: object) -> None:
    with pytest.raises(
        TypeError, match=r"^close_timeout: expected seconds as int or float or None"
    ):
        Options(close_timeout=value)


def test_the_low_water_mark_follows_the_high_one() -> None:
    assert Options(high_water=4000).limits.low_water == 1000
    assert Options(high_water=1).limits.low_water == 1
    assert Options(high_water=4000, low_water=4000).limits.low_water == 4000


def test_water_marks_and_backlog_must_stand_in_order() -> None:
    with pytest.raises(
        ValueError, match=r"^low_water: expected at most high_water \(100\), given 101$"
    ):
        Options(high_water=100, low_water=101)
    with pytest.raises(ValueError, match=r"^max_backlog: expected at least high_water \(65536\)"):
        Options(max_backlog=65535)


# ---- version -------------------------------------------------------------------------------------


@together
@pytest.mark.parametrize(
    ("given", "accepted"),
    [
        ("rfc6455", {"rfc6455"}),
        ("hybi-00", {"draft76"}),
        ("hybi-09", {"hybi-08"}),
        ("hybi-12", {"hybi-08"}),
        ("hybi-13", {"rfc6455"}),
        ("hybi-17", {"rfc6455"}),
        (["hybi-07", "hybi-10", "hybi-08"], {"hybi-07", "hybi-08"}),
        (("draft75", "hybi-00", "draft76"), {"draft75", "draft76"}),
        (["auto"], set(VERSIONS)),
    ],
)
def test_versions_have_one_name_each_and_aliases(given: Any, accepted: set[str]) -> None:
    assert Options(version=given).version == accepted


@together
@pytest.mark.parametrize("name", ["hybi-06", "hybi-18", "13", "RFC6455", "", "draft77"])
def test_an_unknown_version_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"version: expected 'auto' or one of .*, given '{name}'"):
        Options(version=["rfc6455", name])


@pytest.mark.parametrize("version", [13, None, b"rfc6455", ["rfc6455", 8]])
def test_a_version_of_another_type_is_refused(version: Any) -> None:
    with pytest.raises(TypeError, match="version: expected"):
        Options(version=version)


def test_an_empty_list_of_versions_is_refused() -> None:
    with pytest.raises(ValueError, match="version: expected at least one name"):
        Options(version=[])


# ---- origin, subprotocol, engine, authorize ------------------------------------------------------


def test_origins_are_folded_as_browsers_write_them() -> None:
    options = Options(origin=["HTTPS://Example.COM:443", "http://[::1]:8000", "null"])
    assert options.origin == {"https://example.com", "http://[::1]:8000", "null"}


@together
@pytest.mark.parametrize(
    "origin",
    [
        "example.com",
        "http://",
        "://a",
        "http://a/",
        "http://a b",
        "http://bücher.example",
        "",
        "http://u@a",
    ],
)
def test_what_no_browser_sends_as_origin_is_refused(origin: str) -> None:
    with pytest.raises(ValueError, match="origin: expected .* given " + re.escape(repr(origin))):
        Options(origin=origin)


@pytest.mark.parametrize("word", ["*", "same-origin"])
def test_a_word_for_many_origins_stands_alone(word: str) -> None:
    assert Options(origin=[word]).origin == word
    with pytest.raises(ValueError, match="alone, given it in a list"):
        Options(origin=[word, "http://example.com"])


@pytest.mark.parametrize("origin", [None, 1, b"*", [b"http://a"], []])
def test_an_origin_of_another_type_is_refused(origin: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="origin: expected"):
        Options(origin=origin)


def test_a_pattern_of_bytes_is_refused() -> None:
    pattern: Any = re.compile(b"http://.*")
    with pytest.raises(TypeError, match="origin: expected a pattern of str"):
        Options(origin=pattern)


@pytest.mark.parametrize("option", ["origin", "subprotocol"])
def test_an_async_function_is_refused_where_its_answer_is_needed_at_once(option: str) -> None:
    async def decide(*arguments: object) -> bool:
        return True

    with pytest.raises(TypeError, match=f"{option}: expected a plain function, given an async one"):
        Options(**{option: decide})


def test_subprotocols_stand_in_order_of_preference() -> None:
    assert Options(subprotocol="chat").subprotocol == ("chat",)
    assert Options(subprotocol=["v2.chat", "v1.chat"]).subprotocol == ("v2.chat", "v1.chat")


@together
@pytest.mark.parametrize("name", ["", "a b", "a,b", "a\r\nX: y", "é", "a\x00", "a/b", "\x85"])
def test_a_subprotocol_that_is_not_a_token_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="subprotocol: expected tokens"):
        Options(subprotocol=["chat", name])


@pytest.mark.parametrize("engine", ENGINES)
def test_engines_have_names(engine: str) -> None:
    if engine == "epoll" and sys.platform != "linux":
        pytest.skip("epoll is Linux's")
    assert Options(engine=engine).engine == engine


def test_an_unknown_engine_is_refused() -> None:
    engine: Any = None
    with pytest.raises(
        ValueError, match="engine: expected 'auto', 'epoll' or 'asyncio', given 'uv'"
    ):
        Options(engine="uv")
    with pytest.raises(TypeError, match="engine: expected str, given NoneType"):
        Options(engine=engine)


def test_epoll_is_refused_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(select, "epoll", raising=False)
    assert Options(engine="auto").engine == "auto"
    with pytest.raises(
        ValueError, match="engine: expected 'auto' or 'asyncio' on a system without"
    ):
        Options(engine="epoll")


def test_authorize_must_be_a_function() -> None:
    authorize: Any = "yes"
    with pytest.raises(TypeError, match="authorize: expected a function or None, given str"):
        Options(authorize=authorize)


@pytest.mark.parametrize("value", [0, 0.2, 0.999])
def test_a_jitter_is_a_part_of_what_it_varies(value: float) -> None:
    assert Limits(lifetime_jitter=value).lifetime_jitter == value


@together
@pytest.mark.parametrize(
    ("value", "error"),
    [
        (-0.1, ValueError),
        (1, ValueError),
        (float("nan"), ValueError),
        (None, TypeError),
        ("0.2", TypeError),
        (True, TypeError),
    ],
)
def test_a_jitter_that_is_no_part_raises(value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="lifetime_jitter: expected"):
        Limits(lifetime_jitter=value)


# ---- origins and proxies -------------------------------------------------------------------------


@together
@pytest.mark.parametrize(
    ("origin", "accepted"),
    [
        ([None], {None}),
        ([None, None], {None}),
        ((None, "HTTP://A:80"), {None, "http://a"}),
        ({"null", None}, {None, "null"}),
        ("file://", {"file://"}),
        (["file://", "null"], {"file://", "null"}),
        (iter(["http://a", None]), {"http://a", None}),
    ],
)
def test_origins_without_a_host_and_none_at_all_can_be_listed(
    origin: Any, accepted: set[str | None]
) -> None:
    assert Options(origin=origin).origin == frozenset(accepted)


@together
@pytest.mark.parametrize(
    ("origin", "error"),
    [
        (None, TypeError),
        ([None, 7], TypeError),
        ([None, "*"], ValueError),
        ([None, "same-origin"], ValueError),
        (["null", "same-origin"], ValueError),
        ("NULL", ValueError),
        ("FILE://", ValueError),
        ("file:///", ValueError),
        ("file:///home", ValueError),
        ("http://", ValueError),
    ],
    ids=repr,
)
def test_what_cannot_be_listed_beside_them_raises(origin: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="origin: expected"):
        Options(origin=origin)


@pytest.mark.parametrize("value", [None, 1, "yes", ["10.0.0.0/8"]])
def test_whether_a_forwarded_host_is_trusted_is_a_bool(value: Any) -> None:
    assert Options().trust_forwarded_host is False
    assert Options(trust_forwarded_host=True).trust_forwarded_host is True
    with pytest.raises(TypeError, match="trust_forwarded_host: expected bool, given"):
        Options(trust_forwarded_host=value)


@pytest.mark.parametrize("name", ["access_log", "server_header", "date_header"])
@pytest.mark.parametrize("value", [None, 1, "yes"])
def test_what_answers_say_and_the_log_are_switches(name: str, value: Any) -> None:
    assert getattr(Options(**{name: True}), name) is True
    assert getattr(Options(**{name: False}), name) is False
    with pytest.raises(TypeError, match=f"{name}: expected bool, given"):
        Options(**{name: value})


def test_headers_of_all_answers_are_checked() -> None:
    assert Options(response_headers=[("X-A", "1")]).response_headers == (("X-A", "1"),)
    for headers, error in (
        ([("X-A", "1\r\nX-B: 2")], ValueError),
        ([("Content-Length", "3")], ValueError),
        ([("X-A", 1)], TypeError),
    ):
        with pytest.raises(error):
            Options(response_headers=headers)


def test_which_forwarded_headers_are_read_is_checked() -> None:
    assert Options().forwarded_headers == "all"
    assert Options(forwarded_headers="x-forwarded").forwarded_headers == "x-forwarded"
    with pytest.raises(ValueError, match="forwarded_headers: expected 'all' or 'x-forwarded'"):
        Options(forwarded_headers="some")
    with pytest.raises(TypeError, match="forwarded_headers: expected str, given bool"):
        Options(forwarded_headers=True)  # type: ignore[arg-type]
