"""The ASGI applications of a server: which one takes what, and the tasks that run them."""

import asyncio
import os
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from sockwave.asgi.application import (
    Application,
    ASGIApplication,
    Places,
    check_application,
    check_prefix,
)
from sockwave.asgi.http import HttpCall
from sockwave.asgi.lifespan import Lifespan
from sockwave.asgi.scope import make_http_template, make_websocket_template
from sockwave.asgi.tls import describe_tls
from sockwave.core.asgi.call import ApplicationTaker
from sockwave.core.events.emitter import Emitter
from sockwave.core.http.request_head import RequestHead
from sockwave.core.io.transport import Transport
from sockwave.core.session.connection import Connection
from sockwave.core.session.connections import Connections
from sockwave.core.session.hub import Hub
from sockwave.errors import InvalidJSON, Refused
from sockwave.http.folder_options import FolderOptions, check_directory
from sockwave.http.static import StaticFolder
from sockwave.options import Options
from sockwave.runtime.engine import Engine
from sockwave.tls_info import TLSInfo
from sockwave.topics.topics import Topics


class Host(Protocol):
    """The host of the server, as its applications use it; see `runtime.host`."""

    loop: asyncio.AbstractEventLoop
    engine: Engine
    is_running: bool
    topics: Topics

    def listeners(self, event: str) -> list[Callable[..., object]]:
        """Return the listeners of an event."""

    def report(
        self,
        error: BaseException,
        connection: Connection | None,
        request: RequestHead | None = None,
    ) -> None:
        """Emit `error`, or log it."""

    def call_failed(self, error: BaseException, connection: Connection | None) -> None:
        """Handle an error of a listener's call."""

    def listener_failed_for(self, error: BaseException, connection: Connection | None) -> None:
        """Report an error, and close the connection that it happened on."""

    def make_request(self, raw: bytes) -> RequestHead:
        """Return the opening request of a connection."""

    def proxied_tls_info_of(self, transport: Transport) -> TLSInfo | None:
        """Return what a proxy has told of the client's TLS."""

    def refuse_json(self, error: InvalidJSON, connection: Connection) -> bool:
        """Handle a message that is not the JSON that is expected."""

    def warn_no_listener(self, connection: Connection) -> None:
        """Warn that messages are dropped because the application does not listen."""

    def warn_tasks_stalled(self, connection: Connection, count: int, seconds: float) -> None:
        """Warn that too many calls of a listener do not end."""

    def warn_unfinished(self, connection: Connection | None, is_crowded: bool) -> None:
        """Log that a call was cancelled, or messages dropped, behind the end of a connection."""


class Call(Protocol):
    """One call of an application."""

    async def run(self) -> None:
        """Call the application."""

    def cancelled(self) -> None:
        """Take note that the task was cancelled, before its first step even."""


class SocketHost(Emitter):
    """The host of the applications' WebSockets: of the server's events they have `error` only."""

    def __init__(self, host: Host) -> None:
        self.call_failed = host.call_failed
        self.listener_failed_for = host.listener_failed_for
        self.make_request = host.make_request
        self.refuse_json = host.refuse_json
        self.proxied_tls_info_of = host.proxied_tls_info_of
        self.warn_no_listener = host.warn_no_listener
        self.warn_tasks_stalled = host.warn_tasks_stalled
        self.warn_unfinished = host.warn_unfinished


class Applications:
    """The ASGI applications of one server.

    Their WebSockets have a hub of their own: they get no broadcast of the server, and are not among
    its `connections`, but count for all limits.
    """

    hub: Hub

    def __init__(self, host: Host, options: Options) -> None:
        self._host = host
        self._options = options
        #: What takes requests below a prefix: applications, which take WebSockets too, and folders.
        self._places: Places[Application | StaticFolder] = Places()
        self._mounted: Places[Application] = Places()
        # The lifespans by callable: one that stands in several places has one.
        self._lifespans: dict[int, Lifespan] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._when_idle: Callable[[], object] | None = None
        self._ending: asyncio.Task[None] | None = None
        #: The application that takes what nothing else takes: the option `asgi`.
        self.fallback: Application | None = None
        self.connections = Connections()
        self._make_hub()
        if options.asgi is not None:
            self.fallback = self._make(options.asgi, "")

    def _make_hub(self) -> None:
        engine = self._host.engine if self._host.is_running else None
        options = self._options
        self.hub = Hub(
            SocketHost(self._host), engine, options.limits, self.connections, options.slow
        )
        self.hub.topics = self._host.topics.table
        self.hub.json = options.json_reading

    def __bool__(self) -> bool:
        return self.has_places or self.fallback is not None

    @property
    def has_places(self) -> bool:
        """Whether any application has been mounted, or any folder of files added."""
        return bool(self._places)

    @property
    def has_mounts(self) -> bool:
        """Whether any application has been mounted."""
        return bool(self._mounted)

    def mount(self, prefix: str, application: ASGIApplication) -> None:
        """Let an application take the paths that begin with a prefix; TypeError, ValueError."""
        call = check_application("application", application)
        mounted = self._make(call, check_prefix(prefix))
        self._places.add(mounted)
        self._mounted.add(mounted)

    def add_folder(
        self, prefix: str, directory: str | os.PathLike[str], options: FolderOptions
    ) -> None:
        """Serve a folder's files below a prefix; raises TypeError, ValueError, OSError."""
        path = check_directory(directory)
        self._places.add(StaticFolder(check_prefix(prefix), path, options, self._host.report))

    def _make(self, call: ASGIApplication, prefix: str) -> Application:
        lifespan = self._lifespans.get(id(call))
        if lifespan is None:
            lifespan = Lifespan(call, self._options.lifespan, self._host.report)
            self._lifespans[id(call)] = lifespan
        return Application(call, lifespan, root_path=self._options.root_path, prefix=prefix)

    # ---- which one takes what

    def find_mounted(self, head: RequestHead) -> Application | StaticFolder | None:
        """Return the application or folder that stands where a request leads; None: none does."""
        return self._places.find(head)

    def find_for_socket(self, head: RequestHead, has_routes: bool) -> Application | None:
        """Return the application that takes a WebSocket; None if it is the server's own.

        Raises Refused (404) if nothing takes it: `has_routes` says that some paths are taken.
        """
        found = self._mounted.find(head)
        if found is not None or self._host.listeners("connection"):
            return found
        # Clients that speak `sockwave.1` need no listener of `connection`.
        takes_all = (not self.has_mounts and not has_routes) or self._host.listeners("subscribe")
        if self.fallback is None and not takes_all:
            raise Refused(404, "there is no WebSocket here\n")
        return self.fallback

    # ---- their calls

    def attach(self) -> None:
        """Make what connections need: the server begins to run."""
        self._make_hub()
        applications = self._mounted.all()
        if self.fallback is not None:
            applications.append(self.fallback)
        topics = self._host.topics
        calls = {"publish": topics.publishing.publish, "presence": topics.presence.members}
        for one in applications:
            one.topics = calls
            one.websocket_template = make_websocket_template(one)
            one.taker = ApplicationTaker(
                one.call,
                make_http_template(one),
                self.hub,
                HttpCall,
                self._find_tls,
                self._host.report,
            )

    @property
    def fallback_taker(self) -> ApplicationTaker | None:
        """What calls the application that takes what nothing else takes; None if there is none."""
        return None if self.fallback is None else self.fallback.taker

    def _find_tls(self, transport: Transport) -> dict[str, Any] | None:
        """Return what is known of the client's TLS, for the scope of a request."""
        info = transport.tls_info or self._host.proxied_tls_info_of(transport)
        return None if info is None else describe_tls(info)

    def begin(self, call: Call) -> None:
        """Run a call as a task, which the end of the server waits for."""
        task = self._host.loop.create_task(call.run())
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, call))

    def _ended(self, call: Call, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if task.cancelled():
            call.cancelled()
        elif (error := task.exception()) is not None:
            self._host.report(error, None)  # an error of ours: a call raises none
        self._look()

    def _look(self) -> None:
        if not self.call_count and self._when_idle is not None:
            self._when_idle()

    @property
    def call_count(self) -> int:
        """How many calls, and connections with messages left, the end of the server waits for."""
        return len(self._tasks) + self.hub.call_count

    def when_idle(self, call: Callable[[], object] | None) -> None:
        """Set what is called when `call_count` falls to 0; None: nothing."""
        self._when_idle = call
        self.hub.when_idle(None if call is None else self._look)

    def excuse(self, task: "asyncio.Task[Any] | None") -> None:
        """Let the end of the server not wait for a task that waits for it."""
        self.hub.excuse(task)
        if task in self._tasks:
            self._tasks.discard(task)
            self._look()

    def cancel_calls(self) -> None:
        """Cancel all calls, and what a lifespan still does."""
        self.hub.cancel_calls()
        for task in [*self._tasks]:
            task.cancel()
        if self._ending is not None:
            for lifespan in self._lifespans.values():
                lifespan.abort()

    def tasks(self) -> list[asyncio.Task[Any]]:
        """Return the tasks of all calls, and of the lifespans."""
        tasks = [*self._tasks, *self.hub.tasks()]
        for lifespan in self._lifespans.values():
            tasks += lifespan.tasks()
        return tasks if self._ending is None else [*tasks, self._ending]

    # ---- their lifespans

    async def start_lifespans(self) -> None:
        """Run the startup of each application, in order; raises the error of one that fails."""
        for lifespan in self._lifespans.values():
            if self._ending is None:  # else the server has been closed meanwhile
                await lifespan.start()

    def end_lifespans(self, when_ended: Callable[[], object]) -> bool:
        """Run the shutdown of each application, in reverse order; False if there is nothing to do.

        `when_ended` is called when all have ended, or have taken longer than `finish_timeout`.
        """
        if self._ending is not None or not any(one.is_running for one in self._lifespans.values()):
            return False
        self._ending = self._host.loop.create_task(self._end_lifespans())
        self._ending.add_done_callback(lambda _: when_ended())
        return True

    async def _end_lifespans(self) -> None:
        for lifespan in reversed(self._lifespans.values()):
            await lifespan.stop(self._options.limits.finish_timeout)
