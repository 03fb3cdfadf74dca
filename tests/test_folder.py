"""What can be opened below a folder, by openat2 and by one call for each name: nothing else."""

import os
import socket
import stat
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from users import as_nobody

from sockwave.core.http.beneath import open_beneath
from sockwave.http import folder as folder_module
from sockwave.http.folder import (
    IS_SUPPORTED,
    MISSING,
    kind_of,
    open_folder,
    open_in_steps,
    open_regular,
    opened_folder,
    opened_root,
    split_path,
)

pytestmark = pytest.mark.skipif(not IS_SUPPORTED, reason="the system has no openat")

Open = Callable[[int, Sequence[bytes]], int]


def open_at_once(root: int, names: Sequence[bytes]) -> int:
    """Open by openat2 alone."""
    try:
        return open_beneath(root, b"/".join(names))
    except OSError as error:
        if error.errno not in MISSING:
            pytest.skip(f"the system has no openat2: {error}")
        raise


@pytest.fixture(params=[open_at_once, open_in_steps, open_folder], ids=["once", "steps", "either"])
def open_below(request: pytest.FixtureRequest) -> Open:
    """Each way in which a folder is opened."""
    way: Open = request.param
    return way


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    """A folder with something of each kind in it, beside one that is nobody's business."""
    top, outside = tmp_path / "top", tmp_path / "outside"
    (top / "a/b").mkdir(parents=True)
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (top / "file").write_text("file")
    (top / "a/b/file").write_text("deep")
    (top / "out").symlink_to(outside)
    (top / "a/up").symlink_to("..")
    (top / "a/link").symlink_to("b")
    (top / "linked").symlink_to("file")
    (top / "loop").symlink_to("loop")
    with opened_root(top) as descriptor:
        yield descriptor


def test_folder_is_opened_by_its_names(root: int, open_below: Open) -> None:
    descriptor = open_below(root, [b"a", b"b"])
    try:
        file = open_regular(descriptor, b"file")
        assert file is not None
        with file:
            assert file.read() == b"deep"
    finally:
        os.close(descriptor)


def test_nothing_but_a_folder_of_the_folder_is_opened(
    root: int, open_below: Open, tmp_path: Path
) -> None:
    before = len(os.listdir("/dev/fd"))
    for names in (
        [b"none"],
        [b"a", b"none"],
        [b"file"],
        [b"file", b"x"],
        [b"out"],
        [b"out", b"x"],
        [b"a", b"link"],
        [b"a", b"up"],
        [b"a", b"up", b"a"],
        [b"loop"],
        [b"n" * 256],
        [b"a"] * 3000,
    ):
        with pytest.raises(OSError) as caught:  # noqa: PT011 - which one depends on the system
            open_below(root, names)
        assert caught.value.errno in MISSING, names
    assert len(os.listdir("/dev/fd")) == before


@pytest.mark.skipif(sys.platform != "linux", reason="openat2 is Linux's")
def test_openat2_lets_no_path_out(root: int, tmp_path: Path) -> None:
    # These cannot come from a request; the kernel refuses them all the same.
    for path in (
        b"..",
        b"a/../..",
        b"/",
        os.fsencode(tmp_path / "outside"),
        b"",
        b"/proc/self/cwd",
    ):
        with pytest.raises(OSError):  # noqa: PT011 - which one depends on the system
            open_beneath(root, path)
    with pytest.raises(ValueError, match="NUL"):
        open_beneath(root, b"a\0b")


def test_only_regular_files_are_opened(root: int, tmp_path: Path) -> None:
    top = tmp_path / "top"
    os.mkfifo(top / "fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        try:
            listening.bind(str(top / "socket"))
        except OSError:
            pytest.skip("the path is too long for a socket")
        for name in (b"fifo", b"socket", b"a", b"linked", b"out", b"loop", b"none", b"n" * 256):
            assert open_regular(root, name) is None, name
    with opened_root("/dev") as devices:
        assert open_regular(devices, b"zero") is None


def test_what_is_no_file_is_not_even_opened(root: int, tmp_path: Path) -> None:
    """To open a FIFO wakes the program that waits to write to it, and to open a device may start
    something."""
    os.mkfifo(tmp_path / "top" / "fifo")
    opened: list[object] = []

    def note(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and is_noting:
            opened.append(arguments[0])

    is_noting = False
    sys.addaudithook(note)
    with opened_root("/dev") as devices:
        is_noting = True
        for folder, name in ((root, b"fifo"), (devices, b"zero"), (root, b"linked"), (root, b"a")):
            assert open_regular(folder, name) is None
        is_noting = False
    assert not opened


def test_file_that_becomes_something_else_behind_the_look_at_it_is_not_taken(
    root: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "top" / "fifo")
    before = len(os.listdir("/dev/fd"))
    monkeypatch.setattr(folder_module, "kind_of", lambda folder, name: stat.S_IFREG)
    for name in (b"linked", b"out", b"loop", b"fifo", b"a", b"none"):
        assert open_regular(root, name) is None, name
    assert len(os.listdir("/dev/fd")) == before


@pytest.mark.parametrize("names", [[], [b"a"]], ids=["root", "below"])
def test_folder_of_a_name_that_is_swapped_is_never_the_one_outside(
    root: int, names: list[bytes], tmp_path: Path
) -> None:
    """While a link out of the folder and a folder of the same name take turns, the file that is
    found is the folder's or none."""
    at = tmp_path / "top" / "/".join(map(os.fsdecode, names))
    real, link, name = at / "real", at / "link2", at / "swapped"
    real.mkdir()
    (real / "secret").write_text("ours")
    link.symlink_to(tmp_path / "outside")
    has_ended = threading.Event()

    def swap() -> None:
        while not has_ended.is_set():
            for one in (real, link):
                one.rename(name)
                name.rename(one)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for way in (open_folder, open_in_steps):
            found, refused_count = set(), 0
            # Until there was enough of both.
            while len(found) < 1 or refused_count < 1000:
                try:
                    folder = way(root, [*names, b"swapped"])
                except OSError as error:
                    assert error.errno in MISSING  # noqa: PT017 - most attempts raise nothing
                    refused_count += 1
                    continue
                file = open_regular(folder, b"secret")
                os.close(folder)
                if file is not None:
                    with file:
                        found.add(file.read())
            assert found == {b"ours"}
    finally:
        has_ended.set()
        thread.join()


def test_file_that_is_swapped_is_never_the_one_outside(root: int, tmp_path: Path) -> None:
    """While a file, a link out of the folder and a FIFO take turns under one name, the file is
    opened or nothing, though they change between a look at the name and its opening, too."""
    top = tmp_path / "top"
    (top / "real").write_text("ours")
    (top / "link2").symlink_to(tmp_path / "outside/secret")
    os.mkfifo(top / "fifo")
    has_ended = threading.Event()

    def swap() -> None:
        while not has_ended.is_set():
            for one in ("real", "link2", "fifo"):
                (top / one).rename(top / "swapped")
                (top / "swapped").rename(top / one)

    thread = threading.Thread(target=swap)
    thread.start()
    found, missed_count = set(), 0
    try:
        while len(found) < 1 or missed_count < 5000:
            file = open_regular(root, b"swapped")
            if file is None:
                missed_count += 1
            else:
                with file:
                    found.add(file.read())
    finally:
        has_ended.set()
        thread.join()
    assert found == {b"ours"}


def test_kind_of_what_may_not_be_looked_up_is_an_error(root: int, tmp_path: Path) -> None:
    (tmp_path / "top").chmod(0o755)
    (tmp_path / "top/a").chmod(0)
    try:
        with as_nobody(), opened_folder(root, [b"a"]) as folder, pytest.raises(PermissionError):
            kind_of(folder, b"b")
    finally:
        (tmp_path / "top/a").chmod(0o700)


def test_opened_folder_closes_what_it_has_opened_and_not_the_root(root: int) -> None:
    with opened_folder(root, []) as same:
        assert same == root
    with opened_folder(root, [b"a", b"b"]) as below:
        os.fstat(below)
    os.fstat(root)
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(below)


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/", [b""]),
        ("/a", [b"a"]),
        ("/a/", [b"a", b""]),
        ("/a/b.c", [b"a", b"b.c"]),
        ("/%61%20b", [b"a b"]),
        ("/%2561", [b"%61"]),
        ("/%C3%A9", "é".encode().split()),
        ("/\xc3\xa9", "é".encode().split()),
        ("/%ff", [b"\xff"]),
        ("/100%", [b"100%"]),
        ("/%zz", [b"%zz"]),
        ("/.a/..b/...", [b".a", b"..b", b"..."]),
        ("/a%0Ab", [b"a\nb"]),
        ("/C:", [b"C:"]),
        ("*", None),
        ("//", None),
        ("//a", None),
        ("/a//b", None),
        ("/.", None),
        ("/..", None),
        ("/./a", None),
        ("/a/../b", None),
        ("/a/..", None),
        ("/%2e", None),
        ("/%2E%2e/a", None),
        ("/.%2e/a", None),
        ("/a%2fb", None),
        ("/a%2Fb/c", None),
        ("/%2f", None),
        ("/..%2fa", None),
        ("/a\\b", None),
        ("/..\\a", None),
        ("/a%5cb", None),
        ("/a%00b", None),
        ("/%00", None),
    ],
)
def test_path_is_split_and_each_name_decoded_once(path: str, names: list[bytes] | None) -> None:
    assert split_path(path) == names


@given(st.text(st.sampled_from("/.%\\ae02fF5c\0é"), max_size=30))
def test_any_path_is_split_into_names_that_lead_nowhere_else(path: str) -> None:
    names = split_path("/" + path)
    if names is not None:
        assert all(names[:-1])
        for name in names:
            assert name not in (b".", b"..")
            assert not set(name) & set(b"/\\\0")
        assert split_path("/" + "/".join(map(quote, names))) == names
