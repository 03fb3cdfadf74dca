"""A folder whose files are served below a prefix: RFC 9110, sections 8, 9.3, 12.5.3 and 15."""

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Sequence
from typing import BinaryIO
from urllib.parse import quote

from sockwave.core.http.function_taker import FunctionTaker
from sockwave.core.http.request import Request
from sockwave.core.http.response import Response
from sockwave.http.codings import SUFFIXES, accepted_codings
from sockwave.http.files import Representation, guess_type, send_open_file
from sockwave.http.folder import MISSING, open_regular, opened_folder, opened_root, split_path
from sockwave.http.folder_options import FolderOptions

logger = logging.getLogger("sockwave")

# What may stand in a Location as it came; anything else is percent-encoded.
_PATH_CHARACTERS = "%!$&'()*+,;=:@"
_QUERY_CHARACTERS = _PATH_CHARACTERS + "/?[]"

# Caches keep what they get for as long as they like, unless they are told to ask each time.
ASK_AGAIN = "no-cache"


class StaticFolder:
    """The files of a folder, as answers to the requests below a prefix."""

    def __init__(
        self,
        prefix: str,
        directory: str,
        options: FolderOptions,
        report: Callable[[BaseException, None], None],
    ) -> None:
        #: The paths that it takes begin with this; "" for all.
        self.prefix = prefix
        #: What answers the requests.
        self.taker = FunctionTaker(self.answer)
        self._prefix_names = prefix.encode().split(b"/")[1:]
        #: A path from the root of the system; symbolic links in it are followed anew each time.
        self._directory = directory
        self._caching = ASK_AGAIN if options.max_age is None else f"max-age={options.max_age}"
        self._index = options.index_name
        self._fallback = options.fallback_names
        self._takes_hidden = options.hidden
        #: Of all answers; and of files, whose Vary has more in it.
        self._headers = options.fields
        self._given_names = {name.lower() for name, _ in self._headers}
        self._file_headers = [pair for pair in self._headers if pair[0].lower() != "vary"]
        self._vary = [value for name, value in self._headers if name.lower() == "vary"]
        #: Reports an error that nothing awaits.
        self._report = report
        self._has_warned = False

    def answer(self, request: Request, response: Response) -> None:
        """Answer a request with a file of the folder, or with what is wrong with the request."""
        if request.method not in ("GET", "HEAD"):
            # RFC 9110, 15.5.6: "The origin server MUST generate an Allow header field in a 405".
            allow = ("Allow", "GET, HEAD")
            return self._say(response, 405, "only GET and HEAD can be used here\n", allow)
        names = self._names_in(request.path)
        if names is None:
            return self._say_missing(response)
        try:
            with opened_root(self._directory) as root:
                self._answer_from(root, names, request, response)
        except OSError as error:
            if error.errno not in MISSING and not isinstance(error, PermissionError):
                raise
            self._warn(error)
            self._say_missing(response)

    def _names_in(self, path: str) -> list[bytes] | None:
        """Return the names behind the prefix in a path; None: nothing can have this path.

        There are none where the path is the prefix. A slash at the end is the name b"".
        """
        count = len(self._prefix_names)
        # Hidden is what lies in the folder: the prefix may be "/.well-known".
        names = split_path(path)
        if names is None or names[:count] != self._prefix_names:
            return None
        below = names[count:]
        if not self._takes_hidden and any(name.startswith(b".") for name in below):
            return None
        return below

    def _answer_from(
        self, root: int, names: list[bytes], request: Request, response: Response
    ) -> None:
        """Answer with the file of these names, an index, the fallback, or 404."""
        codings = accepted_codings(request.headers)
        is_folder = not names or not names[-1]
        if not is_folder:
            found = self._open(root, names[:-1], names[-1], codings)
            if found is not None:
                return self._send(request, response, found)
        if self._index is not None:
            found = self._open(root, [name for name in names if name], self._index, codings)
            if found is not None:
                if names and is_folder:
                    return self._send(request, response, found)
                found.file.close()
                return self._send_on(request, response)
        if self._fallback is not None and _takes_page(request, names[-1] if names else b""):
            found = self._open(
                root, self._fallback[:-1], self._fallback[-1], codings, is_fallback=True
            )
            if found is not None:
                return self._send(request, response, found)
        return self._say_missing(response)

    # ---- the files

    def _open(
        self,
        root: int,
        folders: Sequence[bytes],
        name: bytes,
        codings: list[str],
        *,
        is_fallback: bool = False,
    ) -> Representation | None:
        """Open a file below the root in the best of these codings; None if there is none."""
        try:
            with opened_folder(root, folders) as folder:
                file = open_regular(folder, name)
                if file is None:
                    return None
                file, coding = _choose_coding(folder, name, file, codings)
        except OSError as error:
            if error.errno in MISSING:
                return None
            raise
        caching, vary = self._caching, [*self._vary, "Accept-Encoding"]
        if is_fallback:
            vary.append("Accept")
        if is_fallback or name == self._index:
            # A page names the files that belong to it: an old page would name those that are gone.
            caching = ASK_AGAIN
        described = (("Cache-Control", caching), ("Vary", ", ".join(vary)))
        return Representation(file, guess_type(name.decode("utf-8", "replace")), coding, described)

    def _send(self, request: Request, response: Response, found: Representation) -> None:
        """Send a file, and close it."""
        sent = send_open_file(response, request, found, response._file_fields(self._file_headers))
        if isinstance(sent, asyncio.Task):
            sent.add_done_callback(self._sent)

    def _sent(self, task: "asyncio.Task[None]") -> None:
        """Report that a file could not be sent to its end; a client that has gone is no error."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._report(error, None)

    # ---- answers without a file

    def _send_on(self, request: Request, response: Response) -> None:
        """Redirect from the name of a folder to the same with a slash, keeping the query."""
        # RFC 9110, 10.2.2: a reference that is relative to the target of the request, so that it
        # leads to no other host, and to the right place behind a proxy that has changed the path.
        # RFC 3986, 4.2: with "./" in front, a colon in the name ends no scheme.
        name = quote(request.path.rpartition("/")[2], safe=_PATH_CHARACTERS, encoding="latin-1")
        query = quote(request.query, safe=_QUERY_CHARACTERS, encoding="latin-1")
        location = f"./{name}/" + (f"?{query}" if query else "")
        self._say(response, 308, "it is a folder: its path ends in /\n", ("Location", location))

    def _say_missing(self, response: Response) -> None:
        self._say(response, 404, "there is no such page\n")

    def _say(self, response: Response, status: int, text: str, *fields: tuple[str, str]) -> None:
        own = (("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", ASK_AGAIN))
        pairs = [pair for pair in (*own, *fields) if pair[0].lower() not in self._given_names]
        response.write_head(status, [*self._headers, *pairs]).end(text)

    def _warn(self, error: OSError) -> None:
        """Warn, once, that the folder or a file in it cannot be read."""
        if not self._has_warned:
            self._has_warned = True
            logger.warning(
                "the folder %s, served below %s/, or a file in it cannot be read, and is answered "
                "with 404: %s",
                self._directory,
                self.prefix,
                error,
            )


def _choose_coding(
    folder: int, name: bytes, file: BinaryIO, codings: list[str]
) -> tuple[BinaryIO, str]:
    """Return the file that has the same in the best of these codings, and close `file`.

    Where there is none, returns `file`, and "" for the coding. Raises OSError, and closes `file`.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(file)
        for coding in codings:
            try:
                beside = open_regular(folder, name + SUFFIXES[coding])
            except PermissionError:
                continue
            if beside is None:
                continue
            if not _is_older(beside, file):
                return beside, coding
            beside.close()
        stack.pop_all()
    return file, ""


def _is_older(file: BinaryIO, other: BinaryIO) -> bool:
    """Tell whether a file is of an earlier second than another.

    Tools that give a compressed file the time of its original may give it whole seconds.
    """
    first, second = (os.fstat(one.fileno()).st_mtime_ns for one in (file, other))
    return first // 10**9 < second // 10**9


def _takes_page(request: Request, name: bytes) -> bool:
    """Tell whether the fallback may answer in place of what is missing: a page.

    A script or a picture would break by it, in a way that is hard to find.
    """
    types = {one.partition(";")[0].rstrip(" \t") for one in request.headers.get_tokens("accept")}
    if "text/html" in types:
        return True  # a browser that goes to a page says so
    return b"." not in name and (not types or "*/*" in types)
