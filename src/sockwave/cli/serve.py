"""`sockwave serve TARGET`: an application, a server, or what makes one."""

import argparse
import os
import sys
from collections.abc import Callable
from typing import Any

from sockwave.cli.shell.parser import CommandParser, VersionAction
from sockwave.errors import LaunchError
from sockwave.launch.flags import ENVIRONMENT_PREFIX, FLAGS, Flag, read_environment
from sockwave.launch.service import FAILURE, serve_target
from sockwave.launch.settings import Settings

_TARGET_VARIABLE = ENVIRONMENT_PREFIX + "APP"


def add_serve(parser: CommandParser) -> None:
    """Add the flags of `sockwave serve`; none has a default, so that what was given is known."""
    parser.example = "$ sockwave serve main:app --workers 4"
    parser.add_argument(
        "target",
        metavar="TARGET",
        nargs="?",
        help="module:app, module:server, or with --factory module:create",
    )
    parser.add_argument("--version", action=VersionAction)
    for flag in FLAGS:
        _add(parser, flag)
    parser.set_defaults(command=run_serve, parser=parser, serves=True)


def _add(parser: argparse.ArgumentParser, flag: Flag) -> None:
    text = argparse.SUPPRESS if flag.without_effect else _describe(flag)
    options: dict[str, Any] = {"dest": flag.name, "default": argparse.SUPPRESS, "help": text}
    if flag.parse is None:
        parser.add_argument(flag.spelling, action="store_true", **options)
        if flag.negative is not None:
            options["help"] = argparse.SUPPRESS if flag.without_effect else "the opposite"
            parser.add_argument(flag.negative, action="store_false", **options)
        return
    if flag.is_multiple:
        options["action"] = "append"
    if flag.choices is not None:
        options["choices"] = [flag.parse(choice) for choice in flag.choices]
    else:
        options["metavar"] = flag.metavar or "NAME"
    parser.add_argument(flag.spelling, type=_converter(flag), **options)


def _describe(flag: Flag) -> str:
    """Return the help of a flag, with its default, unless that stands in it."""
    has_default = flag.default not in (None, (), False, True, "") and "default" not in flag.help
    return flag.help.replace("%", "%%") + (f" (default: {flag.default})" if has_default else "")


def _converter(flag: Flag) -> Callable[[str], Any]:
    def convert(text: str) -> Any:
        assert flag.parse is not None
        try:
            return flag.parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{error}, given {text!r}") from None

    return convert


def run_serve(chosen: argparse.Namespace) -> int:
    """Serve TARGET until a signal ends it."""
    names = {flag.name for flag in FLAGS}
    flags = {name: value for name, value in vars(chosen).items() if name in names}
    target = chosen.target or os.environ.get(_TARGET_VARIABLE)
    if not target:
        chosen.parser.error("expected TARGET, such as main:app")
    try:
        settings = Settings.collect(read_environment(os.environ) | flags)
    except LaunchError as error:
        print(f"{chosen.parser.prog}: {error}", file=sys.stderr)
        return FAILURE
    return serve_target(target, settings)
