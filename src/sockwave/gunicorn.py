"""A worker class for gunicorn: `gunicorn -k sockwave.gunicorn.Worker module:app`.

gunicorn binds, starts and replaces the workers; each of them is a server. `module:server`, a
`sockwave.Server`, works as well.
"""

import asyncio
import logging
import os
import socket
import sys
from functools import partial
from typing import Any

from gunicorn.arbiter import Arbiter
from gunicorn.errors import AppImportError
from gunicorn.workers import base

from sockwave.launch.service import adopt, prepare
from sockwave.launch.settings import Settings
from sockwave.launch.target import load_target
from sockwave.runtime.loop import run_in_own_loop
from sockwave.runtime.signals import signal_handlers
from sockwave.server.server import Server
from sockwave.server.working import Retirement, count_requests, describe_failure
from sockwave.workers.link import Order

# gunicorn hears at least so often that a worker is alive, and the worker looks as often whether
# gunicorn still is.
_TICK_S = 1.0


class Worker(base.Worker):  # type: ignore[misc]
    """Serves what gunicorn loads, on the sockets that gunicorn has bound.

    Of gunicorn's settings it takes `keepalive`, `forwarded_allow_ips`, `max_requests` with its
    jitter, `timeout`, `graceful_timeout`, `accesslog` and those of TLS. A subclass may change
    `SETTINGS`, which are those of `sockwave.run`.
    """

    SETTINGS: dict[str, Any] = {}  # noqa: RUF012 - for subclasses, as uvicorn's CONFIG_KWARGS

    def load_wsgi(self) -> None:
        """Load the application; gunicorn itself takes nothing that cannot be called."""
        try:
            super().load_wsgi()
        except AppImportError:
            found = load_target(self.app.app_uri, self.cfg.chdir)
            if not isinstance(found, Server):
                raise
            self.wsgi = found

    def run(self) -> None:
        """Serve until a signal of gunicorn's, or the application, ends the server."""
        self._share_logs()
        try:
            settings = self._make_settings()
            server: Server = prepare(self.wsgi, settings)
            adopt(server, [socket.socket(fileno=os.dup(one.fileno())) for one in self.sockets],
                  settings)  # fmt: skip
        except Exception as error:
            self.log.error("could not start: %s", describe_failure(error).rstrip())
            sys.exit(Arbiter.WORKER_BOOT_ERROR)
        run_in_own_loop(partial(self._serve, server), server._make_loop)

    def _share_logs(self) -> None:
        """Log where gunicorn logs."""
        for name, theirs in (
            ("sockwave", self.log.error_log),
            ("sockwave.access", self.log.access_log),
        ):
            logger = logging.getLogger(name)
            logger.handlers = theirs.handlers
            logger.setLevel(theirs.level)
            logger.propagate = False

    def _make_settings(self) -> Settings:
        """Return the settings of `sockwave.run` that gunicorn's stand for."""
        given: dict[str, Any] = {"timeout_graceful_shutdown": self.cfg.graceful_timeout}
        if not isinstance(self.wsgi, Server):  # which has options of its own
            given |= {
                "timeout_keep_alive": self.cfg.keepalive or None,
                "forwarded_allow_ips": self.cfg.forwarded_allow_ips,
                "access_log": bool(self.cfg.accesslog),
            }
        if self.cfg.is_ssl:
            options = self.cfg.ssl_options
            given |= {
                "ssl_certfile": options.get("certfile"),
                "ssl_keyfile": options.get("keyfile"),
                "ssl_ca_certs": options.get("ca_certs"),
                "ssl_cert_reqs": int(options.get("cert_reqs") or 0),
                "ssl_ciphers": options.get("ciphers"),
            }
        return Settings.collect(given | self.SETTINGS)

    async def _serve(self, server: Server) -> None:
        order = Order(is_last=False, drain_s=self.cfg.graceful_timeout)
        retirement = Retirement(server._host, server._close_because, ())

        def drain() -> None:
            """End as the signal of a restart or of a stop asks for."""
            self.alive = False
            retirement.begin(order)

        # gunicorn starts no sequencer: what is published stays in its worker, as a warning says.
        server._host.topics.reach.is_alone_among_others = self.cfg.workers > 1
        if self.max_requests < sys.maxsize:
            count_requests(server._host, self.max_requests, drain)
        handlers = {"SIGTERM": drain, "SIGQUIT": server._drop, "SIGINT": server._drop}
        with signal_handlers(handlers):
            try:
                await server.start()
            except Exception as error:
                self.log.error("could not start: %s", describe_failure(error).rstrip())
                sys.exit(Arbiter.WORKER_BOOT_ERROR)
            ticking = asyncio.get_running_loop().create_task(self._tick(retirement, order))
            await server.serve_forever(handle_signals=False)
            ticking.cancel()

    async def _tick(self, retirement: Retirement, order: Order) -> None:
        """Tell gunicorn that this worker is alive; end it when gunicorn has gone, or wants it."""
        is_ending = False
        while True:
            self.notify()
            if not is_ending and (not self.alive or os.getppid() != self.ppid):
                is_ending = True
                retirement.begin(order)
            await asyncio.sleep(min(self.timeout or _TICK_S, _TICK_S))
