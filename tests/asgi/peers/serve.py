"""Serves an application on uvicorn and on sockwave: `serve.py NAME FOLDER`, one process for each.

The application is imported once, and each server runs in a fork; their errors go to a file for each
in the folder. Prints a line of JSON with their ports, and ends them when its input ends.
"""

import asyncio
import importlib
import json
import logging
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn
import uvloop

import sockwave

#: Of uvicorn's pings and ours none comes while a question is asked.
PING_S = 60.0


def serve_by_uvicorn(application: Any, sock: socket.socket) -> None:
    config = uvicorn.Config(
        application,
        loop="asyncio",
        http="httptools",
        log_level="warning",
        ws_ping_interval=PING_S,
        timeout_graceful_shutdown=5,
    )
    uvicorn.Server(config).run(sockets=[sock])


def serve_by_sockwave(engine: str, loop: str) -> Callable[[Any, socket.socket], None]:
    def serve(application: Any, sock: socket.socket) -> None:
        server = sockwave.create_server(asgi=application, engine=engine, ping_interval=PING_S)
        server.listen(sock=sock)
        if loop == "own":
            server.run()
        else:
            factory = uvloop.new_event_loop if loop == "uvloop" else asyncio.new_event_loop
            with asyncio.Runner(loop_factory=factory) as runner:
                # `run` does that by itself.
                runner.get_loop().add_signal_handler(signal.SIGTERM, server.close)
                runner.run(server.serve_forever())

    return serve


#: The first is the one that all others are compared with.
SERVERS: dict[str, Callable[[Any, socket.socket], None]] = {
    "uvicorn": serve_by_uvicorn,
    "epoll, own loop": serve_by_sockwave("epoll", "own"),
    "epoll, asyncio": serve_by_sockwave("epoll", "asyncio"),
    "epoll, uvloop": serve_by_sockwave("epoll", "uvloop"),
    "asyncio, asyncio": serve_by_sockwave("asyncio", "asyncio"),
    "asyncio, uvloop": serve_by_sockwave("asyncio", "uvloop"),
}


def run_child(
    serve: Callable[[Any, socket.socket], None], application: Any, sock: socket.socket, log: Path
) -> None:
    """Serve until SIGTERM, in a process of its own."""
    errors = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(errors, 1)
    os.dup2(errors, 2)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    serve(application, sock)


def main(name: str, folder: str) -> None:
    try:
        application = importlib.import_module(f"applications.{name}").app
    except ModuleNotFoundError as missing:
        print(json.dumps({"missing": missing.name}), flush=True)
        return
    ports, children = {}, []
    for server, serve in SERVERS.items():
        # A listening socket takes connections before its server runs.
        sock = socket.create_server(("127.0.0.1", 0), backlog=128)
        ports[server] = sock.getsockname()[1]
        child = os.fork()
        if child == 0:
            status = 1
            try:
                run_child(serve, application, sock, Path(folder, f"{server}.log"))
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        sock.close()
        children.append(child)
    print(json.dumps(ports), flush=True)
    sys.stdin.read()
    for child in children:
        os.kill(child, signal.SIGTERM)
    # The status of a process that a signal ended is negative, as that of `subprocess`.
    ends = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    print(json.dumps(dict(zip(ports, ends, strict=True))), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
