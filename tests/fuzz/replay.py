"""Kept inputs, and how they are fed to their targets again.

Each target has a folder `corpus/<target>`; a file's name says what the input is, and begins with
`found` where it showed a bug.
"""

from pathlib import Path

from fuzz.targets import load

CORPUS = Path(__file__).parent / "corpus"


def inputs(target: str) -> list[Path]:
    """List the kept inputs of a target."""
    return sorted((CORPUS / target).glob("*.bin"))


def replay(target: str) -> int:
    """Feed a target all of its kept inputs; give their number."""
    run = load(target)
    files = inputs(target)
    for path in files:
        run(path.read_bytes())
    return len(files)
