"""A folder whose files are served below a prefix: `server.static`."""

import asyncio
import contextlib
import errno
import gzip
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import ErrorLog, StartServer
from http_wire import Answer, receive_answer
from users import as_nobody, everybodys_folder
from wire import Wire, count_descriptors, wait_until

import sockwave
from sockwave.http import folder

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the system has no openat")

SECRET = b"nobody's business"
PAGE = b"<!doctype html><title>home</title>"
SCRIPT = b"console.log('hello')\n" * 100

Start = Callable[..., Any]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with what a site has, beside something that is none of it."""
    (tmp_path / "secret").write_bytes(SECRET)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_bytes(SECRET)
    site = tmp_path / "site"
    (site / "docs/guide").mkdir(parents=True)
    (site / "empty").mkdir()
    (site / ".git").mkdir()
    for name, data in {
        "index.html": PAGE,
        "app.js": SCRIPT,
        "docs/index.html": b"docs",
        "docs/guide/index.html": b"guide",
        "docs/a b.txt": b"space",
        "docs/caf\xe9.txt": b"accent",
        "docs/100%.txt": b"percent",
        "docs/%2e.txt": b"encoded",
        "docs/a:b.txt": b"colon",
        "empty/file": b"file",
        ".env": SECRET,
        ".git/config": SECRET,
        ".well-known": b"known",
        "...": b"dots",
    }.items():
        (site / name).write_bytes(data)
    return site


@pytest.fixture(params=["openat2", "openat"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The call by which folders are opened: old kernels, and sandboxes, lack the newer one."""
    name: str = request.param
    if name == "openat":

        def refuse(root: int, path: bytes) -> int:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

        monkeypatch.setattr(folder, "open_beneath", refuse)
    return name


@pytest.fixture
async def start(engine: str, error_log: ErrorLog) -> AsyncIterator[Start]:
    """`wire = await start(site, **options)`: a client of a server with that folder at /assets."""
    async with contextlib.AsyncExitStack() as stack:

        async def begin(site: Path, prefix: str = "/assets", **options: Any) -> Wire:
            server = sockwave.create_server(engine=engine)
            server.static(prefix, site, **options)
            server.listen(0, "127.0.0.1")
            await server.start()
            stack.push_async_callback(server.close, drain=1.0)
            return await Wire.open(server.addresses[0])

        yield begin
        await Wire.close_all()


async def ask(wire: Wire, target: str, *fields: str, method: str = "GET") -> Answer:
    """Send a request with a target as it is, whatever is in it."""
    lines = [f"{method} {target} HTTP/1.1", "Host: a", *fields, "", ""]
    wire.write("\r\n".join(lines).encode("latin-1"))
    return await receive_answer(wire, method=method)


async def test_file_is_sent_with_its_type_and_how_to_keep_it(start: Start, site: Path) -> None:
    wire = await start(site, max_age=3600)
    answer = await ask(wire, "/assets/app.js?v=1")
    assert (answer.status, answer.body) == (200, SCRIPT)
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["content-length"] == str(len(SCRIPT))
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["vary"] == "Accept-Encoding"
    assert answer.headers["cache-control"] == "max-age=3600"
    assert answer.headers["accept-ranges"] == "bytes"
    found = (site / "app.js").stat()
    assert answer.headers["etag"] == f'"{found.st_size:x}-{found.st_mtime_ns:x}"'
    known = await ask(wire, "/assets/app.js", f"If-None-Match: {answer.headers['etag']}")
    assert (known.status, known.body) == (304, b"")
    # RFC 9110, 15.4.5: a 304 has those of the fields that the file itself would have had.
    for name in ("etag", "vary", "cache-control"):
        assert known.headers[name] == answer.headers[name]
    part = await ask(wire, "/assets/app.js", "Range: bytes=8-11")
    assert (part.status, part.body) == (206, SCRIPT[8:12])
    outside = await ask(wire, "/assets/app.js", "Range: bytes=99999-")
    assert (outside.status, outside.headers["content-range"]) == (416, f"bytes */{len(SCRIPT)}")
    assert "cache-control" not in outside.headers
    head = await ask(wire, "/assets/app.js", method="HEAD")
    assert head.headers["content-length"] == str(len(SCRIPT))


async def test_names_are_decoded_once(start: Start, site: Path, kernel: str) -> None:
    wire = await start(site, "/x")
    for target, body in {
        "/x/docs/a%20b.txt": b"space",
        "/x/docs/caf%C3%A9.txt": b"accent",
        "/x/docs/100%.txt": b"percent",
        "/x/docs/100%25.txt": b"percent",
        "/x/docs/%252e.txt": b"encoded",
        "/x/docs/a:b.txt": b"colon",
        "/x/%64ocs/a%20b.txt": b"space",
        "/%78/docs/a%20b.txt": b"space",
        "http://a/x/docs/a%20b.txt?x": b"space",
    }.items():
        answer = await ask(wire, target)
        assert (answer.status, answer.body) == (200, body), target


# What is below the prefix and cannot be a file of the folder, whatever the folder has.
NO_PATHS = [
    "..", "../secret", "../site/app.js", "docs/../app.js", "docs/../../secret", "docs/..",
    "./app.js", "docs/./index.html", ".", "docs/.", "%2e%2e/secret", "%2E%2E/secret", ".%2e/secret",
    "%2e/app.js", "..%2fsecret", "%2e%2e%2fsecret", "docs%2findex.html", "docs%2Findex.html",
    "..%5csecret", "..\\secret", "docs\\index.html", "%5c%5chost%5cshare", "/app.js", "//app.js",
    "docs//index.html", "/etc/passwd", "//etc/passwd", "%2fetc%2fpasswd", "%2f%2fetc/passwd",
    "app.js%00", "app.js%00.html", "%00", "app%00.js", "app.js/", "app.js/x", "app.js/..",
    "app.js/../app.js", "docs/../../../../../../etc/passwd", "%252e%252e/secret", "..;/secret",
    "..%c0%afsecret", "%c0%ae%c0%ae/secret", "..%u2216secret", "file:///etc/passwd", "C:/secret",
    "app.js::$DATA", "app.js%20", "none", "none/none", "%ff%fe", "n" * 255, "n" * 256,
    "n" * 4000, "a/" * 2000, "a/" * 2000 + "x", "docs/" * 1000, "~root", "-", "*", "app.js;x",
    "app.js%3fx", "proc/self/environ", "%ff", "%C3%A9",
]  # fmt: skip
HIDDEN = [".env", ".git/config", ".git/", ".git", "%2eenv", "%2Egit/config", ".well-known", "..."]


@pytest.mark.parametrize("options", [{}, {"hidden": True}, {"fallback": "index.html"}], ids=str)
async def test_what_is_no_file_of_the_folder_is_not_found(
    start: Start, site: Path, kernel: str, options: dict[str, Any]
) -> None:
    wire = await start(site, **options)
    paths = NO_PATHS if options else [*NO_PATHS, *HIDDEN]
    for path in paths:
        answer = await ask(wire, f"/assets/{path}", "Accept: image/png")
        assert answer.status == 404, path
        assert answer.body == b"there is no such page\n"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert (await ask(wire, f"/assets/{path}", method="HEAD")).status in (404, 200), path


async def test_what_cannot_be_a_name_gets_no_fallback_either(start: Start, site: Path) -> None:
    wire = await start(site, fallback="index.html")
    for path in (
        "../secret",
        "%2e%2e/secret",
        "docs%2findex.html",
        "a\\b",
        "a%00b",
        ".env",
        "a//b",
    ):
        assert (await ask(wire, f"/assets/{path}", "Accept: text/html")).status == 404, path


async def test_path_that_only_looks_like_the_prefix_is_not_the_folders(
    start: Start, site: Path
) -> None:
    wire = await start(site)
    for target in (
        "/assetsx/app.js", "/", "/app.js", "/assets%2fapp.js", "/ASSETS/app.js", "//assets/app.js",
        "/./assets/app.js", "/x/../assets/app.js", "/assets%00/app.js", "/assets%2f..%2fsecret",
    ):  # fmt: skip
        assert (await ask(wire, target)).status == 404, target


async def test_hidden_names_are_served_where_that_is_asked_for(start: Start, site: Path) -> None:
    wire = await start(site, hidden=True)
    for path, body in {
        ".env": SECRET,
        ".git/config": SECRET,
        ".well-known": b"known",
        "...": b"dots",
    }.items():
        answer = await ask(wire, f"/assets/{path}")
        assert (answer.status, answer.body) == (200, body), path


async def test_prefix_may_begin_with_a_dot(start: Start, site: Path) -> None:
    wire = await start(site, "/.well-known")
    assert (await ask(wire, "/.well-known/app.js")).body == SCRIPT
    assert (await ask(wire, "/.well-known/.env")).status == 404


async def test_only_get_and_head_are_answered(start: Start, site: Path) -> None:
    wire = await start(site)
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND", "get"):
        for target in ("/assets/app.js", "/assets/none", "/assets/"):
            answer = await ask(wire, target, "Content-Length: 0", method=method)
            assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD"), method
    # A body is read past, and the connection goes on.
    wire.write(b"POST /assets/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
    assert (await receive_answer(wire)).status == 405
    wire.write(b"GET /assets/app.js HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
    assert (await receive_answer(wire)).body == SCRIPT
    assert (await ask(wire, "/assets/app.js")).body == SCRIPT


# ---- folders


async def test_index_answers_for_its_folder(start: Start, site: Path) -> None:
    wire = await start(site, max_age=3600)
    for target, body in {
        "/assets/": PAGE,
        "/assets/docs/": b"docs",
        "/assets/docs/guide/": b"guide",
        "/assets/docs/guide/index.html": b"guide",
    }.items():
        answer = await ask(wire, target)
        assert (answer.status, answer.body) == (200, body)
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        # It names the files that belong to it, so it must not be older than they are.
        assert answer.headers["cache-control"] == "no-cache"
    for target in ("/assets/empty/", "/assets/empty"):
        assert (await ask(wire, target)).status == 404


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("/assets", "./assets/"),
        ("/assets?a=b&c=/", "./assets/?a=b&c=/"),
        ("/assets/docs", "./docs/"),
        ("/assets/docs/guide", "./guide/"),
        ("/assets/docs/guide?", "./guide/"),
        ("/assets/docs?x=//evil.example", "./docs/?x=//evil.example"),
        ('/assets/docs?x="<\\>%0d%0a', "./docs/?x=%22%3C%5C%3E%0d%0a"),
        ("/%61ssets/d%6Fcs", "./d%6Fcs/"),
        ("http://a/assets/docs", "./docs/"),
    ],
)
async def test_folder_without_a_slash_redirects_to_itself_and_to_no_other_host(
    start: Start, site: Path, target: str, location: str
) -> None:
    wire = await start(site)
    for method in ("GET", "HEAD"):
        answer = await ask(wire, target, method=method)
        assert (answer.status, answer.headers["location"]) == (308, location)


async def test_no_path_is_redirected_to_another_host(start: Start, site: Path) -> None:
    (site / "javascript:alert(1)").mkdir()
    (site / "javascript:alert(1)/index.html").write_bytes(b"x")
    wire = await start(site, "/", fallback="index.html")
    for target in (
        "//evil.example", "//evil.example/docs", "///evil.example", "/\\evil.example",
        "/%2fevil.example", "//evil.example/%2e%2e", "//docs", "/.//evil.example",
        "/docs/..//evil.example", "/;//evil.example",
    ):  # fmt: skip
        answer = await ask(wire, target, "Accept: text/html")
        assert answer.status == 404, target
        assert "location" not in answer.headers
    answer = await ask(wire, "/javascript:alert(1)")
    assert answer.headers["location"] == "./javascript:alert(1)/"


async def test_index_can_have_another_name_or_none(start: Start, site: Path) -> None:
    wire = await start(site, index=None)
    for target in ("/assets", "/assets/", "/assets/docs", "/assets/docs/"):
        assert (await ask(wire, target)).status == 404
    assert (await ask(wire, "/assets/index.html")).body == PAGE
    wire = await start(site, index="app.js", max_age=5)
    assert (await ask(wire, "/assets/")).body == SCRIPT
    assert (await ask(wire, "/assets/index.html")).headers["cache-control"] == "max-age=5"


async def test_fallback_is_the_page_of_every_path_that_a_browser_goes_to(
    start: Start, site: Path
) -> None:
    wire = await start(site, "/", fallback="docs/guide/index.html", max_age=3600)
    browser = "Accept: text/html,application/xhtml+xml,*/*;q=0.8"
    for target, field in [
        ("/users/1", browser),
        ("/users/1/", browser),
        ("/users/john.doe", browser),
        ("/users", "Accept: */*"),
        ("/users", "X: y"),
        ("/empty", browser),
        ("/empty/", browser),
        ("/app.js/x", browser),
    ]:
        answer = await ask(wire, target, field)
        assert (answer.status, answer.body) == (200, b"guide"), target
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.headers["cache-control"] == "no-cache"
        assert answer.headers["vary"] == "Accept-Encoding, Accept"
        assert (await ask(wire, target, field, method="HEAD")).status == 200
    for target, field in [
        ("/none.js", "Accept: */*"),
        ("/none.png", "Accept: image/avif,image/png,*/*;q=0.8"),
        ("/none.js", "X: y"),
        ("/api", "Accept: application/json"),
    ]:
        assert (await ask(wire, target, field)).status == 404, target
    assert (await ask(wire, "/app.js", browser)).body == SCRIPT
    assert (await ask(wire, "/", browser)).body == PAGE


async def test_fallback_that_is_missing_is_404(start: Start, site: Path) -> None:
    wire = await start(site, fallback="none.html")
    assert (await ask(wire, "/assets/x")).status == 404


# ---- codings


@pytest.fixture
def coded(site: Path) -> Path:
    """The same site, with its script in each coding, and a text in one."""
    for suffix in ("br", "zst", "gz"):
        (site / f"app.js.{suffix}").write_bytes(suffix.encode() * 8)
    (site / "docs/index.html.gz").write_bytes(gzip.compress(b"docs"))
    return site


async def test_compressed_file_is_chosen_by_weight(start: Start, coded: Path) -> None:
    wire = await start(coded)
    for name in os.listdir(coded):
        os.utime(coded / name, (10**9, 10**9))  # some of them are of one size, too
    tags = set()
    for field, coding, body in [
        ("gzip, deflate, br, zstd", "br", b"br"),
        ("gzip, zstd", "zstd", b"zst"),
        ("gzip;q=0.9, br;q=0.8", "gzip", b"gz"),
        ("gzip, br;q=0", "gzip", b"gz"),
        ("*", "br", b"br"),
        ("identity, *;q=0.5", "", SCRIPT),
        ("deflate", "", SCRIPT),
        ("", "", SCRIPT),
    ]:
        answer = await ask(wire, "/assets/app.js", f"Accept-Encoding: {field}")
        assert answer.headers.get("content-encoding", "") == coding, field
        assert answer.body == (body * 8 if coding else body)
        assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
        assert answer.headers["vary"] == "Accept-Encoding"
        tags.add((coding, answer.headers["etag"]))
    assert len({tag for _, tag in tags}) == len(tags) == 4
    assert "content-encoding" not in (await ask(wire, "/assets/app.js")).headers


async def test_compressed_file_has_conditions_and_ranges_of_its_own(
    start: Start, coded: Path
) -> None:
    wire = await start(coded)
    plain = await ask(wire, "/assets/app.js")
    answer = await ask(wire, "/assets/app.js", "Accept-Encoding: br")
    for field, status in [
        (f"If-None-Match: {answer.headers['etag']}", 304),
        (f"If-None-Match: {plain.headers['etag']}", 200),
    ]:
        assert (await ask(wire, "/assets/app.js", "Accept-Encoding: br", field)).status == status
    part = await ask(wire, "/assets/app.js", "Accept-Encoding: br", "Range: bytes=1-2")
    assert (part.status, part.body, part.headers["content-encoding"]) == (206, b"rb", "br")
    part = await ask(
        wire, "/assets/app.js", "Accept-Encoding: br", "Range: bytes=1-2",
        f"If-Range: {plain.headers['etag']}",
    )  # fmt: skip
    assert part.status == 200


async def test_index_and_fallback_are_compressed_too(start: Start, coded: Path) -> None:
    wire = await start(coded, fallback="docs/index.html")
    for target in ("/assets/docs/", "/assets/none"):
        answer = await ask(wire, target, "Accept-Encoding: gzip", "Accept: text/html")
        assert answer.headers["content-encoding"] == "gzip"
        assert gzip.decompress(answer.body) == b"docs"


async def test_compressed_file_alone_is_a_file_of_its_own(start: Start, coded: Path) -> None:
    (coded / "app.js").unlink()
    wire = await start(coded)
    assert (await ask(wire, "/assets/app.js", "Accept-Encoding: gzip")).status == 404
    answer = await ask(wire, "/assets/app.js.gz", "Accept-Encoding: gzip")
    assert (answer.body, answer.headers["content-type"]) == (b"gz" * 8, "application/gzip")
    assert "content-encoding" not in answer.headers


async def test_compressed_file_that_is_older_is_not_sent(start: Start, coded: Path) -> None:
    wire = await start(coded)
    os.utime(coded / "app.js", ns=(0, 10**18 + 999_999_999))
    for name, seconds, coding in [("app.js.br", 10**9 - 1, "gzip"), ("app.js.br", 10**9, "br")]:
        # A tool that copies the time may copy its seconds only.
        os.utime(coded / name, (seconds, seconds))
        answer = await ask(wire, "/assets/app.js", "Accept-Encoding: br, gzip")
        assert answer.headers["content-encoding"] == coding


async def test_compressed_link_is_not_followed(start: Start, coded: Path) -> None:
    (coded / "app.js.br").unlink()
    (coded / "app.js.br").symlink_to("../secret")
    wire = await start(coded)
    answer = await ask(wire, "/assets/app.js", "Accept-Encoding: br")
    assert (answer.status, answer.body) == (200, SCRIPT)


# ---- links, and what is no file


async def test_links_below_the_root_are_not_followed(start: Start, site: Path, kernel: str) -> None:
    (site / "out").symlink_to("../outside")
    (site / "absolute").symlink_to(site.parent / "outside")
    (site / "file").symlink_to("../secret")
    (site / "inside").symlink_to("app.js")
    (site / "docs/up").symlink_to("..")
    (site / "loop").symlink_to("loop")
    (site / "proc").symlink_to("/proc/self")
    (site / "linked").mkdir()
    (site / "linked/index.html").symlink_to("../index.html")
    wire = await start(site, fallback="file")
    for path in (
        "out/secret", "out", "out/", "absolute/secret", "file", "inside", "docs/up/app.js",
        "docs/up/", "loop", "loop/x", "proc/environ", "proc/cwd/secret", "linked/", "linked",
        "linked/index.html", "anything",
    ):  # fmt: skip
        answer = await ask(wire, f"/assets/{path}", "Accept: text/html")
        assert answer.status == 404, path


async def test_what_is_no_file_is_neither_sent_nor_waited_for(start: Start, site: Path) -> None:
    os.mkfifo(site / "fifo")
    os.mkfifo(site / "app.js.gz")
    os.mkfifo(site / "empty/index.html")
    wire = await start(site, fallback="fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        with contextlib.suppress(OSError):  # the path may be too long for it
            listening.bind(str(site / "socket"))
        for path in ("fifo", "socket", "docs/../fifo", "empty/", "empty", "none"):
            assert (await ask(wire, f"/assets/{path}")).status == 404, path
        answer = await ask(wire, "/assets/app.js", "Accept-Encoding: gzip")
        assert answer.body == SCRIPT
    wire = await start(Path("/dev"))
    for name in ("zero", "null", "tty", "random", "fd/0", "stdin", "shm/"):
        assert (await ask(wire, f"/assets/{name}")).status == 404


async def test_root_is_looked_up_for_each_request(start: Start, tmp_path: Path) -> None:
    for release in ("one", "two"):
        (tmp_path / release).mkdir()
        (tmp_path / release / "index.html").write_text(release)
    current, following = tmp_path / "current", tmp_path / "following"
    current.symlink_to("one")
    wire = await start(current)
    for release in ("two", "one", "two"):
        following.symlink_to(release)
        following.replace(current)
        assert (await ask(wire, "/assets/")).body == release.encode()


async def test_answer_is_of_one_release_while_they_are_swapped(
    start: Start, tmp_path: Path
) -> None:
    """A file and its compressed form are looked up in one folder, whatever happens meanwhile."""
    for release in ("one", "two"):
        (tmp_path / release).mkdir()
        (tmp_path / release / "x.txt").write_text(f"{release} plain")
        (tmp_path / release / "x.txt.gz").write_text(f"{release} gzip")
    current, following = tmp_path / "current", tmp_path / "following"
    current.symlink_to("one")
    wire = await start(current)
    loop = asyncio.get_running_loop()
    bodies = set()
    has_ended = False

    def swap() -> None:
        while not has_ended:
            for release in ("two", "one"):
                following.symlink_to(release)
                following.replace(current)

    swapping = loop.run_in_executor(None, swap)
    try:
        while len(bodies) < 2:
            answer = await ask(wire, "/assets/x.txt", "Accept-Encoding: gzip")
            assert answer.status == 200
            assert answer.headers["content-encoding"] == "gzip"
            bodies.add(answer.body)
    finally:
        has_ended = True
        await swapping
    assert bodies == {b"one gzip", b"two gzip"}


async def test_root_that_is_gone_is_404_until_it_is_back(
    start: Start, site: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wire = await start(site)
    away = site.with_name("away")
    os.rename(site, away)
    for _ in range(3):
        assert (await ask(wire, "/assets/app.js")).status == 404
    os.rename(away, site)
    assert (await ask(wire, "/assets/app.js")).body == SCRIPT
    lines = [record.getMessage() for record in caplog.records if record.name == "sockwave"]
    assert len(lines) == 1
    assert str(site) in lines[0]


async def test_what_may_not_be_read_is_404_and_the_operator_is_told(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    with everybodys_folder() as site:
        for name in ("docs", "guide"):
            (site / name).mkdir()
            (site / name / "index.html").write_bytes(PAGE)
        for name in ("app.js", "page.js", "page.js.gz"):
            (site / name).write_bytes(SCRIPT)
        for name in ("app.js", "page.js.gz", "docs", "guide/index.html"):
            (site / name).chmod(0)
        wire = await start(site)
        with as_nobody():
            answer = await ask(wire, "/assets/page.js")
            assert (answer.status, answer.body) == (200, SCRIPT)
            assert not caplog.records
            for path in ("app.js", "docs/", "docs/index.html", "docs", "guide/", "guide"):
                assert (await ask(wire, f"/assets/{path}")).status == 404
            answer = await ask(wire, "/assets/page.js", "Accept-Encoding: gzip")
            assert (answer.status, answer.body) == (200, SCRIPT)
        (site / "docs").chmod(0o700)
    lines = [record.getMessage() for record in caplog.records if record.name == "sockwave"]
    assert len(lines) == 1
    assert "app.js" in lines[0]


# ---- large files


async def test_large_file_is_streamed_and_closed(start: Start, site: Path) -> None:
    data = os.urandom(1 << 16) * 80
    (site / "large.bin").write_bytes(data)
    wire = await start(site)
    await ask(wire, "/assets/app.js")
    before = count_descriptors()
    for _ in range(3):
        assert (await ask(wire, "/assets/large.bin")).body == data
    part = await ask(wire, "/assets/large.bin", "Range: bytes=100-4999999")
    assert part.body == data[100:5_000_000]
    await wait_until(lambda: count_descriptors() <= before, "the files to be closed")


async def test_nothing_stays_open(start: Start, coded: Path) -> None:
    wire = await start(coded, fallback="index.html")
    await ask(wire, "/assets/app.js")
    before = count_descriptors()
    for path in (
        "app.js",
        "docs",
        "docs/",
        "docs/guide/index.html",
        "none",
        "none/none.js",
        "../x",
    ):
        for field in ("X: y", "Accept-Encoding: br", "If-None-Match: *", "Range: bytes=9999-"):
            await ask(wire, f"/assets/{path}", field)
            await ask(wire, f"/assets/{path}", field, method="HEAD")
    assert count_descriptors() == before


@pytest.mark.parametrize("target", ["/app.js", "/docs/guide/index.html"])
async def test_no_descriptor_is_no_missing_file(
    engine: str, site: Path, target: str, error_log: ErrorLog
) -> None:
    """A file that cannot be opened for want of a descriptor is there all the same."""
    resource = pytest.importorskip("resource")
    errors: list[BaseException] = []
    server = sockwave.create_server(engine=engine)
    server.static("/", site).listen(0, "127.0.0.1")
    server.on("error", errors.append)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    statuses = []
    async with server:
        while 200 not in statuses:
            async with await Wire.open(server.addresses[0]) as wire:
                await ask(wire, "/none")
                lowest = os.dup(0)
                os.close(lowest)
                # One descriptor more each time, until they are enough.
                most = lowest + len(statuses)
                resource.setrlimit(resource.RLIMIT_NOFILE, (most, limits[1]))
                try:
                    statuses.append((await ask(wire, target)).status)
                finally:
                    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    failed_count = statuses.index(200)
    assert failed_count > 1
    assert statuses == [500] * failed_count + [200]
    assert [getattr(error, "errno", None) for error in errors] == [errno.EMFILE] * failed_count


async def test_file_that_shrinks_while_it_is_sent_is_reported(
    engine: str, error_log: ErrorLog, site: Path
) -> None:
    (site / "large.bin").write_bytes(bytes(50_000_000))
    errors: list[BaseException] = []
    server = sockwave.create_server(engine=engine)
    server.static("/", site).listen(0, "127.0.0.1")
    server.on("error", errors.append)
    async with server, await Wire.open(server.addresses[0]) as wire:
        wire.writer.transport.pause_reading()
        wire.write(b"GET /large.bin HTTP/1.1\r\nHost: a\r\n\r\n")
        await wait_until(lambda: wire.reader._buffer or count_open(site / "large.bin"))
        os.truncate(site / "large.bin", 1000)
        wire.writer.transport.resume_reading()
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await receive_answer(wire)
        await wait_until(lambda: errors, "the error")
    assert isinstance(errors[0], OSError)


def count_open(path: Path) -> int:
    """Count the descriptors of this process that are open on a file."""
    links = [f"/dev/fd/{name}" for name in os.listdir("/dev/fd")]
    return sum(os.path.realpath(link) == str(path.resolve()) for link in links)


async def test_client_that_leaves_is_no_error(
    start: Start, site: Path, error_log: ErrorLog
) -> None:
    (site / "large.bin").write_bytes(bytes(50_000_000))
    wire = await start(site)
    wire.writer.transport.pause_reading()
    wire.write(b"GET /assets/large.bin HTTP/1.1\r\nHost: a\r\n\r\n")
    await wait_until(lambda: count_open(site / "large.bin") == 1, "the file to be opened")
    wire.reset()
    await wait_until(lambda: count_open(site / "large.bin") == 0, "the file to be closed")


# ---- beside other things


async def test_longest_prefix_of_folders_and_applications_takes_the_path(
    start_server: StartServer, engine: str, site: Path
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"app"})

    server = sockwave.create_server(engine=engine, lifespan="off", asgi=app)
    server.static("/", site, index=None).static("/a/b", site / "docs").mount("/a", app)
    server.static("/a/b/c", site / "empty").listen(0, "127.0.0.1")
    server.on("request", lambda req, res: res.end("listener"))
    async with server, await Wire.open(server.addresses[0]) as wire:
        for target, said in {
            "/app.js": SCRIPT,
            "/a": b"app",
            "/a/app.js": b"app",
            "/a/b/index.html": b"docs",
            "/a/b/c/file": b"file",
            "/a/bc": b"app",
            "/none": b"there is no such page\n",
        }.items():
            assert (await ask(wire, target)).body == said, target


async def test_listeners_and_the_fallback_have_what_is_not_below_a_prefix(
    start: Start, engine: str, site: Path
) -> None:
    server = sockwave.create_server(engine=engine)
    server.static("/assets", site).listen(0, "127.0.0.1")
    async with server, await Wire.open(server.addresses[0]) as wire:
        assert (await ask(wire, "/x")).status == 404
        server.on("request", lambda req, res: res.end("listener"))
        assert (await ask(wire, "/x")).body == b"listener"
        assert (await ask(wire, "/assets/x")).status == 404


@pytest.mark.parametrize("options", [{}, {"authorize": lambda _: True}], ids=["fast", "hooked"])
async def test_folder_takes_no_websocket(
    engine: str, site: Path, options: dict[str, Any], error_log: ErrorLog
) -> None:
    server = sockwave.create_server(engine=engine, **options)
    server.static("/", site).listen(0, "127.0.0.1")
    server.on("connection", lambda conn: conn.on("message", conn.send))
    async with server:
        for target in ("/", "/app.js"):
            async with await Wire.connect(server.addresses[0], target=target) as wire:
                wire.send("hello")
                assert await wire.receive_message() == "hello"
        async with await Wire.open(server.addresses[0]) as wire:
            assert (await ask(wire, "/app.js")).body == SCRIPT


async def test_headers_are_added_to_all_answers_and_override_those_of_files(
    start: Start, site: Path
) -> None:
    headers = {
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cache-Control": "no-store",
        "x-content-type-options": "other",
        "Vary": "Origin",
    }
    wire = await start(site, headers=headers, max_age=5)
    for target in ("/assets/app.js", "/assets/none", "/assets/docs"):
        answer = await ask(wire, target)
        for name, value in headers.items():
            expected = value
            if name == "Vary" and answer.status == 200:
                expected = "Origin, Accept-Encoding"  # or caches would give out the wrong coding
            assert answer.headers[name.lower()] == expected, target
        raw = answer.head.raw.lower()
        assert raw.count(b"cache-control") == raw.count(b"nosniff") + 1 == 1


async def test_relative_directory_is_that_of_the_call(
    start: Start, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(site.parent)
    wire = await start(Path("site"))
    monkeypatch.chdir(site)
    assert (await ask(wire, "/assets/app.js")).body == SCRIPT


def test_wrong_calls_raise_at_once(site: Path) -> None:
    server = sockwave.create_server()
    server.static("/taken", site)
    wrong: list[tuple[Any, Any, dict[str, Any], type[Exception], str]] = [
        ("/x", site / "none", {}, FileNotFoundError, "none"),
        ("/x", site / "app.js", {}, NotADirectoryError, "app.js"),
        ("/x", 3, {}, TypeError, "directory: expected a path"),
        ("/x", b"site", {}, TypeError, "directory: expected a path"),
        ("x", site, {}, ValueError, "prefix: expected a path"),
        (None, site, {}, TypeError, "prefix: expected str"),
        ("/taken/", site, {}, ValueError, "prefix: expected one that is free"),
        ("/x", site, {"max_age": -1}, ValueError, "max_age: expected 0 or more"),
        ("/x", site, {"max_age": 1.5}, TypeError, "max_age: expected int"),
        ("/x", site, {"max_age": True}, TypeError, "max_age: expected int"),
        ("/x", site, {"index": "a/b"}, ValueError, "index: expected a file's name"),
        ("/x", site, {"index": ""}, ValueError, "index: expected a file's name"),
        ("/x", site, {"index": 1}, TypeError, "index: expected str"),
        ("/x", site, {"fallback": "../x"}, ValueError, "fallback: expected a file's name"),
        ("/x", site, {"fallback": "/x"}, ValueError, "fallback: expected a file's name"),
        ("/x", site, {"fallback": "a\0"}, ValueError, "fallback: expected a file's name"),
        ("/x", site, {"fallback": True}, TypeError, "fallback: expected str"),
        ("/x", site, {"hidden": 1}, TypeError, "hidden: expected bool"),
        ("/x", site, {"headers": {"A": "b\r\nc"}}, ValueError, "control"),
        ("/x", site, {"headers": {"Content-Length": "5"}}, ValueError, "frames the response"),
        ("/x", site, {"headers": "x"}, TypeError, "headers: expected a mapping"),
    ]
    for prefix, directory, options, error, words in wrong:
        with pytest.raises(error, match=words):
            server.static(prefix, directory, **options)
    with pytest.raises(ValueError, match="prefix: expected one that is free"):
        server.mount("/taken", lambda scope, receive, send: None)  # type: ignore[arg-type]


async def test_folder_is_added_before_the_server_runs(
    start_server: StartServer, site: Path
) -> None:
    server = await start_server()
    with pytest.raises(sockwave.SockwaveError, match="before its start"):
        server.static("/assets", site)
