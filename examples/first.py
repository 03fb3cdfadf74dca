"""The program everybody writes first: a chat of anything that speaks WebSocket (RFC 6455)."""

import sockwave

server = sockwave.create_server()


@server.on("listening")
def listening():
    print("Listening for connections.")


@server.on("connection")
def connected(conn):
    server.broadcast(f"<{conn.id}> connected")

    @conn.on("message")
    def message(message):  # str for text, bytes for binary
        server.broadcast(f"<{conn.id}> {message}")

    @conn.on("close")
    def closed():
        server.broadcast(f"<{conn.id}> disconnected")


@server.on("request")  # plain HTTP on the same port
def request(req, res):
    res.write_head(200, {"Content-Type": "text/plain"})
    res.end("We can handle normal http connections too!\n")


server.listen(8000, "127.0.0.1")
server.run()  # or, inside asyncio: await server.serve_forever()
