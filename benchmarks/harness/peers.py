"""The servers that are compared, and which of them are installed, in which versions."""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
INSTALLED = HERE / ".peers"
"""Where ``make bench-peers`` puts each peer: an environment of Python's, or npm's modules."""
NODE_MODULES = INSTALLED / "node_modules"

FIND_VERSIONS = """
import importlib.metadata as metadata, json, platform, sys
versions = {"python": platform.python_version()}
for name in sys.argv[1:]:
    try: versions[name] = metadata.version(name)
    except metadata.PackageNotFoundError: versions[name] = None
print(json.dumps(versions))
"""


@dataclass(frozen=True)
class Peer:
    """A server: the programs peers/NAME_ROLE.py, with these arguments, and what they need.

    With `packages`, which are of npm's, they end in .js and Node.js runs them. Without either it is
    the floor: C, compiled on the spot.
    """

    name: str
    distributions: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    """In place of a program in peers/; it echoes."""
    python: str | None = None
    """The interpreter that runs it, where that is not the one that would be chosen."""

    @property
    def is_ours(self) -> bool:
        return self.name == "sockwave"

    @property
    def keeps_request(self) -> bool:
        """Whether it is known to keep the request that opened a connection."""
        return self.is_ours

    @property
    def is_floor(self) -> bool:
        return not self.distributions + self.packages

    def plays(self, role: str) -> bool:
        """Tell whether there is a program for it."""
        if self.is_floor:
            return True
        return role == "echo" if self.command else self.program(role).exists()

    def program(self, role: str) -> Path:
        return HERE / "peers" / f"{self.name}_{role}.{'js' if self.packages else 'py'}"

    def interpreter(self) -> str:
        """Name what runs it: its own environment where there is one, else this one."""
        if self.python is not None:
            return self.python
        if self.packages:
            return "node"
        own = INSTALLED / self.name / "bin" / "python"
        return str(own) if own.exists() and not self.is_ours else sys.executable

    def arguments_for(self, role: str) -> list[str]:
        """Give what stands behind the interpreter; all programs take ``--port`` and more."""
        return [*(self.command or (str(self.program(role)),)), *self.arguments]


def describe(name: str, *more: str, arguments: str = "") -> Peer:
    """Describe the peer of that distribution, which needs more of them, and arguments."""
    return Peer(name, (name, *more), tuple(arguments.split()))


PEERS = {
    "sockwave": describe("sockwave"),
    "sockwave-run": describe("sockwave", arguments="--loop run"),
    "sockwave-uvloop": describe("sockwave", "uvloop", arguments="--loop uvloop"),
    "sockwave-asyncio-engine": describe("sockwave", arguments="--engine asyncio"),
    "sockwave-async-def": describe("sockwave", arguments="--listener async-def"),
    "sockwave-async-for": describe("sockwave", arguments="--listener async-for"),
    "sockwave-portable": describe("sockwave", arguments="--portable-tls"),
    "sockwave-zlib": describe("sockwave", arguments="--zlib zlib"),
    "sockwave-zlib-ng": describe("sockwave", "zlib-ng", arguments="--zlib zlib-ng"),
    "sockwave-context": describe("sockwave", "zlib-ng", arguments="--zlib zlib-ng --context"),
    "sockwave-cli": Peer("sockwave", ("sockwave",), command=("-m", "sockwave", "echo")),
    "picows": describe("picows"),
    "picows-uvloop": describe("picows", "uvloop", arguments="--loop uvloop"),
    "websockets": describe("websockets"),
    "websockets-uvloop": describe("websockets", "uvloop", arguments="--loop uvloop"),
    "aiohttp": describe("aiohttp"),
    "aiohttp-uvloop": describe("aiohttp", "uvloop", arguments="--loop uvloop"),
    "aiohttp-zlib-ng": describe("aiohttp", "zlib-ng", arguments="--zlib zlib-ng"),
    "uvicorn": describe("uvicorn", "websockets", "httptools"),
    "uvicorn-uvloop": describe(
        "uvicorn", "websockets", "httptools", "uvloop", arguments="--loop uvloop"
    ),
    "hypercorn": describe("hypercorn"),
    "hypercorn-uvloop": describe("hypercorn", "uvloop", arguments="--loop uvloop"),
    "granian": describe("granian"),
    "granian-uvloop": describe("granian", "uvloop", arguments="--loop uvloop"),
    "socketify": describe("socketify"),
    "ws": Peer("ws", packages=("ws", "bufferutil")),
    "floor": Peer("floor"),
}
"""The floor is floor.c: what the kernel costs; ws runs on Node.js, the others on Python.

The portable sockwave calls OpenSSL by way of the ssl module.
"""


@dataclass(frozen=True)
class Choice:
    """The peers that can run, the versions of what they use, and a sentence about each left out."""

    peers: dict[str, Peer] = field(default_factory=dict)
    versions: dict[str, dict[str, str]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)


def choose_peers(names: str, role: str = "echo", needs: Sequence[str] = ()) -> Choice:
    """Look up which of the peers named can play a role, for which those on Python need more
    distributions; ends the benchmark if none can."""
    choice = Choice()
    for name in names.split(","):
        if name not in PEERS:
            sys.exit(f"unknown peer {name!r}; known are {', '.join(PEERS)}")
        peer = PEERS[name]
        if not peer.plays(role):
            choice.skipped.append(f"SKIPPED {name}: peers/ has no {role} of it")
            continue
        found = find_versions(peer, needs)
        if None in found.values():
            missing = " ".join(key for key, version in found.items() if version is None)
            way = f"pip install {missing}" if peer.is_ours else "make bench-peers"
            choice.skipped.append(f"SKIPPED {name}: no {missing}; run: {way}")
        else:
            choice.peers[name] = peer
            choice.versions[name] = {key: version for key, version in found.items() if version}
    if not choice.peers:
        sys.exit("\n".join([*choice.skipped, "no server is left"]))
    return choice


def find_versions(peer: Peer, needs: Sequence[str] = ()) -> dict[str, str | None]:
    """Look up the versions of all that a peer needs; None is what is not there."""
    if peer.packages:
        return find_node_versions(peer.packages)
    if peer.is_floor:
        return {}
    command = [peer.interpreter(), "-c", FIND_VERSIONS, *peer.distributions, *needs]
    found: dict[str, str | None] = json.loads(subprocess.check_output(command, text=True))
    return found


def find_node_versions(packages: Sequence[str]) -> dict[str, str | None]:
    """Look up the versions of Node.js and of npm's packages; None is what is not there."""
    found: dict[str, str | None] = dict.fromkeys(["node", *packages])
    if shutil.which("node") is not None:
        command = ["node", "--version"]
        found["node"] = subprocess.check_output(command, text=True).strip().removeprefix("v")
    for name in packages:
        path = NODE_MODULES / name / "package.json"
        if path.exists():
            found[name] = json.loads(path.read_text())["version"]
    return found
