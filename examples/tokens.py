"""Answers that grow word by word, and can be joined late: what a page of a language model needs.

    python examples/tokens.py

POST /ask with {"question": …} begins an answer; a WebSocket at /answer/ID hears it, from its
beginning or from `?since=POSITION`. An answer that nobody hears any more is given up.
"""

import asyncio
import secrets

import sockwave

server = sockwave.create_server(subprotocol="sockwave.1")
answering: dict[str, asyncio.Task[None]] = {}


@server.post("/ask")
async def ask(request: sockwave.Request) -> object:
    question = str((await request.json())["question"])
    name = f"answer/{secrets.token_urlsafe(9)}"
    answering[name] = asyncio.create_task(answer(name, question))
    return {"topic": name}


async def answer(name: str, question: str) -> None:
    topic = server.topic(name)
    try:
        for word in f"You have asked: {question}".split():  # of a model, say
            await topic.append(f"{word} ")
            await asyncio.sleep(0.01)
    finally:
        topic.finish()
        del answering[name]


@server.topic("answer/*").on("unwatched")
def unwatched(name: str) -> None:
    answering[name].cancel()


@server.route("/answer/{id}")
def hear(conn: sockwave.Connection) -> None:
    conn.subscribe(f"answer/{conn.path_params['id']}", since=conn.request.params.get("since"))


if __name__ == "__main__":
    server.listen(8000, "127.0.0.1")
    server.run()
