"""A chat room: its page over HTTP, and a small JSON object per text message (RFC 6455, 5.6)."""

import json
from pathlib import Path

import sockwave

PAGE = Path(__file__).with_name("page")
FILES = {"/": "chat.html", "/chat.css": "chat.css", "/chat.js": "chat.js", "/chat.svg": "chat.svg"}
HEADERS = {  # the page may load its own files and talk to its own server, and do nothing else
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",  # the browser asks each time, and gets a 304
}
NAME_LENGTH, TEXT_LENGTH = 24, 2000  # characters, as in the page


def create_chat() -> sockwave.Server:
    """Create the chat's server; the caller calls `listen` and `run`."""
    server = sockwave.create_server(origin="same-origin", max_size=16_384)
    people: dict[int, str] = {}  # connection id -> name, of those who have joined

    def tell(kind: str, **fields: object) -> None:
        server.broadcast(json.dumps({"type": kind, **fields}))

    @server.on("connection")
    def connected(conn: sockwave.Connection) -> None:
        here = [{"id": person, "name": name} for person, name in people.items()]
        conn.send(json.dumps({"type": "welcome", "id": conn.id, "people": here}))

        @conn.on("message")
        def message(message: str | bytes) -> None:
            if isinstance(message, bytes):
                conn.close(1003, "text only")
                return
            try:
                said = json.loads(message)
            except (ValueError, RecursionError):
                conn.close(1007, "JSON only")
                return
            match said:
                case {"type": "join", "name": str(name)}:  # sent again, it is a change of name
                    name = "".join(filter(str.isprintable, name)).strip()[:NAME_LENGTH].strip()
                    people[conn.id] = name or "Guest"
                    tell("join", id=conn.id, name=people[conn.id])
                case {"type": "say", "text": str(text)} if conn.id in people and text.strip():
                    tell("say", id=conn.id, text=text.strip()[:TEXT_LENGTH])

        @conn.on("close")
        def closed() -> None:
            if people.pop(conn.id, None):
                tell("leave", id=conn.id)

    @server.on("request")
    def request(req: sockwave.Request, res: sockwave.Response) -> None:
        if file := FILES.get(req.path):
            res.send_file(PAGE / file, headers=HEADERS)
        else:
            res.write_head(404, {"Content-Type": "text/plain"})
            res.end("Nothing here. The chat is at /\n")

    return server
