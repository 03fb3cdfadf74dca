"""A program in which each line that ends in `# wrong` has a mistake that a type checker finds."""

import sockwave

sockwave.create_server(max_sise=1024)  # wrong
sockwave.create_server(ssl=None)  # wrong
sockwave.create_server(max_size="large")  # wrong
sockwave.create_server(engine="kqueue")  # wrong
sockwave.create_server(slow="drop")  # wrong
sockwave.create_server(version="rfc6456")  # wrong
sockwave.create_server(ping_interval="20")  # wrong
sockwave.create_server(invalid_json="ignore")  # wrong
sockwave.Server(acess_log=True)  # wrong
sockwave.run("main:app", worker=2)  # wrong
sockwave.run("main:app", workers="2")  # wrong

server = sockwave.create_server()


async def handler(conn: sockwave.Connection) -> None:
    conn.send(5)  # wrong
    conn.send("a", slow="dropold")  # wrong
    conn.on("mesage", print)  # wrong
    conn.on("request", print)  # wrong
    conn.once("data", print)  # wrong
    conn.off("mesage", print)  # wrong
    conn.listeners("mesage")  # wrong
    conn.stream_message("texts")  # wrong
    conn.on("message", 5)  # wrong
    conn.on("message", takes_number)  # wrong
    conn.on("close", takes_three)  # wrong
    async for number in conn.json(int):
        number.upper()  # wrong

    @conn.on("ping")  # wrong
    def pinged(data: str) -> None:
        print(data)


def takes_number(number: int) -> None:
    print(number)


def takes_three(code: int, reason: str, more: str) -> None:
    print(code, reason, more)


sockwave.serve(handler, port=0, max_sise=1)  # wrong
server.on("conection", print)  # wrong
server.on("message", print)  # wrong
server.off("conection", print)  # wrong
server.on("connection", takes_number)  # wrong
server.on("connection", takes_three)  # wrong
server.once("request", lambda request, response, more: None)  # wrong
server.topic("room", slow="drop")  # wrong
server.topic("room").on("joined", print)  # wrong
server.topic("room").on("join", takes_number)  # wrong


@server.on("request")  # wrong
def answer(response: sockwave.Response) -> None:
    response.end()


@server.on("conection")  # wrong
def connected(conn: sockwave.Connection) -> None:
    print(conn)
