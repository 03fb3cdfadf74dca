"""What the machine and this Python have: read, not judged.

What the system does not tell is None: macOS and Windows have no /proc/sys.
"""

import importlib.util
import os
import platform
import ssl
import sys
from dataclasses import dataclass, field
from pathlib import Path

import sockwave
from sockwave import deflate
from sockwave.core.protocol import frames
from sockwave.core.tls.openssl import is_available

#: Extra -> the module that it brings, and what it is for.
EXTRAS = {
    "cli": ("prompt_toolkit", "sockwave connect and sockwave bench"),
    "env": ("dotenv", "sockwave serve --env-file"),
    "forms": ("python_multipart", "files of forms"),
    "json": ("msgspec", "JSON in less time"),
    "nats": ("nkeys", "NKeys and credentials of NATS"),
    "proxy": ("python_socks", "connections of ours by way of SOCKS5"),
    "reload": ("watchfiles", "sockwave serve --reload"),
    "speed": ("zlib_ng", "compression in less time"),
    "valkey": ("valkey", "topics over several hosts"),
    "wsgi": ("a2wsgi", "WSGI applications"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Software:
    """The versions of what runs here."""

    sockwave: str
    core: str
    engine: str
    python: str
    openssl: str
    has_direct_tls: bool
    compressor: str
    system: str
    extras: dict[str, bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The limits of the process and the kernel; None: the system does not tell."""

    open_files: tuple[int, int] | None = None  # soft and hard; -1: no limit
    nr_open: int | None = None
    file_max: int | None = None
    files_in_use: int | None = None
    somaxconn: int | None = None
    syn_backlog: int | None = None
    port_range: tuple[int, int] | None = None
    tcp_mem: tuple[int, int, int] | None = None  # pages
    conntrack_max: int | None = None
    available_size: int | None = None  # bytes of memory that can be had
    group_size: int | None = None  # bytes that the control group may have
    processors: int = 1
    page_size: int = 4096
    can_tell: bool = field(default=True)  # False: the system is not Linux


def read_software() -> Software:
    """Look at this Python and what is installed in it."""
    library = deflate.library
    name = "zlib-ng" if "zlib_ng" in library.__name__ else "zlib"
    version = getattr(library, "ZLIBNG_VERSION", None) or library.ZLIB_RUNTIME_VERSION
    return Software(
        sockwave=sockwave.__version__,
        core=str(Path(frames.__file__).parents[1]),
        engine="epoll" if sys.platform == "linux" else "asyncio",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        openssl=ssl.OPENSSL_VERSION,
        has_direct_tls=is_available(),
        compressor=f"{name} {version}",
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        extras={
            extra: importlib.util.find_spec(module) is not None
            for extra, (module, _) in EXTRAS.items()
        },
    )


def read_machine(root: Path = Path("/")) -> Machine:
    """Read the limits; `root` is where `proc` and `sys` are."""
    sysctl = root / "proc/sys"
    kernel = sysctl / "net/core"
    ipv4 = sysctl / "net/ipv4"
    files = _numbers(sysctl / "fs/file-nr")
    ports = _numbers(ipv4 / "ip_local_port_range")
    pages = _numbers(ipv4 / "tcp_mem")
    return Machine(
        open_files=_read_open_files(),
        nr_open=_number(sysctl / "fs/nr_open"),
        file_max=_number(sysctl / "fs/file-max"),
        files_in_use=files[0] if files else None,
        somaxconn=_number(kernel / "somaxconn"),
        syn_backlog=_number(ipv4 / "tcp_max_syn_backlog"),
        port_range=(ports[0], ports[1]) if len(ports) == 2 else None,
        tcp_mem=(pages[0], pages[1], pages[2]) if len(pages) == 3 else None,
        conntrack_max=_number(sysctl / "net/netfilter/nf_conntrack_max"),
        available_size=_read_available(root / "proc/meminfo"),
        group_size=_read_group(root),
        processors=_count_processors(),
        page_size=os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096,
        can_tell=sysctl.is_dir(),
    )


def _numbers(path: Path) -> list[int]:
    try:
        return [int(word) for word in path.read_text("ascii").split()]
    except (OSError, ValueError):
        return []


def _number(path: Path) -> int | None:
    return next(iter(_numbers(path)), None)


def _read_open_files() -> tuple[int, int] | None:
    if sys.platform == "win32":  # pragma: no cover - Windows has no such limit
        return None
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    return (-1 if soft == unlimited else soft, -1 if hard == unlimited else hard)


def _read_available(path: Path) -> int | None:
    try:
        lines = path.read_text("ascii").splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10  # kB
    return None


def _read_group(root: Path) -> int | None:
    """Return what the process's own control group may have: version 2, or 1."""
    groups = root / "sys/fs/cgroup"
    try:
        own = (root / "proc/self/cgroup").read_text("utf-8").splitlines()
    except OSError:
        own = []
    unified = [line.partition("::")[2] for line in own if line.startswith("0::")]
    limits = []
    for name in unified:
        place = groups / name.lstrip("/")
        # A group may have no more than those that it is in.
        for level in (place, *place.parents):
            if not level.is_relative_to(groups):
                break
            limits.append(_number(level / "memory.max"))
    limits.append(_number(groups / "memory/memory.limit_in_bytes"))
    # Version 1 writes nearly 2**63 for no limit.
    return min((limit for limit in limits if limit is not None and limit < 1 << 60), default=None)


def _count_processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # pragma: no cover - systems other than Linux
