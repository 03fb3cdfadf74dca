"""An interpreter that has imported sockwave: it forks at each request, and the child is a program.

`python interpreter.py DESCRIPTOR CLONE`: a socket of packets, and the number of clone(2). A request
says what the program is, and brings its descriptors; the answer has the child's process id. The
child's parent is the one who asked (CLONE_PARENT): it waits for it as for any other.
"""

import ctypes
import fcntl
import gc
import json
import os
import runpy
import signal
import socket
import sys
import threading
import types
from typing import Any

import sockwave  # noqa: F401 - it is what takes the time

CLONE_PARENT = 0x8000

Request = dict[str, Any]


def fork_for_others(channel: socket.socket, clone: int) -> tuple[Request, list[int]]:
    """Fork at each request, and end when nobody asks any more. In a child, return the request."""
    library = ctypes.PyDLL(None, use_errno=True)  # which keeps the interpreter's lock
    while True:
        request, descriptors, _, _ = socket.recv_fds(channel, 1_000_000, 200)
        if not request:
            os._exit(0)
        library.PyOS_BeforeFork()
        pid = library.syscall(clone, CLONE_PARENT | signal.SIGCHLD, 0, 0, 0, 0)
        if pid == 0:
            library.PyOS_AfterFork_Child()
            threading.main_thread()._set_native_id()  # of the parent's main thread until now
            return json.loads(request), descriptors
        error = ctypes.get_errno() if pid < 0 else 0
        library.PyOS_AfterFork_Parent()
        channel.send(json.dumps([pid, error]).encode())
        for descriptor in descriptors:
            os.close(descriptor)


def become(request: Request, descriptors: list[int]) -> None:
    """Take the session, directory, environment and descriptors that were asked for."""
    if request["new_session"]:
        os.setsid()
    if request["process_group"] >= 0:
        os.setpgid(0, request["process_group"])
    os.chdir(request["cwd"])
    os.environ.clear()
    for pair in request["environment"]:
        name, _, value = pair.encode("latin-1").partition(b"=")
        os.environb[name] = value
    # First out of the way of each other.
    places = request["descriptors"]
    aside = [fcntl.fcntl(one, fcntl.F_DUPFD, max(places) + 1) for one in descriptors]
    for descriptor in descriptors:
        os.close(descriptor)
    for descriptor, place in zip(aside, places, strict=True):
        os.dup2(descriptor, place)
        os.close(descriptor)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        renew_stream(number, name)


def renew_stream(descriptor: int, name: str) -> None:
    """Make a standard stream as the interpreter does: the one there was for another file."""
    old = getattr(sys, name)
    mode = "w" if descriptor else "r"
    stream = open(  # noqa: SIM115 - it stays open
        descriptor,
        mode,
        encoding=old.encoding,
        errors=old.errors,
        newline="\n" if descriptor else None,
        closefd=False,
    )
    stream.reconfigure(line_buffering=old.line_buffering, write_through=old.write_through)
    stream.buffer.raw.name = f"<{name}>"
    stream.mode = mode
    setattr(sys, name, stream)
    setattr(sys, f"__{name}__", stream)


def run(program: list[str]) -> None:
    """Run a program as `python` does: `-c CODE`, `-m MODULE` or a script, with its arguments."""
    sys.orig_argv[1:] = program
    if program[0] == "-m":
        sys.argv[:] = ["-m", *program[2:]]
        sys.path[0] = os.getcwd()
        runpy._run_module_as_main(program[1])
        return
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    main.__builtins__ = sys.modules["builtins"]
    if program[0] == "-c":
        sys.argv[:] = ["-c", *program[2:]]
        sys.path[0] = ""
        code = compile(program[1], "<string>", "exec")
    else:
        sys.argv[:] = program
        sys.path[0] = os.path.dirname(os.path.realpath(program[0]))
        main.__file__ = os.path.join(os.getcwd(), program[0])
        with open(program[0], "rb") as file:
            code = compile(file.read(), main.__file__, "exec")
    exec(code, main.__dict__)


gc.collect()
gc.freeze()
with socket.socket(fileno=int(sys.argv[1])) as channel:
    request, descriptors = fork_for_others(channel, int(sys.argv[2]))
become(request, descriptors)
run(request["program"])
