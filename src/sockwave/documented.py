"""Docstrings for what Python gives none: the fields of classes, and enums of ints without int's."""

from enum import EnumType


class OwnNames(EnumType):
    """The type of an enum of ints whose `help` and `dir` list what is its own, and no int's."""

    def __dir__(cls) -> list[str]:
        return sorted([name for name in vars(cls) if not name.startswith("_")])


def describe_fields(cls: type, **docs: str) -> None:
    """Give the fields of a named tuple, or of a class with slots, their docstrings."""
    if issubclass(cls, tuple):
        for name, doc in docs.items():
            getattr(cls, name).__doc__ = doc
    else:
        # Where `inspect.getdoc` looks, whether Python or `dataclasses` has made the slots.
        slots = dict.fromkeys(vars(cls)["__slots__"]) | docs
        type.__setattr__(cls, "__slots__", slots)
