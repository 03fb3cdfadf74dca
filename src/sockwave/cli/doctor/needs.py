"""What a service of so many connections needs, held against what there is."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from sockwave.cli.doctor.machine import EXTRAS, Machine, Software

Status = Literal["ok", "missing", "advice", "unknown"]

#: Descriptors beside those of connections: as many as the option max_connections leaves.
SPARE_FILE_COUNT = 64
#: What `sockwave serve` asks of listen(2).
BACKLOG = 4096
#: Bytes of the process for a connection that is idle (docs/performance.md), and over TLS.
CONNECTION_SIZE = 1024
TLS_CONNECTION_SIZE = 15 << 10
#: Bytes of the kernel for an idle connection: the socket, its file and its entries (tcp(7), slab).
SOCKET_SIZE = 4 << 10
#: Bytes of the process before anybody is connected.
PROCESS_SIZE = 40 << 20
#: Ports below this one are those of well-known services (RFC 6335, section 6).
FIRST_USER_PORT = 1024


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    `missing` is what the service cannot do without; `advice` is what it would be better with;
    `unknown` is what this system does not tell.
    """

    name: str
    status: Status
    value: str
    need: str = ""
    fix: str = ""


def judge_software(software: Software) -> Iterator[Finding]:
    """Tell of what runs here."""
    yield Finding("sockwave", "ok", software.sockwave)
    yield Finding("compiled core", "ok", software.core)
    if software.engine == "epoll":
        yield Finding("engine", "ok", "epoll")
    else:
        need = "Linux for the engine epoll, which serves more by a core"
        yield Finding("engine", "advice", software.engine, need)
    yield Finding("Python", "ok", software.python)
    if software.has_direct_tls:
        yield Finding("OpenSSL", "ok", software.openssl)
    else:
        need = "a Python whose ssl module loads OpenSSL as a library, for TLS in less time"
        yield Finding("OpenSSL", "advice", software.openssl, need)
    if software.compressor.startswith("zlib-ng"):
        yield Finding("compression", "ok", software.compressor)
    else:
        need = "zlib-ng, for compression in less time"
        fix = "pip install 'sockwave[speed]'"
        yield Finding("compression", "advice", software.compressor, need, fix)
    yield Finding("system", "ok", software.system)
    for extra, is_there in software.extras.items():
        if extra == "speed":
            continue  # told with the compression
        purpose = EXTRAS[extra][1]
        if is_there:
            yield Finding(f"extra {extra}", "ok", purpose)
        else:
            fix = f"pip install 'sockwave[{extra}]'"
            yield Finding(f"extra {extra}", "advice", "not installed", purpose, fix)


def judge_machine(machine: Machine, count: int) -> Iterator[Finding]:
    """Tell what a service of `count` connections, in one process, finds here."""
    yield from _judge_open_files(machine, count)
    yield from _judge_all_files(machine, count)
    yield from _judge_backlog(machine)
    yield from _judge_ports(machine, count)
    yield from _judge_tcp_memory(machine, count)
    if machine.conntrack_max is not None:
        yield _judge_sysctl(
            "nf_conntrack_max", machine.conntrack_max, count, "net.netfilter.nf_conntrack_max"
        )
    yield _judge_memory(machine, count)
    value = f"{machine.processors} for this process"
    fix = f"sockwave serve TARGET --workers {machine.processors}" if machine.processors > 1 else ""
    yield Finding("processors", "ok", value, "a worker for each", fix)


def _unknown(name: str, how: str = "") -> Finding:
    return Finding(name, "unknown", "this system does not tell", how)


def _judge_sysctl(name: str, value: int | None, need: int, key: str) -> Finding:
    """Judge a setting of the kernel that has to be at least `need`."""
    if value is None:
        return _unknown(name)
    if value >= need:
        return Finding(name, "ok", f"{value:,}", f"{need:,}")
    return Finding(name, "missing", f"{value:,}", f"{need:,}", f"sudo sysctl -w {key}={need}")


def _judge_open_files(machine: Machine, count: int) -> Iterator[Finding]:
    if machine.open_files is None:
        yield _unknown("nofile", "Windows has no such limit; its memory is one")
        return
    soft, hard = machine.open_files
    need = count + SPARE_FILE_COUNT
    value = f"soft {_limit(soft)}, hard {_limit(hard)}"
    wanted = f"{need:,} for each process"
    if soft == -1 or soft >= need:
        yield Finding("nofile", "ok", value, wanted)
    elif hard == -1 or hard >= need:
        yield Finding("nofile", "missing", value, wanted, f"ulimit -Sn {need}")
    else:
        fix = f"sudo prlimit --pid $$ --nofile={need}:{need}"
        fix += f"   # systemd: LimitNOFILE={need}; docker run --ulimit nofile={need}"
        yield Finding("nofile", "missing", value, wanted, fix)
    if machine.nr_open is not None and need > machine.nr_open:
        yield _judge_sysctl("nr_open", machine.nr_open, need, "fs.nr_open")


def _judge_all_files(machine: Machine, count: int) -> Iterator[Finding]:
    in_use = machine.files_in_use or 0
    yield _judge_sysctl(
        "file-max", machine.file_max, count + SPARE_FILE_COUNT + in_use, "fs.file-max"
    )


def _judge_backlog(machine: Machine) -> Iterator[Finding]:
    how = "" if machine.can_tell else "ask: sysctl kern.ipc.somaxconn (macOS)"
    if machine.somaxconn is None:
        yield _unknown("somaxconn", how)
    else:
        yield _judge_sysctl("somaxconn", machine.somaxconn, BACKLOG, "net.core.somaxconn")
    if machine.syn_backlog is not None and machine.syn_backlog < BACKLOG // 4:
        key = "net.ipv4.tcp_max_syn_backlog"
        fix = f"sudo sysctl -w {key}={BACKLOG}"
        yield Finding("tcp_max_syn_backlog", "advice", f"{machine.syn_backlog:,}", "1,024", fix)


def _judge_ports(machine: Machine, count: int) -> Iterator[Finding]:
    """Judge the ports for connections that are opened here: by a proxy, or a load generator."""
    name = "port range"
    if machine.port_range is None:
        yield _unknown(name)
        return
    first, last = machine.port_range
    there = last - first + 1
    value = f"{first}-{last}: {there:,} to one address and port"
    most = 65535 - FIRST_USER_PORT + 1
    if there >= count:
        yield Finding(name, "ok", value, f"{count:,} behind a proxy on this host")
        return
    fix = ""
    if there < most:
        fix = f'sudo sysctl -w net.ipv4.ip_local_port_range="{FIRST_USER_PORT} 65535"'
    need = f"{count:,} behind a proxy on this host"
    if count > most:
        need += f", so {-(-count // most)} addresses or Unix sockets"
    yield Finding(name, "advice", value, need, fix)


def _judge_tcp_memory(machine: Machine, count: int) -> Iterator[Finding]:
    """Judge what the kernel may use for what is under way: a page for each connection."""
    if machine.tcp_mem is None:
        yield _unknown("tcp_mem")
        return
    low, pressure, most = machine.tcp_mem
    value = f"{low} {pressure} {most} pages, at most {_size(most * machine.page_size)}"
    need = f"{count:,} pages: one for each connection"
    if pressure >= count:
        yield Finding("tcp_mem", "ok", value, need)
    else:
        fix = f'sudo sysctl -w net.ipv4.tcp_mem="{count // 2} {count} {max(most, count * 2)}"'
        yield Finding("tcp_mem", "missing", value, need, fix)


def _judge_memory(machine: Machine, count: int) -> Finding:
    need = needed_size(count)
    with_tls = _size(need + count * (TLS_CONNECTION_SIZE - CONNECTION_SIZE))
    wanted = f"{_size(need)} while all are idle, {with_tls} over TLS"
    known = [size for size in (machine.available_size, machine.group_size) if size is not None]
    if not known:
        return _unknown("memory", wanted)
    there = min(known)
    value = f"{_size(there)} to be had"
    if machine.group_size == there:
        value += " by this control group"
    if there >= need:
        return Finding("memory", "ok", value, wanted)
    fix = f"docker run --memory {-(-need >> 20)}m" if machine.group_size == there else ""
    return Finding("memory", "missing", value, wanted, fix)


def needed_size(count: int) -> int:
    """Return the bytes that `count` idle connections need, those of the kernel too."""
    return PROCESS_SIZE + count * (CONNECTION_SIZE + SOCKET_SIZE)


def _limit(value: int) -> str:
    return "unlimited" if value == -1 else f"{value:,}"


def _size(size: int) -> str:
    return f"{size / (1 << 30):.1f} GiB" if size >= 1 << 30 else f"{-(-size >> 20)} MiB"
