"""What the core's source must not say, as a fault of Cython's would show when memory is short."""

import re
from pathlib import Path

CORE = Path(__file__).parents[2] / "src" / "sockwave" / "core"


def test_no_except_clause_of_the_core_is_left_by_a_jump() -> None:
    """Cython (3.3) drops a reference to NULL there, when an exception has no traceback: for want of
    memory, say. A `with` statement has the same fault."""
    found = []
    for path in sorted(CORE.rglob("*.pyx")):
        inside = -1  # how far the except clause that we are in is indented
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if not line.strip():
                continue
            indent = len(line) - len(line.lstrip())
            if indent <= inside:
                inside = -1
            if re.match(r"\s*except\b.*:", line):
                inside = indent
            jumps = inside >= 0 and re.match(r"\s*(return|continue|break)\b", line)
            if jumps or re.match(r"\s*(async )?with (?!(no)?gil).*:$", line):
                found.append(f"{path.name}:{number}: {line.strip()}")
    assert CORE.is_dir()
    assert not found
