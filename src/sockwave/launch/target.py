"""TARGET: the application that is named by its module and attribute, and how it is found."""

import difflib
import importlib
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from sockwave.errors import LaunchError


def load_target(target: str, app_dir: str) -> object:
    """Import `module:attribute`, with `app_dir` as the first place where modules are looked for.

    Raises LaunchError where there is no such module or attribute, and whatever the module raises.
    """
    module_name, _, path = target.partition(":")
    if not module_name or not path:
        raise LaunchError(f"expected module:attribute, such as main:app, given {target!r}")
    if "/" in module_name or module_name.endswith(".py"):
        guess = module_name.removesuffix(".py").strip("./").replace("/", ".")
        raise LaunchError(f"expected the name of a module: {guess}:{path}, given {target!r}")
    directory = os.path.abspath(app_dir)
    if not os.path.isdir(directory):
        raise LaunchError(f"--app-dir: there is no directory {directory}")
    if directory not in sys.path:
        sys.path.insert(0, directory)
    found: object = _import(module_name, directory)
    module = found
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            where = getattr(module, "__file__", None) or "a namespace package"
            hint = _suggest(name, (one for one in dir(found) if not one.startswith("_")))
            of = module_name if found is module else f"{module_name}:{path}"
            raise LaunchError(f"{of} ({where}) has no {name!r}{hint}") from None
    return found


def _import(name: str, directory: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # Another module that is missing is an error in this one, and has its traceback.
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        missing = error.name
    parent, _, last = missing.rpartition(".")
    folder = Path(directory, *parent.split("."))
    hint = _suggest(last, _list_modules(folder))
    raise LaunchError(
        f"there is no module {missing!r} in {directory} (--app-dir), nor among the installed "
        f"ones{hint}"
    )


def _list_modules(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return [
        path.stem
        for path in sorted(folder.iterdir())
        if path.suffix == ".py" or (path.is_dir() and path.name.isidentifier())
    ]


def _suggest(name: str, names: Iterable[str]) -> str:
    nearest = difflib.get_close_matches(name, list(names), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(map(repr, nearest))}?" if nearest else ""
