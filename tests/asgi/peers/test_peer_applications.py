"""Applications of others under uvicorn and under us: the same questions get the same answers."""

import asyncio
import importlib
import re
from typing import Any

import pytest
from accepted import explain, find_stale
from asking import PATIENCE_S, Question
from servers import Peers
from transcript import compare

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

REFERENCE = "uvicorn"

#: The questions of each application are in `questions/`, under its name.
APPLICATIONS = [
    "starlette",
    "fastapi",
    "litestar",
    "quart",
    "django",
    "strawberry",
    "mcp",
    "sse_starlette",
    "prometheus",
    "sentry",
]

#: The last line of a traceback.
RAISED = re.compile(
    r"^\s*\|?\s*((?:\w+\.)*\w*(?:Error|Exception|Warning|Disconnect\w*|Closed\w*))\b"
)


@pytest.mark.parametrize("peers", APPLICATIONS, indirect=True, ids=APPLICATIONS)
async def test_answers_are_those_of_uvicorn(peers: Peers, request: pytest.FixtureRequest) -> None:
    name = request.node.callspec.id
    questions = importlib.import_module(f"questions.{name}").QUESTIONS
    found: list[tuple[str, str, str]] = []  # question, server, line
    for title, question in questions.items():
        for server, lines in (await differences(peers, question)).items():
            found += [(title, server, line) for line in lines]
    statuses = peers.end()
    logged = {server: errors_in(peers, server) for server in peers.bases}
    for server in peers.bases.keys() - {REFERENCE}:
        found += [("the log", server, one) for one in compare(logged[server], logged[REFERENCE])]
        if statuses[server] != 0:
            found.append(("the end", server, f"status {statuses[server]}"))
    unexplained, needed = [], set()
    for title, server, line in found:
        if explained := explain(name, title, line):
            needed.add(explained)
        else:
            unexplained.append((title, server, line))
    assert not unexplained, "unexplained:\n" + tell(unexplained)
    stale = find_stale(name, needed)
    assert not stale, f"these explain nothing any more: {stale}"


def tell(found: list[tuple[str, str, str]]) -> str:
    """Tell differences, each with the servers where it was found."""
    servers: dict[tuple[str, str], list[str]] = {}
    for title, server, line in found:
        servers.setdefault((title, line), []).append(server)
    return "\n".join(
        f"{title}: {line} ({'; '.join(where)})" for (title, line), where in servers.items()
    )


async def differences(peers: Peers, question: Question) -> dict[str, list[str]]:
    """Put a question to all servers, and give how each differs from the one to compare with."""

    async def put(base: str) -> Any:
        try:
            return await asyncio.wait_for(question(base), 3 * PATIENCE_S)
        except Exception as error:
            return {"failed": f"{type(error).__name__}: {error}"}

    servers = list(peers.bases)
    transcripts = await asyncio.gather(*(put(peers.bases[server]) for server in servers))
    found = dict(zip(servers, transcripts, strict=True))
    reference = found.pop(REFERENCE)
    # What even uvicorn does not answer as expected is a mistake of the question.
    if isinstance(reference, dict) and "failed" in reference:
        return {REFERENCE: [reference["failed"]]}
    return {server: compare(transcript, reference) for server, transcript in found.items()}


def errors_in(peers: Peers, server: str) -> list[str]:
    """Give the kinds of errors that a server has logged."""
    found = map(RAISED.match, peers.read_log(server).splitlines())
    return sorted({match[1].rpartition(".")[2] for match in found if match})
