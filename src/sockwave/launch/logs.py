"""Logging of a service: the loggers `sockwave` and `sockwave.access`, in uvicorn's form."""

import logging
import logging.config
import os
import sys
from typing import Any

from sockwave.errors import LaunchError
from sockwave.launch.settings import Settings

TRACE = 5

_COLORS = {TRACE: 34, logging.DEBUG: 36, logging.INFO: 32, logging.WARNING: 33}
_ERROR_COLOR = 31

_LEVELS = {"trace": TRACE, "debug": logging.DEBUG, "info": logging.INFO} | {
    name: getattr(logging, name.upper()) for name in ("warning", "error", "critical")
}


class LevelFormatter(logging.Formatter):
    """Begins each line with its level, in a column of its own, coloured on a terminal."""

    def __init__(self, stream: str = "stderr", use_colors: bool | None = None) -> None:
        super().__init__("%(levelprefix)s %(message)s")
        is_terminal = bool(getattr(getattr(sys, stream), "isatty", bool)())
        self._use_colors = is_terminal if use_colors is None else use_colors

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Format the line."""
        level = f"{record.levelname}:"
        space = " " * (9 - len(level))
        if self._use_colors:
            color = _COLORS.get(record.levelno, _ERROR_COLOR)
            level = f"\x1b[{color}m{record.levelname}\x1b[0m:"
        record.levelprefix = level + space
        return super().formatMessage(record)


def _make_config(settings: Settings) -> dict[str, Any]:
    """Return the configuration of logging where no file gives one."""
    formatter = "sockwave.launch.logs.LevelFormatter"
    colors = settings.use_colors
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "default": {"()": formatter, "stream": "stderr", "use_colors": colors},
            "access": {"()": formatter, "stream": "stdout", "use_colors": colors},
        },
        "handlers": {
            "default": {
                "class": "logging.StreamHandler",
                "formatter": "default",
                "stream": "ext://sys.stderr",
            },
            "access": {
                "class": "logging.StreamHandler",
                "formatter": "access",
                "stream": "ext://sys.stdout",
            },
        },
        "loggers": {
            "sockwave": {"handlers": ["default"], "level": "INFO", "propagate": False},
            "sockwave.access": {"handlers": ["access"], "level": "INFO", "propagate": False},
        },
    }


def configure_logging(settings: Settings) -> None:
    """Configure logging for this process; raises LaunchError for a file that cannot be used."""
    logging.addLevelName(TRACE, "TRACE")
    config = settings.log_config
    if config is None:
        logging.config.dictConfig(_make_config(settings))
    elif isinstance(config, dict):
        logging.config.dictConfig(config)
    else:
        try:
            _read_config(os.fspath(config))
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise LaunchError(f"--log-config {config}: {error}") from None
    if settings.log_level is not None:
        level = settings.log_level
        if isinstance(level, str):
            level = _LEVELS[level.lower()]
        for name in ("sockwave", "sockwave.access"):
            logging.getLogger(name).setLevel(level)


def _read_config(path: str) -> None:
    if path.endswith(".json"):
        import json

        with open(path, encoding="utf-8") as file:
            logging.config.dictConfig(json.load(file))
    elif path.endswith((".yaml", ".yml")):
        try:
            import yaml
        except ImportError:
            raise LaunchError("a .yaml file needs: pip install pyyaml") from None
        with open(path, encoding="utf-8") as file:
            logging.config.dictConfig(yaml.safe_load(file))
    else:
        if not os.path.exists(path):
            raise FileNotFoundError(f"there is no file {path}")
        logging.config.fileConfig(path, disable_existing_loggers=False)
