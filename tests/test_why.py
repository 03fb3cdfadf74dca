"""The programs of docs/why.md: both of a pair answer the same, and ours is half as long."""

import ast
import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest
from commands import PATIENCE_S, running
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "why.md").read_text("utf-8")
OTHERS = re.findall(r"```py\n(.+?)```", PAGE, re.DOTALL)
NAMES = ("rooms", "ticker", "tokens")
OURS = [(ROOT / "examples" / f"{name}.py").read_text("utf-8") for name in NAMES]

# uvicorn serves those of FastAPI, as their documentation says.
SERVED = """
import uvicorn
uvicorn.run(app, host="127.0.0.1", port=8000, log_level="warning")
"""


def count_lines(program: str) -> int:
    """Count the lines of code: without docstrings, comments and blank lines."""
    lines = {
        number
        for number, line in enumerate(program.splitlines(), 1)
        if line.strip() and not line.strip().startswith("#")
    }
    for node in ast.walk(ast.parse(program)):
        if isinstance(node, (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and (
            ast.get_docstring(node) is not None
        ):
            lines -= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return len(lines)


async def hear(client: object) -> str:
    return str(await asyncio.wait_for(client.recv(), PATIENCE_S))  # type: ignore[attr-defined]


async def ask_rooms(address: str) -> None:
    async with httpx.AsyncClient(base_url=f"http://{address}") as client:
        wrong = await client.post("/login", data={"name": "ada", "password": "tide"})
        assert wrong.status_code == 403
        assert (
            await client.post("/login", data={"name": "ada", "password": ""})
        ).status_code != 200
        login = await client.post("/login", data={"name": "ada", "password": "wave"})
        cookie = {"Cookie": f"session={login.cookies['session']}"}
        assert "httponly" in login.headers["Set-Cookie"].lower()
        origin = Origin(f"http://{address}")
        uri = f"ws://{address}/rooms/lobby"
        async with connect(uri, origin=origin, additional_headers=cookie) as ada:
            await ada.send("hello")
            assert "ada: hello" in await hear(ada)
            async with connect(uri, origin=origin, additional_headers=cookie) as again:
                assert "ada: hello" in await hear(again)  # what was said before
                await ada.send("more")
                for one in (ada, again):
                    assert "ada: more" in await hear(one)
            assert (await client.get("/rooms/lobby/people")).json() == ["ada"]
        elsewhere = Origin("http://elsewhere.example")
        for headers, page in ((cookie, elsewhere), ({"Cookie": "session=x"}, origin)):
            with pytest.raises((InvalidStatus, ConnectionClosed)):
                async with connect(uri, origin=page, additional_headers=headers) as eve:
                    await eve.recv()


async def ask_ticker(address: str) -> None:
    async with connect(f"ws://{address}/prices/ACME,INIT") as client:
        assert {(await hear(client)).split()[0] for _ in range(4)} == {"ACME", "INIT"}
    async with connect(f"ws://{address}/prices/INIT") as client:
        assert {(await hear(client)).split()[0] for _ in range(3)} == {"INIT"}
    with pytest.raises(InvalidStatus):
        await connect(f"ws://{address}/elsewhere")


async def ask_tokens(address: str) -> None:
    async with httpx.AsyncClient(base_url=f"http://{address}") as client:
        topic = (await client.post("/ask", json={"question": "why?"})).json()["topic"]
    heard: list[dict[str, object]] = []
    async with connect(f"ws://{address}/{topic}") as reader:
        while not heard or "end" not in heard[-1]:
            heard.append(json.loads(await hear(reader)))
    assert "".join(str(one.get("delta", "")) for one in heard) == "You have asked: why? "
    async with connect(f"ws://{address}/{topic}?since={heard[0]['position']}") as late:
        rest = [heard[0]]
        while "end" not in rest[-1]:
            rest.append(json.loads(await hear(late)))
    assert "".join(str(one.get("delta", "")) for one in rest) == "You have asked: why? "


QUESTIONS: dict[str, Callable[[str], Awaitable[None]]] = {
    "rooms": ask_rooms,
    "ticker": ask_ticker,
    "tokens": ask_tokens,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
async def test_both_programs_of_a_pair_answer_the_same(name: str) -> None:
    place = NAMES.index(name)
    other = OTHERS[place] + (SERVED if "FastAPI" in OTHERS[place] else "")
    for program in (OURS[place], other):
        with running(program, status=None) as address:
            await QUESTIONS[name](address)


@pytest.mark.parametrize("name", NAMES)
def test_ours_is_at_most_half_as_long(name: str) -> None:
    place = NAMES.index(name)
    assert count_lines(OURS[place]) <= count_lines(OTHERS[place]) / 2
