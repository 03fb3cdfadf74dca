"""A chat: its page over HTTP, and a topic for each room, whose lines pages publish (sockwave.1)."""

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
KEPT_LINES = 200  # of each room, for those who come later, or come back
ROOM_NAME_LENGTH = 32  # characters, as in the page


def create_chat() -> sockwave.Server:
    """Create the chat's server; the caller calls `listen` and `run`."""
    server = sockwave.create_server(
        origin="same-origin", max_size=16_384, subprotocol=["sockwave.1"]
    )
    server.topic("room/*", history=sockwave.History(count=KEPT_LINES), presence=True)
    server.client_script("/sockwave.js")

    @server.on("subscribe")
    @server.on("publish")
    def may_use(conn: sockwave.Connection, topic: str) -> bool:
        kind, _, room = topic.partition("/")
        return kind == "room" and 0 < len(room) <= ROOM_NAME_LENGTH and not set("/*") & set(room)

    @server.on("request")
    def request(req: sockwave.Request, res: sockwave.Response) -> None:
        if file := FILES.get(req.path):
            res.send_file(PAGE / file, headers=HEADERS)
        else:
            res.write_head(404, {"Content-Type": "text/plain"})
            res.end("Nothing here. The chat is at /\n")

    return server
