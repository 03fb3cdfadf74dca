"""Many cases in one test: those that are over before a test of their own would have begun."""

import contextlib
import dataclasses
import functools
import inspect
import itertools
import operator
import reprlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

PARAMETER_SET = type(pytest.param())


@dataclasses.dataclass
class Case:
    """What a test is called with, and how the one who reads of its failure knows it."""

    name: str
    arguments: dict[str, Any]

    def __add__(self, other: "Case") -> "Case":
        return Case(f"{self.name}, {other.name}", self.arguments | other.arguments)


def list_cases(mark: pytest.Mark) -> list[Case]:
    """Give the cases of one `parametrize`, named by its `ids` where that lists them."""
    argnames, argvalues = mark.args
    names = argnames.replace(" ", "").split(",") if isinstance(argnames, str) else argnames
    ids = mark.kwargs.get("ids") or ()
    cases = []
    for value, id_ in itertools.zip_longest(argvalues, () if callable(ids) else ids):
        row: Any = (value,) if len(names) == 1 else value
        if isinstance(value, PARAMETER_SET):
            row, id_ = value.values, value.id  # noqa: PLW2901 - as `parametrize` does
        cases.append(Case(id_ or reprlib.repr(row), dict(zip(names, row, strict=True))))
    return cases


class Cases:
    """The cases of one test, and the errors of those that have failed."""

    def __init__(self, test: Callable[..., Any]) -> None:
        marks: list[pytest.Mark] = test.pytestmark  # type: ignore[attr-defined]
        lists = [list_cases(mark) for mark in marks if mark.name == "parametrize"]
        self.all = [functools.reduce(operator.add, chosen) for chosen in itertools.product(*lists)]
        self.errors: list[BaseException] = []

    @contextlib.contextmanager
    def named(self, case: Case) -> Iterator[None]:
        """Keep the error of the case in the block, by its name."""
        try:
            yield
        except (Exception, pytest.fail.Exception) as error:
            error.add_note(f"case: {case.name}")
            self.errors.append(error)

    def judge(self) -> None:
        """Fail if a case has failed."""
        errors, self.errors = self.errors, []
        if errors:
            raise BaseExceptionGroup(f"{len(errors)} of {len(self.all)} cases failed", errors)


def together(test: Callable[..., Any]) -> Any:
    """Run all cases of the `parametrize` below in one test, which tells of each that fails.

    They share the fixtures: it is for cases that leave nothing there for the next one.
    """
    cases = Cases(test)

    @functools.wraps(test)
    def run(**fixtures: Any) -> None:
        for case in cases.all:
            with cases.named(case):
                test(**fixtures, **case.arguments)
        cases.judge()

    @functools.wraps(test)
    async def run_async(**fixtures: Any) -> None:
        for case in cases.all:
            with cases.named(case):
                await test(**fixtures, **case.arguments)
        cases.judge()

    made: Any = run_async if inspect.iscoroutinefunction(test) else run
    signature = inspect.signature(test)
    made.__signature__ = signature.replace(
        parameters=[
            one for one in signature.parameters.values() if one.name not in cases.all[0].arguments
        ]
    )
    made.pytestmark = [mark for mark in made.pytestmark if mark.name != "parametrize"]
    made.cases = cases
    return made
