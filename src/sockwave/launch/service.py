"""Serving TARGET: in this process, or by a supervisor and its workers."""

import logging
import os
import socket
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Unpack

from sockwave.errors import LaunchError

if TYPE_CHECKING:
    from sockwave.launch.setting_types import RunSettings
    from sockwave.launch.settings import Settings

#: The status of a service that cannot listen, or is given what it cannot take.
FAILURE = 1
#: That of one whose application cannot be imported or started.
BOOT_FAILURE = 3

logger = logging.getLogger("sockwave")


def run(target: object, **settings: "Unpack[RunSettings]") -> None:
    """Serve an application, as `sockwave serve` does; the settings are its flags, with underscores.

    `target` is "module:attribute", an ASGI application, a `sockwave.Server`, or with `factory` a
    function that makes one of them. With workers, one that is no text is served by forks of this
    process, which SIGHUP and `reload` bring no new code: `reload` needs text.

    Returns when a signal, or the application, has ended the service. Raises SystemExit with status
    1 where it cannot listen and 3 where the application cannot start, TypeError for an unknown
    setting.
    """
    from sockwave.launch.settings import Settings

    chosen = Settings.collect(settings)
    status = serve_target(target, chosen)
    if status:
        sys.exit(status)


def serve_target(target: object, settings: "Settings") -> int:
    """Serve a target, and return the exit status; what fails is logged."""
    from sockwave.launch.logs import configure_logging

    try:
        configure_logging(settings)
    except LaunchError as error:
        print(f"sockwave: {error}", file=sys.stderr)  # noqa: T201 - there is no log
        return FAILURE
    try:
        return _serve(target, settings)
    except LaunchError as error:
        logger.error("%s", error)
        return FAILURE


def _serve(target: object, settings: "Settings") -> int:
    from sockwave.launch.environment import read_file
    from sockwave.launch.flags import BY_NAME
    from sockwave.launch.listeners import listen, make_context

    for name in settings.ignored:
        flag = BY_NAME[name]
        logger.warning("%s: no effect, as %s", flag.spelling, flag.without_effect)
    variables = {} if settings.env_file is None else read_file(settings.env_file)
    settings.read_shared_variables(variables | os.environ)
    make_context(settings)  # says what is wrong before anything is started
    if settings.reload and settings.worker_count > 1:
        logger.warning("--workers: no effect, as --reload runs one worker")
        settings.workers = 1
    changes = _watch(settings, target)
    listeners = listen(settings)
    try:
        if changes is None and not _needs_supervisor(settings, target):
            return _run_alone(target, settings, listeners.sockets, listeners.where)
        return _supervise(target, settings, listeners, changes)
    finally:
        for sock in listeners.sockets:
            sock.close()
        listeners.remove_path()


def _needs_supervisor(settings: "Settings", target: object) -> bool:
    if settings.limit_max_requests is not None or settings.sequencer is not None:
        return True
    if isinstance(target, str):
        return settings.workers is not None
    return settings.worker_count > 1


def _watch(settings: "Settings", target: object) -> Any:
    """Return the changes that start the workers anew; None where nothing is watched."""
    if not settings.reload:
        if settings.reload_dirs or settings.reload_includes or settings.reload_excludes:
            logger.warning("--reload-dir and its like: no effect without --reload")
        return None
    if not isinstance(target, str):
        raise LaunchError(
            f"reload: expected TARGET as text, 'module:attribute', given {type(target).__name__}"
        )
    from sockwave.launch.changes import FileChanges

    return FileChanges(settings)


def _supervise(target: object, settings: "Settings", listeners: Any, changes: Any) -> int:
    """Run a supervisor and its workers until their end."""
    if not hasattr(os, "fork"):
        raise LaunchError("--workers and --reload: expected a system with Unix sockets and signals")
    from sockwave.workers.processes import FreshLauncher
    from sockwave.workers.sequencing import SequencerProcess
    from sockwave.workers.sockets import ServiceSockets
    from sockwave.workers.supervisor import Supervisor

    count = settings.worker_count
    if isinstance(target, str):
        details = {"target": target, "settings": settings.to_json(), "path": sys.path}
        launcher: Any = FreshLauncher("sockwave.launch.program", target, details)
    else:
        launcher = _make_fork_launcher(target, settings)
    logger.info("Sockwave running on %s (Press CTRL+C to quit)", listeners.where)
    logger.info("Supervisor [%d] of %d worker%s", os.getpid(), count, "s" if count > 1 else "")
    sockets = ServiceSockets(listeners.sockets, own=listeners.own, backlog=settings.backlog)
    sequencer = SequencerProcess(settings.sequencer, may_fork=changes is None)  # it has threads
    try:
        sequencer.open()
    except OSError as error:
        raise LaunchError(f"--sequencer: {error.strerror or error}") from None
    return Supervisor(
        launcher,
        sockets,
        count,
        drain_s=settings.timeout_graceful_shutdown,
        changes=changes,
        sequencer=sequencer,
    ).run()


def _make_fork_launcher(target: object, settings: "Settings") -> Any:
    """Return what forks workers that serve a target of this process."""
    from sockwave.launch.application import draw_max_requests
    from sockwave.server.working import check_can_fork, run_worker
    from sockwave.workers.control import ControlChannel
    from sockwave.workers.link import Link
    from sockwave.workers.processes import ForkLauncher, Place

    check_can_fork(settings.worker_count)

    def work(place: Place, channel: ControlChannel, sockets: Sequence[socket.socket]) -> int:
        def serve(link: Link) -> None:
            server = prepare(target, settings)
            adopt(server, sockets, settings)
            server._run_as_worker(link, max_requests=draw_max_requests(settings))

        return run_worker(Link(channel, place), serve)

    return ForkLauncher(work)


def _run_alone(
    target: object, settings: "Settings", sockets: Sequence[socket.socket], where: str
) -> int:
    """Serve in this process, until a signal or the application ends the server."""
    from sockwave.server.working import describe_failure

    started = False
    try:
        server = prepare(target, settings)
        adopt(server, sockets, settings)

        def listening() -> None:
            nonlocal started
            started = True
            logger.info("Sockwave running on %s (Press CTRL+C to quit)", where)

        server.on("listening", listening)
        server.run()
    except Exception as error:
        if started:
            raise
        failure = describe_failure(error).rstrip()
        logger.error("could not start:%s%s", "\n" if "\n" in failure else " ", failure)
        return BOOT_FAILURE
    return 0


def prepare(target: object, settings: "Settings") -> Any:
    """Return the server of a target, which is imported if it is text; nothing may run it yet."""
    from sockwave.launch.application import make_server
    from sockwave.launch.environment import load_file
    from sockwave.launch.target import load_target
    from sockwave.server.server import Server

    load_file(settings.env_file)
    Server._is_importing = True
    try:
        found = load_target(target, settings.app_dir) if isinstance(target, str) else target
        return make_server(found, settings)
    finally:
        Server._is_importing = False


def adopt(server: Any, sockets: Sequence[socket.socket], settings: "Settings") -> None:
    """Have a server listen on the sockets of the service, with TLS where the settings say so."""
    from sockwave.launch.listeners import make_context

    context = make_context(settings)
    for sock in sockets:
        sock.set_inheritable(False)
    server._listening.adopt_listening(sockets, context)
    if context is not None:
        cert, key = settings.ssl_certfile, settings.ssl_keyfile
        try:
            server.reload_tls(cert, key, settings.ssl_keyfile_password)
        except OSError as error:
            where = error.filename or cert
            raise LaunchError(
                f"--ssl-certfile: no certificate in {where}: {error.strerror or error}"
            ) from None
