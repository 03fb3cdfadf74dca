"""A board on which everybody sees where the others point: http://127.0.0.1:8000/

    python examples/cursors.py

Pages say {"x": 0.5, "y": 0.5}, and hear {"who": ID, "x": …, "y": …}, or {"who": ID, "gone": true}.
Who is slow gets the newest place of each cursor, and no older ones.
"""

import json

import msgspec

import sockwave

PAGE = """<!doctype html><title>Cursors</title><style>
body { margin: 0; height: 100vh } i { position: fixed; font-size: 2em; pointer-events: none }
</style><script type="module">
const socket = new WebSocket(location.href.replace("http", "ws") + "board/lobby")
const cursors = new Map()
onpointermove = ({ clientX, clientY }) => socket.readyState === 1 && socket.send(
  JSON.stringify({ x: clientX / innerWidth, y: clientY / innerHeight }))
socket.onmessage = ({ data }) => {
  const { who, x, y, gone } = JSON.parse(data)
  if (gone) return cursors.get(who)?.remove()
  if (!cursors.has(who)) {
    cursors.set(who, document.body.appendChild(document.createElement("i"))).get(who).append("➤")
  }
  Object.assign(cursors.get(who).style, { left: `${x * 100}%`, top: `${y * 100}%` })
}
</script><body>
"""


class Place(msgspec.Struct):
    x: float
    y: float


server = sockwave.create_server(json_type=Place, max_size=1000, message_rate=200)
server.topic("board/*", envelope=None)


@server.get("/")
def page(request: sockwave.Request, response: sockwave.Response) -> None:
    response.write_head(200, {"Content-Type": "text/html; charset=utf-8"})
    response.end(PAGE)


@server.route("/board/{name}")
async def point(conn: sockwave.Connection) -> None:
    board = f"board/{conn.path_params['name']}"
    await conn.subscribe(board)

    def tell(what: dict[str, object]) -> None:
        text = json.dumps({"who": conn.id, **what})
        server.publish(board, text, exclude=conn, slow="conflate", key=conn.id)

    try:
        async for place in conn.json():
            tell({"x": place.x, "y": place.y})
    finally:
        tell({"gone": True})


if __name__ == "__main__":
    server.listen(8000, "127.0.0.1")
    server.run()
