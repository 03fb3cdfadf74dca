"""Autobahn's cases on each engine: sections 1 to 7 and 10, and a sample of 12 and 13.

RFC 6455, and RFC 7692 for permessage-deflate, whose 216 cases take minutes: `make autobahn`.
"""

import asyncio
import sys
from pathlib import Path

import pytest

PATIENCE_S = 480  # quietly, it takes ten seconds

pytestmark = [pytest.mark.slow, pytest.mark.timeout(PATIENCE_S + 20)]

RUN = Path(__file__).parent / "autobahn" / "run.py"

# Each kind of data, one in fragments, and each set of parameters that is offered.
DEFLATE_SAMPLE = ("12.*.4", "12.1.11", "13.*.4", "13.*.6")


async def run_cases(engine: str, *options: str) -> str:
    """Run Autobahn, which has to succeed, and give the line with the totals."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(RUN), "--engine", engine, *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        out, _ = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, out.decode()
    return out.decode().splitlines()[-1]


@pytest.mark.parametrize("tls", [False, True])
async def test_every_autobahn_case_is_ok(engine: str, tls: bool) -> None:
    totals = await run_cases(engine, "--sections", "1-7,10", *(["--tls"] if tls else []))
    assert totals.endswith("OK, 3 INFORMATIONAL, 0 NON-STRICT, 0 FAILED")


async def test_every_autobahn_case_of_a_client_is_ok(engine: str) -> None:
    totals = await run_cases(engine, "--client", "--sections", "1-7,10")
    assert totals == f"{engine}, client: 244/244 OK, 3 INFORMATIONAL, 0 NON-STRICT, 0 FAILED"


async def test_sample_of_the_cases_of_a_client_for_compression_is_ok(engine: str) -> None:
    patterns = [f"--case={pattern}" for pattern in DEFLATE_SAMPLE]
    totals = await run_cases(engine, "--client", *patterns)
    assert totals == f"{engine}, client: 20/20 OK, 0 INFORMATIONAL, 0 NON-STRICT, 0 FAILED"


async def test_cases_of_a_client_without_asyncio_are_ok(engine: str) -> None:
    totals = await run_cases(engine, "--sync-client", "--sections", "1-7,10")
    assert totals == f"{engine}, sync client: 244/244 OK, 3 INFORMATIONAL, 0 NON-STRICT, 0 FAILED"


async def test_sample_for_compression_of_a_client_without_asyncio_is_ok(engine: str) -> None:
    patterns = [f"--case={pattern}" for pattern in DEFLATE_SAMPLE]
    totals = await run_cases(engine, "--sync-client", *patterns)
    assert totals == f"{engine}, sync client: 20/20 OK, 0 INFORMATIONAL, 0 NON-STRICT, 0 FAILED"


async def test_sample_of_the_cases_for_compression_is_ok(engine: str) -> None:
    totals = await run_cases(engine, *[f"--case={pattern}" for pattern in DEFLATE_SAMPLE])
    assert totals == f"{engine}: 20/20 OK, 0 INFORMATIONAL, 0 NON-STRICT, 0 FAILED"
