"""ASGI applications with hypercorn, in this process; there is no access log by default."""

from applications import APPLICATIONS
from hypercorn.asyncio import serve
from hypercorn.config import Config
from serving import parse_arguments, run

if __name__ == "__main__":
    arguments = parse_arguments()
    config = Config()
    config.bind = [f"127.0.0.1:{arguments.port}"]
    config.backlog = 4096
    config.loglevel = "WARNING"
    config.keep_alive_max_requests = 10**9  # it would close after 1,000
    config.certfile, config.keyfile = arguments.tls_cert, arguments.tls_key
    run(serve(APPLICATIONS[arguments.app](), config), arguments.loop)
