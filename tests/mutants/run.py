"""Remove one guard at a time, and see whether the tests notice.

    python tests/mutants/run.py                     every guard of guards.py
    python tests/mutants/run.py --only unmasked     those whose name holds this

For each guard: a copy of the project without it is built, and its tests are run until the first one
fails. First the same tests pass on the copy with all its guards. Exits with 0 only if every guard
is missed by somebody.
"""

import argparse
import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from guards import GUARDS, Guard

PROJECT = Path(__file__).resolve().parents[2]

# A test that hangs without a guard has noticed too; pytest-timeout says which one it was.
TEST_TIMEOUT_S = 30
RUN_TIMEOUT_S = 900

# What pytest's status says: some test failed. An import that fails is another one, and no evidence.
SOME_FAILED = 1


class Copy:
    """A copy of the project, built and installed beside it."""

    def __init__(self, directory: Path) -> None:
        self.tree = directory / "tree"
        self.build = directory / "build"
        self.library = directory / "library"
        names = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
            cwd=PROJECT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for name in filter(None, names.split("\0")):
            if (PROJECT / name).is_file():
                (self.tree / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(PROJECT / name, self.tree / name)
        self.call(
            *("meson", "setup", str(self.build), str(self.tree), "-Doptimization=0"),
            *(f"-Dpython.purelibdir={self.library}", f"-Dpython.platlibdir={self.library}"),
        )

    def call(self, *command: str) -> None:
        """Run a command that has to succeed; show what it said when it does not."""
        done = subprocess.run(command, check=False, cwd=self.tree, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}:\n{done.stdout}{done.stderr}")

    def install(self) -> None:
        """Build what has changed, and install it."""
        self.call("meson", "install", "-C", str(self.build), "--quiet")

    @contextlib.contextmanager
    def without(self, guard: Guard) -> Iterator[None]:
        """Take the guard out of its file for a while."""
        path = self.tree / guard.path
        text = path.read_text()
        if text.count(guard.text) != 1:
            raise SystemExit(
                f"{guard.name}: expected its text once in {guard.path}, "
                f"found it {text.count(guard.text)} times"
            )
        path.write_text(text.replace(guard.text, guard.without))
        try:
            yield
        finally:
            path.write_text(text)

    def run_tests(self, names: tuple[str, ...]) -> tuple[int, str]:
        """Run tests until the first failure; give pytest's status and what it printed."""
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "--tb=no", "-ra"),
                *("-p", "no:cacheprovider", f"--timeout={TEST_TIMEOUT_S}", *names),
            ],
            check=False,
            cwd=self.tree,
            env={**os.environ, "PYTHONPATH": str(self.library)},
            capture_output=True,
            text=True,
            timeout=RUN_TIMEOUT_S,
        )
        return done.returncode, done.stdout + done.stderr


def check_copy(copy: Copy, guards: list[Guard]) -> None:
    """Exit unless the tests pass, and are those of the copy, while every guard is there."""
    copy.install()
    found = subprocess.run(
        [sys.executable, "-c", "import sockwave; print(sockwave.__file__)"],
        env={**os.environ, "PYTHONPATH": str(copy.library)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    if not found.startswith(str(copy.library)):
        raise SystemExit(f"expected the copy's own package, found {found}")
    names = tuple(sorted({test for guard in guards for test in guard.tests}))
    status, said = copy.run_tests(names)
    if status:
        raise SystemExit(f"with every guard in its place, the tests should pass:\n{said}")


def try_without(copy: Copy, guard: Guard) -> bool:
    """Tell whether a test fails without the guard, and print which."""
    started = time.monotonic()
    with copy.without(guard):
        copy.install()
        status, said = copy.run_tests(guard.tests)
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", said, re.MULTILINE)
    seconds = time.monotonic() - started
    if status == SOME_FAILED and failed is not None:
        print(f"killed    {guard.name}: {failed[1]} ({seconds:.0f} s)", flush=True)
        return True
    if status < 0 or re.search(r"Timeout >", said):
        how = f"a test ends the process by signal {-status}" if status < 0 else "a test hangs"
        print(f"killed    {guard.name}: {how} ({seconds:.0f} s)", flush=True)
        return True
    print(f"SURVIVED  {guard.name}: {guard.path} ({seconds:.0f} s)\n{said[-500:]}", flush=True)
    return False


def main() -> None:
    """Try every guard."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="those whose name holds this")
    arguments = parser.parse_args()
    guards = [guard for guard in GUARDS if arguments.only in guard.name]
    if not guards:
        parser.error(f"no guard's name holds {arguments.only!r}")
    with tempfile.TemporaryDirectory(prefix="sockwave-mutants-") as directory:
        copy = Copy(Path(directory))
        check_copy(copy, guards)
        killed = sum([try_without(copy, guard) for guard in guards])
    print(f"{killed}/{len(guards)} mutants killed")
    sys.exit(killed < len(guards))


if __name__ == "__main__":
    main()
