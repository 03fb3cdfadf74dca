"""Rooms behind a login: who is there, what was said before, and nobody else gets in.

    python examples/rooms.py

POST /login with a form of `name` and `password` sets a cookie; a WebSocket at /rooms/NAME is a
room.
"""

import hmac
import secrets

import sockwave

PASSWORDS = {"ada": "wave", "bo": "tide"}  # ask a database, say
sessions: dict[str, str] = {}


def log_in(handshake: sockwave.Handshake) -> bool:
    name = sessions.get(handshake.request.cookies.get("session", ""), "")
    handshake.connection.data["name"] = name
    return bool(name)


server = sockwave.create_server(origin="same-origin", authorize=log_in)
server.topic("room/*", history=sockwave.History(count=100), presence=True)


@server.post("/login")
async def login(request: sockwave.Request, response: sockwave.Response) -> object:
    form = await request.form()
    name, password = form.get("name", ""), form.get("password", "")
    if not hmac.compare_digest(PASSWORDS.get(name, "").encode() or b"\0", password.encode()):
        return 403, "no such name, or another password\n"
    session = secrets.token_urlsafe()
    sessions[session] = name
    response.set_cookie("session", session)
    return f"hello {name}\n"


@server.route("/rooms/{room}")
async def talk(conn: sockwave.Connection) -> None:
    room, name = f"room/{conn.path_params['room']}", conn.data["name"]
    await conn.subscribe(room, since="0-0", member=name)
    async for text in conn:
        server.publish(room, f"{name}: {text!s}")


@server.get("/rooms/{room}/people")
async def people(request: sockwave.Request) -> object:
    return sorted(await server.topic(f"room/{request.path_params['room']}").members())


if __name__ == "__main__":
    server.listen(8000, "127.0.0.1")
    server.run()
