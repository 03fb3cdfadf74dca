"""What a server has sent, read as strictly as a client can (RFC 9112, sections 4 to 6)."""

import re
from dataclasses import dataclass

_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-5][0-9][0-9]) ([\x20-\x7e]*)")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ([\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)?")


@dataclass
class Answer:
    """One response."""

    status: int
    headers: dict[str, str]
    body: bytes
    is_whole: bool = True


def read_answers(said: bytes, methods: list[str], *, is_cut: bool) -> tuple[list[Answer], bytes]:
    """Read the final responses to requests of these methods, one refusal at most behind them; give
    what stands behind a 101, too.

    Raises AssertionError for whatever is no response; `is_cut` says that the last one may be.
    """
    answers: list[Answer] = []
    while said:
        head, end, rest = said.partition(b"\r\n\r\n")
        if not end:
            assert is_cut, f"half a head: {said!r}"
            break
        first, *lines = head.split(b"\r\n")
        line = _STATUS_LINE.fullmatch(first)
        assert line, f"no status line: {first!r}"
        status = int(line[1])
        headers: dict[str, str] = {}
        for field in lines:
            pair = _FIELD.fullmatch(field)
            assert pair, f"no header field: {field!r}"
            name = pair[1].decode().lower()
            assert name not in headers, f"a field twice: {field!r}"
            headers[name] = (pair[2] or b"").decode()
        if status == 100:
            assert not headers, "a 100 with header fields"
            said = rest
            continue
        if status == 101:
            return [*answers, Answer(status, headers, b"")], rest
        method = methods[len(answers)] if len(answers) < len(methods) else ""
        answer = Answer(status, headers, b"")
        answers.append(answer)
        if method == "HEAD" or status in (204, 304):
            said = rest
        elif "content-length" in headers:
            assert "transfer-encoding" not in headers, "two ways to find the end"
            size = int(headers["content-length"])
            answer.body, said = rest[:size], rest[size:]
            # A refused request that nobody has seen may have been a HEAD.
            answer.is_whole = len(answer.body) == size or not (method or rest)
        elif "transfer-encoding" in headers:
            assert headers["transfer-encoding"] == "chunked"
            answer.body, said, answer.is_whole = read_chunks(rest)
        else:
            assert headers["connection"] == "close", "a body that nothing ends"
            answer.body, said = rest, b""
        assert answer.is_whole or is_cut, f"half a body: {rest!r}"
    return answers, b""


def read_chunks(data: bytes) -> tuple[bytes, bytes, bool]:
    """Read a chunked body: what is in it, what is behind it, and whether it is whole."""
    content = b""
    while True:
        line, end, rest = data.partition(b"\r\n")
        if not end:
            return content, b"", False
        assert re.fullmatch(rb"[0-9a-f]+", line), f"no size of a chunk: {line!r}"
        size = int(line, 16)
        chunk, data = rest[:size], rest[size:]
        content += chunk
        if len(data) < 2:
            return content, b"", False
        assert data[:2] == b"\r\n", "a chunk longer than it says"
        data = data[2:]
        if size == 0:
            return content, data, True
