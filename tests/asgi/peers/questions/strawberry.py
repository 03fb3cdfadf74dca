"""What Strawberry's documentation is about, asked; the subscriptions in both protocols."""

import json

from asking import Question, ask, get, post, told
from talking import talk

NEW, OLD = "graphql-transport-ws", "graphql-ws"


def message(kind: str, query: str = "", **rest: str) -> str:
    """Give a message of either protocol."""
    payload = {"payload": {"query": query}} if query else {}
    return json.dumps({"type": kind, **rest, **payload})


BEGIN = message("connection_init")

QUESTIONS: dict[str, Question] = {
    "a query": post("/graphql/", "Bob", json={"query": "{ user { name friends { name age } } }"}),
    "a query with variables": post(
        "/graphql/",
        "u00e9",
        json={"query": "query ($n: String!) { user(name: $n) { name } }", "variables": {"n": "é"}},
    ),
    "a query by GET": get("/graphql/?query=%7Buser%7Bage%7D%7D", "36"),
    "a query that fails": post("/graphql/", "on purpose", json={"query": "{ fails }"}),
    "a query that is none": post("/graphql/", "Syntax Error", json={"query": "{"}),
    "no query": post("/graphql/", status=400, content=b"{"),
    "another content type": post("/graphql/", status=400, form={"query": "{ user { name } }"}),
    "a mutation": post(
        "/graphql/", "ADA", json={"query": 'mutation { rename(name: "ada") { name } }'}
    ),
    "an upload": post(
        "/graphql/",
        form={
            "operations": json.dumps(
                {"query": "mutation ($f: Upload!) { read(file: $f) }", "variables": {"f": None}}
            ),
            "map": json.dumps({"a": ["variables.f"]}),
        },
        files={"a": ("a.txt", b"content", "text/plain")},
        clients=("httpx",),
    ),
    "the page": get("/graphql/", headers={"Accept": "text/html"}),
    "DELETE": ask("DELETE", "/graphql/", status=405),
    "a subscription by POST": post("/graphql/", json={"query": "subscription { count }"}),
    "a subscription": told(
        "count to 4 over",
        talk(
            "/graphql/",
            BEGIN,
            1,
            message("subscribe", "subscription { count(to: 4) }", id="one"),
            5,
            (1000, ""),
            subprotocols=(NEW,),
            has=f"open: {NEW}",
        ),
    ),
    "a subscription that the client ends": told(
        "count to 100000 over",
        talk(
            "/graphql/",
            BEGIN,
            1,
            message("subscribe", "subscription { count(to: 100000) }", id="one"),
            3,
            (1000, ""),
            subprotocols=(NEW,),
        ),
    ),
    "a subscription that fails": talk(
        "/graphql/",
        BEGIN,
        1,
        message("subscribe", "subscription { fails }", id="one"),
        2,
        (1000, ""),
        subprotocols=(NEW,),
        has="on purpose",
    ),
    "a query by WebSocket": talk(
        "/graphql/",
        BEGIN,
        1,
        message("subscribe", "{ user { name } }", id="one"),
        2,
        (1000, ""),
        subprotocols=(NEW,),
        has="Ada",
    ),
    "a ping": talk("/graphql/", BEGIN, 1, message("ping"), 1, (1000, ""), subprotocols=(NEW,)),
    "a subscription before its beginning": talk(
        "/graphql/",
        message("subscribe", "{ user { name } }", id="one"),
        subprotocols=(NEW,),
        has="closed: 4401",
    ),
    "two beginnings": talk("/graphql/", BEGIN, BEGIN, subprotocols=(NEW,), has="closed: 4429"),
    "a message of no type": talk("/graphql/", "{}", subprotocols=(NEW,), has="closed: 4400"),
    "a subscription of the old protocol": talk(
        "/graphql/",
        BEGIN,
        message("start", "subscription { count }", id="one"),
        5,
        message("connection_terminate"),
        subprotocols=(OLD,),
        has=f"open: {OLD}",
    ),
    "no protocol": talk("/graphql/", has="4406"),
}
