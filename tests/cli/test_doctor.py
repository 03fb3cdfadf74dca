"""`sockwave doctor`: what it finds on this machine, and what it says of others."""

import dataclasses
import json
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from commands import PATIENCE_S, run, run_here

from sockwave.cli.doctor.machine import EXTRAS, Machine, Software, read_machine, read_software
from sockwave.cli.doctor.needs import (
    BACKLOG,
    SPARE_FILE_COUNT,
    Finding,
    judge_machine,
    judge_software,
    needed_size,
)

resource = pytest.importorskip("resource")

ROOT = Path(__file__).parents[2]
COUNT = 5_000
ENOUGH = Machine(
    open_files=(COUNT + SPARE_FILE_COUNT, COUNT + SPARE_FILE_COUNT),
    nr_open=1 << 20,
    file_max=COUNT + SPARE_FILE_COUNT + 1_000,
    files_in_use=1_000,
    somaxconn=BACKLOG,
    syn_backlog=1024,
    port_range=(10_000, 10_000 + COUNT - 1),
    tcp_mem=(COUNT // 2, COUNT, COUNT * 2),
    conntrack_max=COUNT,
    available_size=needed_size(COUNT),
    group_size=needed_size(COUNT),
)


def judge(machine: Machine) -> dict[str, Finding]:
    return {finding.name: finding for finding in judge_machine(machine, COUNT)}


def test_machine_that_just_suffices_lacks_nothing() -> None:
    assert {finding.status for finding in judge(ENOUGH).values()} == {"ok"}


@pytest.mark.parametrize(
    ("name", "less", "fix"),
    [
        (
            "nofile",
            {"open_files": (COUNT + SPARE_FILE_COUNT - 1, -1)},
            f"ulimit -Sn {COUNT + SPARE_FILE_COUNT}",
        ),
        (
            "nofile",
            {"open_files": (1024, COUNT + SPARE_FILE_COUNT - 1)},
            f"sudo prlimit --pid $$ --nofile={COUNT + SPARE_FILE_COUNT}:{COUNT + SPARE_FILE_COUNT}",
        ),
        (
            "nr_open",
            {"open_files": (1024, 1024), "nr_open": COUNT + SPARE_FILE_COUNT - 1},
            f"sudo sysctl -w fs.nr_open={COUNT + SPARE_FILE_COUNT}",
        ),
        (
            "file-max",
            {"files_in_use": 1_001},
            f"sudo sysctl -w fs.file-max={COUNT + SPARE_FILE_COUNT + 1_001}",
        ),
        (
            "somaxconn",
            {"somaxconn": BACKLOG - 1},
            f"sudo sysctl -w net.core.somaxconn={BACKLOG}",
        ),
        (
            "tcp_mem",
            {"tcp_mem": (1, COUNT - 1, COUNT)},
            f'sudo sysctl -w net.ipv4.tcp_mem="{COUNT // 2} {COUNT} {COUNT * 2}"',
        ),
        (
            "nf_conntrack_max",
            {"conntrack_max": COUNT - 1},
            f"sudo sysctl -w net.netfilter.nf_conntrack_max={COUNT}",
        ),
        ("memory", {"group_size": needed_size(COUNT) - 1}, "docker run --memory "),
        ("memory", {"available_size": needed_size(COUNT) - 1}, ""),
    ],
)
def test_one_less_is_missing_and_a_command_gives_it(
    name: str, less: dict[str, object], fix: str
) -> None:
    found = judge(dataclasses.replace(ENOUGH, **less))[name]  # type: ignore[arg-type]
    assert found.status == "missing"
    assert found.fix.startswith(fix)


@pytest.mark.parametrize(
    ("name", "less"),
    [
        ("port range", {"port_range": (10_000, 10_000 + COUNT - 2)}),
        ("tcp_max_syn_backlog", {"syn_backlog": 1023}),
    ],
)
def test_what_a_service_can_do_without_is_advice(name: str, less: dict[str, object]) -> None:
    found = judge(dataclasses.replace(ENOUGH, **less))  # type: ignore[arg-type]
    assert found[name].status == "advice"
    assert found[name].fix.startswith("sudo sysctl -w net.ipv4.")


def test_more_connections_than_ports_need_several_addresses() -> None:
    findings = {one.name: one for one in judge_machine(ENOUGH, 200_000)}
    assert "so 4 addresses" in findings["port range"].need


def test_system_that_tells_nothing_is_not_said_to_lack_anything() -> None:
    found = judge(Machine(can_tell=False))
    assert {one.status for name, one in found.items() if name != "processors"} == {"unknown"}
    assert "kern.ipc.somaxconn" in found["somaxconn"].need


def test_no_limit_of_descriptors_suffices() -> None:
    assert judge(dataclasses.replace(ENOUGH, open_files=(-1, -1)))["nofile"].value == (
        "soft unlimited, hard unlimited"
    )


def test_limits_are_read_where_the_kernel_keeps_them(tmp_path: Path) -> None:
    files = {
        "proc/sys/fs/file-nr": "1216\t0\t2466177\n",
        "proc/sys/fs/file-max": "2466177\n",
        "proc/sys/net/core/somaxconn": "128\n",
        "proc/sys/net/ipv4/ip_local_port_range": "32768\t60999\n",
        "proc/sys/net/ipv4/tcp_mem": "287901\t383868\t575802\n",
        "proc/meminfo": "MemTotal:  100 kB\nMemAvailable:   64 kB\n",
        "proc/self/cgroup": "0::/service/part\n",
        "sys/fs/cgroup/service/memory.max": "4096\n",
        "sys/fs/cgroup/service/part/memory.max": "max\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    machine = read_machine(tmp_path)
    assert (machine.files_in_use, machine.file_max, machine.somaxconn) == (1216, 2466177, 128)
    assert machine.port_range == (32768, 60999)
    assert machine.tcp_mem == (287901, 383868, 575802)
    assert (machine.available_size, machine.group_size) == (64 << 10, 4096)
    assert machine.can_tell
    assert machine.nr_open is machine.syn_backlog is machine.conntrack_max is None


def test_limits_of_another_system_are_not_known(tmp_path: Path) -> None:
    machine = read_machine(tmp_path)
    assert not machine.can_tell
    assert machine.somaxconn is machine.port_range is machine.available_size is None


def test_group_without_a_limit_has_none(tmp_path: Path) -> None:
    path = tmp_path / "sys/fs/cgroup/memory/memory.limit_in_bytes"
    path.parent.mkdir(parents=True)
    path.write_text("9223372036854771712\n")
    assert read_machine(tmp_path).group_size is None


def test_software_that_could_be_better_is_advised_with_its_command() -> None:
    plain = dataclasses.replace(
        read_software(),
        engine="asyncio",
        has_direct_tls=False,
        compressor="zlib 1.3",
        extras={"json": False},
    )
    found = {one.name: one for one in judge_software(plain)}
    assert {name for name, one in found.items() if one.status == "advice"} == {
        "engine",
        "OpenSSL",
        "compression",
        "extra json",
    }
    assert found["compression"].fix == "pip install 'sockwave[speed]'"
    assert found["extra json"].fix == "pip install 'sockwave[json]'"


def test_each_extra_is_looked_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert set(EXTRAS) == set(project["optional-dependencies"])


def test_software_is_what_runs_here() -> None:
    software = read_software()
    assert isinstance(software, Software)
    assert sys.version.split()[0] in software.python
    assert software.extras["cli"]


def with_nofile(soft: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process that may have so many descriptors."""
    words = shlex.join([sys.executable, "-m", "sockwave", "doctor", *arguments])
    command = ["sh", "-c", f"ulimit -Sn {soft} && exec {words}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


@pytest.mark.slow
def test_command_ends_with_1_where_something_is_missing_and_says_how_to_get_it() -> None:
    soft = 128
    enough = with_nofile(soft, "--connections", str(soft - SPARE_FILE_COUNT), "--json")
    lacking = with_nofile(soft, "--connections", str(soft - SPARE_FILE_COUNT + 1))
    told = {one["name"]: one for one in json.loads(enough.stdout)["findings"]}
    assert told["nofile"]["status"] == "ok"
    assert told["nofile"]["value"].startswith(f"soft {soft}, hard ")
    assert (enough.returncode == 0) == (json.loads(enough.stdout)["missing"] == 0)
    assert lacking.returncode == 1
    assert lacking.stderr == ""
    assert f"ulimit -Sn {soft + 1}\n" in lacking.stdout
    assert "missing." in lacking.stdout.splitlines()[-1]


@pytest.mark.slow
def test_command_that_it_gives_repairs_what_it_has_found() -> None:
    need = 300 + SPARE_FILE_COUNT
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] >= need
    assert f"ulimit -Sn {need}\n" in with_nofile(128, "--connections", "300").stdout
    repaired = with_nofile(need, "--connections", "300", "--json")
    told = {one["name"]: one["status"] for one in json.loads(repaired.stdout)["findings"]}
    assert told["nofile"] == "ok"


def test_pipe_gets_no_colours() -> None:
    assert "\x1b" not in run("doctor").stdout


@pytest.mark.parametrize("count", ["0", "-1", "many"])
def test_wrong_count_is_named_with_status_2(count: str) -> None:
    ended = run_here("doctor", f"--connections={count}")
    assert ended.returncode == 2
    assert "--connections" in ended.stderr.splitlines()[-1]
