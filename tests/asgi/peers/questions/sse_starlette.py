"""What sse-starlette's documentation is about, asked."""

from typing import Any

from asking import Question, ask, connect, get, told, wait_for_event


async def leave(base: str) -> Any:
    """Read two events, and go."""
    async with connect(base) as client, client.stream("GET", "/endless") as response:
        lines = []
        async for line in response.aiter_lines():
            lines.append(line)
            if len(lines) == 4:
                break
    return [lines, await wait_for_event(base, "endless over")]


async def leave_in_silence(base: str) -> Any:
    """Go where no further event comes."""
    async with connect(base) as client, client.stream("GET", "/silent") as response:
        async for line in response.aiter_lines():
            assert line == "data: the only one"
            break
    return await wait_for_event(base, "silent cancelled", "silent given up")


async def read_midway(base: str) -> Any:
    """Read a stream that ends by an error."""
    async with connect(base) as client:
        try:
            async with client.stream("GET", "/fails") as response:
                lines = [line async for line in response.aiter_lines()]
        except Exception as error:
            return type(error).__name__
        return lines


QUESTIONS: dict[str, Question] = {
    "events": told("background", get("/numbers", "data: 4")),
    "events with all that they may have": get(
        "/rich", "data: lines", headers={"Last-Event-Id": "7"}
    ),
    "HEAD of events": ask("HEAD", "/numbers"),
    "an event behind silence": get("/pings", "behind pings"),
    "a client that leaves": leave,
    "a client that leaves in silence": leave_in_silence,
    "events that end by an error": read_midway,
}
