"""The import rule: a room imports from the floors below its own, and from nowhere else.

`import`, `cimport` and imports for type checkers count alike. ARCHITECTURE.md draws the floors.
"""

import functools
import re
from pathlib import Path

SOURCES = Path(__file__).parents[1] / "src" / "sockwave"

#: Below everything: imported by all, and imports nothing but each other.
VOCABULARY = {
    "address",
    "close",
    "cookies",
    "deflate",
    "deliveries",
    "documented",
    "errors",
    "fields",
    "forking",
    "form_bodies",
    "forms",
    "functions",
    "guesses",
    "json_codec",
    "limits",
    "locations",
    "log",
    "messages",
    "multipart",
    "names",
    "paths",
    "query",
    "refusals",
    "states",
    "timeouts",
    "tls_info",
    "trusted",
    "versions",
    "waits",
}

#: What of it the compiled core may know.
CORE_VOCABULARY = VOCABULARY - {"forking", "names", "trusted"}

#: From the ground up; rooms on one floor do not know each other.
CORE_FLOORS = (
    ("core",),
    ("core.events", "core.limits"),
    ("core.protocol",),
    ("core.io",),
    ("core.io.epoll", "core.io.asyncio"),
    ("core.tls", "core.http"),
    ("core.session",),
    ("core.topics", "core.sync"),
    ("core.opening", "core.asgi"),
)
FLOORS = (
    *CORE_FLOORS,
    ("proxy", "listening"),
    ("handshake", "http"),
    ("asgi",),
    ("brokers",),
    ("options",),
    ("option_types",),
    ("topics",),
    ("runtime", "workers", "client.topics"),
    ("server", "client"),
    ("sync",),
    ("launch", "testing"),
    ("sockwave",),
    ("cli.shell",),
    ("cli.doctor", "cli.connect", "cli.bench"),
    ("cli", "gunicorn"),
    ("__main__",),
)
#: Room -> where it stands.
HEIGHTS = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}

#: What the load generator uses of the core; of all rooms, only the command that loads uses it.
LOADGEN_USES = {room for rooms in CORE_FLOORS for room in rooms} - {
    "core.session",
    "core.http",
    "core.opening",
}

STATEMENT = re.compile(
    r"^\s*(?:from\s+(sockwave(?:\.\w+)*)\s+c?import\s+(\([^)]*\)|[^\n]+)"
    r"|c?import\s+(sockwave(?:\.\w+)*))",
    re.MULTILINE,
)

Module = tuple[str, ...]


def find_room(module: Module) -> str:
    """Give the room of a module: its folder, or the module itself where it stands in none."""
    if not module:
        return "sockwave"
    if SOURCES.joinpath(*module).is_dir():
        return ".".join(module)
    return ".".join(module[:-1]) or module[0]


def find_imports(text: str) -> set[Module]:
    """Give the modules of ours that a source imports."""
    found = set()
    for package, names, plain in STATEMENT.findall(text):
        if plain:
            found.add(tuple(plain.split(".")[1:]))
            continue
        module = tuple(package.split(".")[1:])
        for name in re.findall(r"(\w+)(?:\s+as\s+\w+)?", names):
            path = SOURCES.joinpath(*module, name)
            is_module = path.is_dir() or any(path.parent.glob(f"{name}.p*"))
            found.add((*module, name) if is_module else module)
    return found


@functools.cache
def read_modules(*suffixes: str) -> dict[Module, set[Module]]:
    """Give each module with what it imports, as its files with these suffixes say."""
    imports: dict[Module, set[Module]] = {}
    for path in sorted(SOURCES.rglob("*")):
        if path.suffix in suffixes:
            module = path.relative_to(SOURCES).with_suffix("").parts
            module = module[:-1] if module[-1] == "__init__" else module
            imports.setdefault(module, set()).update(find_imports(path.read_text("utf-8")))
    return imports


def may_import(room: str, other: str) -> bool:
    """Tell whether the rule lets a module of one room import from another."""
    if room == other:
        return True
    if other in VOCABULARY:
        return other in CORE_VOCABULARY or not room.startswith("core")
    if room == "loadgen":
        return other in LOADGEN_USES
    if room in VOCABULARY:
        return False
    if other == "loadgen":
        return room == "cli.bench"
    return HEIGHTS[other] < HEIGHTS[room]


def test_a_room_imports_from_the_floors_below_it_and_from_nowhere_else() -> None:
    modules = read_modules(".py", ".pyi", ".pyx", ".pxd")
    assert len(modules) > 100
    against = [
        f"{'.'.join(module)} ({room}) imports {'.'.join(target)} ({find_room(target)})"
        for module, targets in modules.items()
        for room in [find_room(module)]
        for target in sorted(targets)
        if not may_import(room, find_room(target))
    ]
    assert not against, "\n".join(against)


def test_no_module_imports_itself_by_way_of_others() -> None:
    # Types apart: a hub holds connections, which have a hub.
    modules = read_modules(".py", ".pyx", ".pxd")
    done: set[Module] = set()

    def follow(module: Module, path: tuple[Module, ...]) -> None:
        assert module not in path, " -> ".join(".".join(one) for one in (*path, module))
        if module not in done:
            for target in modules.get(module, set()) - {module}:
                follow(target, (*path, module))
            done.add(module)

    for module in modules:
        follow(module, ())
