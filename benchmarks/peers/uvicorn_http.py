"""ASGI applications with uvicorn: httptools, `websockets-sansio`, no access log."""

import applications
import uvicorn
from serving import parse_arguments

if __name__ == "__main__":
    arguments = parse_arguments()
    uvicorn.run(
        applications.APPLICATIONS[arguments.app](),
        host="127.0.0.1",
        port=arguments.port,
        loop=arguments.loop,
        http="httptools",
        ws="websockets-sansio",
        ws_ping_interval=None,
        ws_per_message_deflate=False,
        access_log=False,
        log_level="warning",
        backlog=4096,
        ssl_certfile=arguments.tls_cert,
        ssl_keyfile=arguments.tls_key,
    )
