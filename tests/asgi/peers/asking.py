"""How a question is put to a server: by each of several clients, who say what the answer is."""

import asyncio
import io
import json
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import yarl
from transcript import keep_answer

PATIENCE_S = 30.0

#: Called with the base of a server's addresses ("http://127.0.0.1:80"); returns what it is told,
#: which two servers have to have in common.
Question = Callable[[str], Awaitable[Any]]

Upload = tuple[str, bytes, str]


@dataclass(frozen=True)
class Ask:
    """A request, and what the answer has to be on any server."""

    method: str
    path: str
    status: int = 200
    #: What the body has to hold; for several, in any order.
    has: tuple[str, ...] = ()
    headers: dict[str, str] = field(default_factory=dict)
    #: At most one of these.
    json: Any = None
    form: dict[str, str] | None = None
    files: dict[str, Upload] | None = None
    content: bytes | None = None
    #: A body in chunks, without a length.
    chunks: tuple[bytes, ...] | None = None
    #: Who asks: not every client lets one say everything.
    clients: tuple[str, ...] = ("httpx", "aiohttp", "curl")


def ask(method: str, path: str, *has: str, **rest: Any) -> "Sequence":
    """Give the question of one request."""
    return Sequence((Ask(method, path, has=has, **rest),))


def get(path: str, *has: str, **rest: Any) -> "Sequence":
    """Give the question of a GET."""
    return ask("GET", path, *has, **rest)


def post(path: str, *has: str, **rest: Any) -> "Sequence":
    """Give the question of a POST."""
    return ask("POST", path, *has, **rest)


def in_turn(*questions: "Sequence") -> "Sequence":
    """Give the question of several requests, one behind the other; cookies are kept."""
    return Sequence(tuple(step for question in questions for step in question.steps))


@dataclass(frozen=True)
class Sequence:
    """Requests in turn, put by each client in a session of its own."""

    steps: tuple[Ask, ...]

    async def __call__(self, base: str) -> dict[str, Any]:
        found = {}
        for name in self.steps[0].clients:
            session = CLIENTS[name]
            found[name] = answers = await asyncio.wait_for(session(base, self.steps), PATIENCE_S)
            for step, answer in zip(self.steps, answers, strict=True):
                assert answer["status"] == step.status, f"{name}: {step.status}, got {answer}"
                for part in step.has:
                    assert part in answer["body"], f"{name}: {part!r} in {answer}"
        # One step is told without its number.
        return {
            name if len(self.steps) == 1 else f"{name} {number}": answer
            for name, answers in found.items()
            for number, answer in enumerate(answers, 1)
        }


def connect(base: str, **options: Any) -> httpx.AsyncClient:
    """Give a client of httpx; without certificates, which it would read each time."""
    return httpx.AsyncClient(base_url=base, timeout=PATIENCE_S, verify=False, **options)


async def ask_httpx(base: str, steps: tuple[Ask, ...]) -> list[dict[str, Any]]:
    """Ask by httpx."""
    answers = []
    async with connect(base) as client:
        for step in steps:
            response = await client.request(
                step.method,
                step.path,
                headers=step.headers,
                json=step.json,
                data=step.form,
                files=step.files,
                content=step.content if step.chunks is None else pieces(step.chunks),
            )
            pairs = response.headers.multi_items()
            answers.append(keep_answer(response.status_code, pairs, response.content))
    return answers


async def ask_aiohttp(base: str, steps: tuple[Ask, ...]) -> list[dict[str, Any]]:
    """Ask by aiohttp."""
    answers = []
    jar = aiohttp.CookieJar(unsafe=True)  # an IP address may have cookies
    async with aiohttp.ClientSession(cookie_jar=jar) as client:
        for step in steps:
            data: Any = step.form
            if step.content is not None:
                data = io.BytesIO(step.content)
            if step.chunks is not None:
                data = pieces(step.chunks)
            if step.files is not None:
                data = aiohttp.FormData()
                for name, (file_name, content, kind) in step.files.items():
                    data.add_field(name, io.BytesIO(content), filename=file_name, content_type=kind)
            async with client.request(
                step.method,
                yarl.URL(base + step.path, encoded=True),
                headers=step.headers,
                json=step.json,
                data=data,
                allow_redirects=False,
            ) as response:
                pairs = list(response.headers.items())
                answers.append(keep_answer(response.status, pairs, await response.read()))
    return answers


async def ask_curl(base: str, steps: tuple[Ask, ...]) -> list[dict[str, Any]]:
    """Ask by curl."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        return [await run_curl(base, step, folder) for step in steps]


async def run_curl(base: str, step: Ask, folder: Path) -> dict[str, Any]:
    """Run curl once; its cookies and what it sends are files in a folder."""
    command = ["curl", "--silent", "--show-error", "--http1.1", "--include", "--path-as-is"]
    command += ["--globoff", "--max-time", str(PATIENCE_S)]
    command += ["--cookie", str(folder / "jar"), "--cookie-jar", str(folder / "jar")]
    command += ["--head"] if step.method == "HEAD" else ["--request", step.method]
    headers = dict(step.headers)
    content = step.content
    if step.json is not None:
        content = json.dumps(step.json).encode()
        headers["Content-Type"] = "application/json"
    if step.chunks is not None:
        content = b"".join(step.chunks)
        headers["Transfer-Encoding"] = "chunked"
    if content is not None:
        (folder / "body").write_bytes(content)
        command += ["--data-binary", f"@{folder / 'body'}"]
        headers.setdefault("Content-Type", "application/octet-stream")
    for name, value in (step.form or {}).items():
        command += ["--data-urlencode", f"{name}={value}"]
    for name, (file_name, data, kind) in (step.files or {}).items():
        (folder / file_name).write_bytes(data)
        command += ["--form", f"{name}=@{folder / file_name};type={kind};filename={file_name}"]
    for name, value in headers.items():
        command += ["--header", f"{name}: {value}"]
    process = await asyncio.create_subprocess_exec(
        *command, base + step.path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, f"curl: {errors!r}"
    return read_curl(output)


def read_curl(output: bytes) -> dict[str, Any]:
    """Read what curl printed: heads, of which the last is the answer's, and a body."""
    while True:
        head, _, output = output.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        status = int(first.split()[1])
        if status >= 200:
            pairs = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
            return keep_answer(status, pairs, output)


async def pieces(chunks: tuple[bytes, ...]) -> AsyncIterator[bytes]:
    """Give a body in chunks."""
    for chunk in chunks:
        yield chunk


CLIENTS: dict[str, Callable[[str, tuple[Ask, ...]], Awaitable[list[dict[str, Any]]]]] = {
    "httpx": ask_httpx,
    "aiohttp": ask_aiohttp,
    "curl": ask_curl,
}


async def wait_for_event(base: str, *wanted: str) -> str:
    """Wait until an application's `/events` has told one of these; give it."""
    async with (
        connect(base) as client,
        asyncio.timeout(PATIENCE_S),
    ):
        while True:
            events = (await client.get("/events")).json()
            for one in wanted:
                if one in events:
                    return one
            await asyncio.sleep(0.01)


def told(event: str, *questions: Question) -> Question:
    """Give a question behind which the application has to have told of an event."""

    async def put(base: str) -> Any:
        found = {str(number): await one(base) for number, one in enumerate(questions, 1)}
        return found | {"event": await wait_for_event(base, event)}

    return put
