"""The plugin of sockwave for pytest: servers and clients that end with the test.

It stands beside the package, and imports it only for a test that asks for a fixture: what pytest
loads costs every run of everybody.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from sockwave import ClientConnection
    from sockwave.testing.fixtures import AsyncTest, Kit
    from sockwave.testing.watch import Watch

_KIT_NAME = "_sockwave_kit"

# What holds all that a test opens, and whether an async test runs, at the end of which it ends.
_KIT: pytest.StashKey[Kit | None] = pytest.StashKey()
_IS_RUNNING: pytest.StashKey[bool] = pytest.StashKey()

_REFUSAL = (
    "sockwave_server, sockwave_client: expected an async test, or one under "
    "sockwave.testing.virtual_clock, which ends what they open; {} is a plain function"
)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Have sockwave imported as it is.

    pytest would rewrite the asserts of all that is installed with a plugin, and where it cannot
    keep what it has compiled, parse a hundred modules in every run for that.
    """
    hook = getattr(early_config.pluginmanager, "rewrite_hook", None)
    rewritten = getattr(hook, "_must_rewrite", None)
    if isinstance(rewritten, set):
        rewritten.discard("sockwave")


def pytest_configure(config: pytest.Config) -> None:
    """Announce the mark."""
    config.addinivalue_line(
        "markers",
        "sockwave(timeout): how many seconds the test may take before it is said to hang",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse marks that say nothing, or something else."""
    for item in items:
        _read_mark(item)


def _read_mark(item: pytest.Item) -> float | None:
    """Return the timeout of a test, if its mark has one. Raises UsageError."""
    mark = item.get_closest_marker("sockwave")
    if mark is None:
        return None
    from inspect import signature

    from sockwave.testing.watch import check_timeout

    try:
        return check_timeout(*signature(check_timeout).bind(*mark.args, **mark.kwargs).args)
    except (TypeError, ValueError) as error:
        given = [repr(value) for value in mark.args]
        given += [f"{name}={value!r}" for name, value in mark.kwargs.items()]
        raise pytest.UsageError(
            f"{item.nodeid}: the mark sockwave: expected sockwave(timeout=SECONDS), "
            f"given sockwave({', '.join(given)}): {error}"
        ) from None


@pytest.fixture
def _sockwave_kit(request: pytest.FixtureRequest) -> Iterator[Kit]:
    """Give what holds all that the test opens."""
    item = request.node
    kit = item.stash.get(_KIT, None) or _make_kit(item)
    yield kit
    item.stash[_KIT] = None
    kit.end()


def _make_kit(item: pytest.Item) -> Kit:
    """Make what holds all that a test opens, and note it."""
    from sockwave.testing.fixtures import Kit

    item.stash[_KIT] = kit = Kit(
        _read_mark(item),
        refusal=None if _find_async(item) is not None else _REFUSAL.format(item.name),
        is_late=item.stash.get(_IS_RUNNING, False),
    )
    return kit


@pytest.fixture
def sockwave_server(_sockwave_kit: Kit) -> Callable[..., Awaitable[str]]:
    """Give a function that serves on a free port until the test ends.

    `url = await sockwave_server(handler)`: the arguments are those of `sockwave.testing.serve`,
    but for `timeout`, which is that of the whole test: `@pytest.mark.sockwave(timeout=30)`.
    """
    return _sockwave_kit.serve


@pytest.fixture
def sockwave_client(_sockwave_kit: Kit) -> Callable[..., Awaitable[ClientConnection]]:
    """Give a function that connects until the test ends.

    `conn = await sockwave_client(url)`: the options are those of `sockwave.connect`.
    """
    return _sockwave_kit.connect


@pytest.fixture
def sockwave_port() -> int:
    """Give a port of 127.0.0.1 that nothing listens on, for a program that is told one."""
    from sockwave.testing import find_free_port

    return find_free_port()


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any]) -> Generator[None, object, object]:
    """Note which fixture serves across its yield, by `testing.serve` or `testing.pair`."""
    before = _list_watches()
    result = yield
    for watch in _list_watches():
        if watch not in before and watch.fixture is None:
            watch.fixture = fixturedef.argname
    return result


def _list_watches() -> list[Watch]:
    """List the blocks of `testing.serve` and `testing.pair` that have not ended."""
    module = sys.modules.get("sockwave.testing.watch")
    return [] if module is None else list(module.watches)


@pytest.hookimpl(tryfirst=True, wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Have an async test end what its fixtures have opened, in its own task.

    So it is the same with every plugin that runs async tests: pytest-asyncio, anyio.
    """
    names = getattr(item, "fixturenames", ())
    watches = [watch for watch in _list_watches() if watch.fixture in names]
    if watches or item.get_closest_marker("sockwave") is not None:
        kit = item.stash.get(_KIT, None) or _make_kit(item)
        kit.watch_for(watches)
    found = _find_async(item)
    test: Any = None if found is None else getattr(*found)
    if found is not None and ("request" in names or item.stash.get(_KIT, None) is not None):
        setattr(*found, _wrap(item, test))
    try:
        with _planning(item):
            return (yield)
    finally:
        if found is not None:
            setattr(*found, test)  # it may be run again, with fixtures of its own
        if _KIT_NAME not in names:
            item.stash[_KIT] = None


def _find_async(item: pytest.Item) -> tuple[Any, str] | None:
    """Return where an async test stands: an object, and its attribute; None: there is none."""
    from inspect import iscoroutinefunction

    if not isinstance(item, pytest.Function):
        return None
    # Hypothesis makes a plain function of it, which runs it for each example.
    handle = getattr(item.obj, "hypothesis", None)
    place = (item, "obj") if handle is None else (handle, "inner_test")
    return place if iscoroutinefunction(getattr(place[0], place[1], None)) else None


def _wrap(item: pytest.Item, test: AsyncTest) -> AsyncTest:
    """Have an async function end what the fixtures of a test have opened."""

    @functools.wraps(test)
    async def run_test(*args: Any, **kwargs: Any) -> Any:
        async with _Ending(item):
            return await test(*args, **kwargs)

    return run_test


class _Ending:
    """Ends what the fixtures of a test have opened, those as well that it asks for as it runs."""

    def __init__(self, item: pytest.Item) -> None:
        self._item = item

    async def __aenter__(self) -> None:
        self._item.stash[_IS_RUNNING] = True
        kit = self._item.stash.get(_KIT, None)
        if kit is not None:
            await kit.__aenter__()

    async def __aexit__(self, *error: Any) -> bool | None:
        self._item.stash[_IS_RUNNING] = False
        kit = self._item.stash.get(_KIT, None)
        return None if kit is None else await kit.__aexit__(*error)


@contextmanager
def _planning(item: pytest.Item) -> Iterator[None]:
    """Let a test that runs its own loop know how it ends, if it is one of ours."""
    module = sys.modules.get("sockwave.testing.fixtures")
    if module is None:
        yield
        return
    plan = module.Plan(functools.partial(_wrap, item), _read_mark(item))
    token = module.running_plan.set(plan)
    try:
        yield
    finally:
        module.running_plan.reset(token)
