import asyncio
import os
from collections.abc import Awaitable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, BinaryIO, Self, TypeAlias

from sockwave.core.http.response_head import HeaderFields

_HeaderValue: TypeAlias = str | int | Sequence[str]
_ResponseHeaders: TypeAlias = Mapping[str, _HeaderValue] | Iterable[tuple[str, _HeaderValue]]
_Data: TypeAlias = str | bytes | bytearray | memoryview

class Response:
    @property
    def status(self) -> int: ...
    @property
    def headers_sent(self) -> bool: ...
    def write_head(
        self, status: int, headers: _ResponseHeaders | None = None, reason: str | None = None
    ) -> Self: ...
    def write(self, data: _Data) -> Awaitable[None]: ...
    def end(self, data: _Data = b"") -> Awaitable[None]: ...
    def send_file(
        self, path: str | os.PathLike[str], headers: _ResponseHeaders | None = None
    ) -> Awaitable[None]: ...
    def _set_file_head(
        self, status: int, fields: HeaderFields, pairs: list[tuple[str, str]]
    ) -> None: ...
    def _stream_file(
        self, coroutine: Coroutine[Any, Any, None], file: BinaryIO
    ) -> asyncio.Task[None]: ...
