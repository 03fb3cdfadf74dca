"""The extra `cli`, which some of the commands need."""

import importlib.util


def missing_extra(*names: str) -> str | None:
    """Return in one line how to get the packages that are not there; None: all of them are."""
    lacking = [name for name in names if importlib.util.find_spec(name) is None]
    if not lacking:
        return None
    return f"needs {' and '.join(lacking)}: pip install 'sockwave[cli]'"
