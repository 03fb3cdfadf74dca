"""Run again, alone, what has failed beside other tests: a neighbour may have been too loud.

More than five are no accident, and are not run again: what a test that fails leaves behind may be
blamed on others. What passes alone is named all the same: it is a test that a busy machine can
upset, and wants to be mended.
"""

import json
import subprocess
import sys
from pathlib import Path

MOST_COUNT = 5
FAILED = 1


def main(cache: str, *options: str) -> int:
    """Judge again what the cache of pytest says has failed; return pytest's exit status."""
    last = Path(cache) / "v/cache/lastfailed"
    failed = sorted(json.loads(last.read_text())) if last.exists() else []
    if not 0 < len(failed) <= MOST_COUNT:
        return FAILED
    print(f"\nfailed beside others, and judged again alone: {', '.join(failed)}", flush=True)
    command = [sys.executable, "-m", "pytest", "-o", f"cache_dir={cache}", "--last-failed"]
    return subprocess.run([*command, *options], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
