"""What a client of the Model Context Protocol asks by streamable HTTP."""

import json
from typing import Any

from asking import Question, ask, connect, get, post
from transcript import keep_answer, mask

ACCEPT = {"Accept": "application/json, text/event-stream"}
VERSION = "2025-06-18"


def call(method: str, number: int | None = 1, **params: Any) -> dict[str, Any]:
    """Give a request of JSON-RPC; without a number, a notification."""
    found: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": params}
    return found if number is None else found | {"id": number}


INITIALIZE = call(
    "initialize",
    protocolVersion=VERSION,
    capabilities={},
    clientInfo={"name": "a client", "version": "1"},
)


async def session(base: str) -> Any:
    """Begin a session, use each thing that a server offers, and end it."""
    found = []
    async with connect(base) as client:

        async def put(method: str, message: Any) -> dict[str, Any]:
            response = await client.request(method, "/mcp", json=message, headers=headers)
            pairs = response.headers.multi_items()
            found.append(keep_answer(response.status_code, pairs, response.content))
            return dict(response.headers)

        headers = dict(ACCEPT)
        headers["Mcp-Session-Id"] = (await put("POST", INITIALIZE))["mcp-session-id"]
        headers["Mcp-Protocol-Version"] = VERSION
        await put("POST", call("notifications/initialized", None))
        for message in (
            call("ping", 2),
            call("tools/list", 3),
            call("tools/call", 4, name="add", arguments={"a": 2, "b": 3}),
            call("tools/call", 5, name="add", arguments={"a": "x"}),
            call("tools/call", 6, name="fails", arguments={}),
            call(
                "tools/call",
                7,
                name="count",
                arguments={"to": 5},
                _meta={"progressToken": "progress"},
            ),
            call("resources/templates/list", 8),
            call("resources/read", 9, uri="greeting://ada"),
            call("prompts/get", 10, name="review", arguments={"code": "x = 1"}),
            call("nothing/of/the/kind", 11),
        ):
            await put("POST", message)
        async with client.stream("GET", "/mcp", headers=headers) as stream:
            found.append({"status": stream.status_code, "type": stream.headers["content-type"]})
        await put("DELETE", None)
        await put("POST", call("ping", 12))
    assert "counted to 5" in json.dumps(found)
    assert found[6]["status"] == 200
    return {str(number): one for number, one in enumerate(found)}


async def stream_of_a_tool(base: str) -> Any:
    """Read the events of a tool one by one."""
    async with connect(base) as client:
        response = await client.post("/mcp", json=INITIALIZE, headers=ACCEPT)
        headers = ACCEPT | {
            "Mcp-Session-Id": response.headers["mcp-session-id"],
            "Mcp-Protocol-Version": VERSION,
        }
        await client.post("/mcp", json=call("notifications/initialized", None), headers=headers)
        message = call("tools/call", 2, name="count", arguments={"to": 50})
        message["params"]["_meta"] = {"progressToken": 1}
        async with client.stream("POST", "/mcp", json=message, headers=headers) as events:
            lines = [mask(line) async for line in events.aiter_lines() if line]
    assert sum("notifications/progress" in line for line in lines) == 50
    return lines


QUESTIONS: dict[str, Question] = {
    "a beginning": post("/mcp", '"peers"', json=INITIALIZE, headers=ACCEPT),
    "a session": session,
    "the events of a tool": stream_of_a_tool,
    "no session": post("/mcp", status=400, json=call("ping"), headers=ACCEPT),
    "a session that is not there": post(
        "/mcp", status=404, json=call("ping"), headers=ACCEPT | {"Mcp-Session-Id": "0" * 32}
    ),
    "a client that accepts nothing of it": post(
        "/mcp", status=406, json=INITIALIZE, headers={"Accept": "text/html"}
    ),
    "GET without a session": get("/mcp", status=400, headers=ACCEPT),
    "no JSON": post(
        "/mcp", status=400, content=b"{", headers=ACCEPT | {"Content-Type": "application/json"}
    ),
    "another content type": post("/mcp", status=400, content=b"x", headers=ACCEPT),
    "PUT": ask("PUT", "/mcp", status=405, headers=ACCEPT),
    "a host that is not this one": post(
        "/mcp", status=421, json=INITIALIZE, headers=ACCEPT | {"Host": "evil.example"}
    ),
    "an origin that is not this one": post(
        "/mcp", status=403, json=INITIALIZE, headers=ACCEPT | {"Origin": "http://evil.example"}
    ),
    "another path": get("/", status=404),
}
