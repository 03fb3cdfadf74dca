"""Variables of the environment in a file."""

import os

from sockwave.errors import LaunchError


def read_file(path: str) -> dict[str, str]:
    """Return the variables that a file gives; raises LaunchError if it cannot be read."""
    try:
        from dotenv import dotenv_values
    except ImportError:
        raise LaunchError("--env-file needs: pip install 'sockwave[env]'") from None
    if not os.path.isfile(path):
        raise LaunchError(f"--env-file: there is no file {path}")
    return {name: value for name, value in dotenv_values(path).items() if value is not None}


def load_file(path: str | None) -> None:
    """Set the variables that a file gives, but those that are set already."""
    if path is not None:
        for name, value in read_file(path).items():
            os.environ.setdefault(name, value)
