"""Changes of an application's files, by `watchfiles`."""

import contextlib
import logging
import os
import socket
import threading
from collections.abc import Sequence
from pathlib import Path

from sockwave.errors import LaunchError
from sockwave.launch.settings import Settings

logger = logging.getLogger("sockwave")

_INCLUDES = ("*.py",)
_EXCLUDES = (".*", ".py[cod]", ".sw.*", "~*")


class FileFilter:
    """Which files are watched, as uvicorn decides it."""

    def __init__(self, includes: Sequence[str], excludes: Sequence[str]) -> None:
        self._includes = {one for one in _INCLUDES if one not in excludes} | set(includes)
        patterns = {one for one in _EXCLUDES if one not in includes}
        self._directories = [Path(one).absolute() for one in excludes if os.path.isdir(one)]
        self._excludes = patterns | {one for one in excludes if not os.path.isdir(one)}

    def includes(self, name: str) -> bool:
        """Tell whether a change of this file counts."""
        path = Path(name)
        if not any(map(path.match, self._includes)):
            return False
        if any(one in path.parents for one in self._directories):
            return False
        return path.name in self._includes or not any(map(path.match, self._excludes))


class FileChanges:
    """Watches directories in a thread; `fileno` is readable when files have changed."""

    def __init__(self, settings: Settings) -> None:
        """Begin to watch; raises LaunchError without `watchfiles`."""
        try:
            from watchfiles import watch
        except ImportError:
            raise LaunchError("--reload needs: pip install 'sockwave[reload]'") from None
        self._filter = FileFilter(settings.reload_includes, settings.reload_excludes)
        given = [Path(one) for one in (*settings.reload_dirs, *settings.reload_includes)]
        directories = [one.absolute() for one in given if one.is_dir()] or [Path.cwd()]
        self._changed: list[str] = []
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._stop = threading.Event()
        self._watch = watch(
            *directories,
            watch_filter=None,
            debounce=max(int(settings.reload_delay * 1000), 1),
            stop_event=self._stop,
            ignore_permission_denied=True,
            rust_timeout=1000,
            yield_on_timeout=True,
        )
        # It begins to watch when the first change is asked for.
        self._thread = threading.Thread(target=self._run, name="sockwave reload", daemon=True)
        self._thread.start()
        logger.info("watching for changes in %s", ", ".join(map(str, sorted(directories))))

    def _run(self) -> None:
        for changes in self._watch:
            names = sorted({name for _, name in changes if self._filter.includes(name)})
            if names:
                self._changed += names
                with contextlib.suppress(OSError):
                    self._writer.send(b"\0")

    def fileno(self) -> int:
        """Return a descriptor that is readable when there are changes."""
        return self._reader.fileno()

    def take(self) -> list[str]:
        """Return the names of the files that have changed since the last call."""
        with contextlib.suppress(BlockingIOError):
            while self._reader.recv(4096):
                pass
        taken, self._changed = self._changed, []
        return [os.path.relpath(name) for name in dict.fromkeys(taken)]

    def close(self) -> None:
        """Stop watching."""
        self._stop.set()
        self._thread.join()
        self._reader.close()
        self._writer.close()
