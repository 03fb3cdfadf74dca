"""A service behind two proxies, a balancer before an nginx, on four workers that roll on SIGHUP.

    sockwave serve examples.production:server --workers 4

The balancer asks /health; whoever connects is known by the address at the end of the chain.
"""

import logging

import sockwave

server = sockwave.create_server(
    origin=["https://app.example.com"],
    trusted_proxies=["10.0.0.0/8", "127.0.0.1"],  # those whose X-Forwarded-For is believed
    max_connections_per_address=100,
    access_log=True,
)
server.topic("news", history=sockwave.History(count=1000))


@server.get("/health")
def health() -> object:
    return (503, "closing\n") if server.is_closing else "ok\n"


@server.get("/whoami")
def whoami(request: sockwave.Request) -> object:
    return {"address": request.remote_address[0], "secure": request.is_secure}


@server.route("/news")
async def news(conn: sockwave.Connection) -> None:
    await conn.subscribe("news", since=conn.request.params.get("since"))
    await conn.wait_closed()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    server.listen(8000, "127.0.0.1")
    server.run()
