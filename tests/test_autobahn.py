"""Autobahn's cases, sections 1 to 7 and 10, on each engine (RFC 6455)."""

import asyncio
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).parent / "autobahn" / "run.py"


@pytest.mark.parametrize("tls", [False, True])
async def test_every_autobahn_case_is_ok(engine: str, tls: bool) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(RUN), "--sections", "1-7,10", "--engine", engine),
        *(["--tls"] if tls else []),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        out, _ = await asyncio.wait_for(process.communicate(), 120)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, out.decode()
    assert out.decode().splitlines()[-1].endswith("OK, 3 INFORMATIONAL, 0 NON-STRICT, 0 FAILED")
