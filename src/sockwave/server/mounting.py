"""What a server serves below a path: ASGI applications, folders, and our module for browsers."""

import os
from typing import Self

from sockwave.asgi.application import ASGIApplication
from sockwave.errors import SockwaveError
from sockwave.fields import HeaderPairs
from sockwave.http.folder_options import FolderOptions
from sockwave.server.closing import Closing


class Mounting(Closing):
    """The part of `Server` that is about what takes all requests below a path."""

    def mount(self, prefix: str, application: ASGIApplication) -> Self:
        """Let an ASGI application take all requests and WebSockets below `prefix`, and at it.

        "/api" takes /api and /api/x, not /apix; of several prefixes, the longest that fits counts.
        The application gets the prefix as the end of `root_path`. What is mounted comes before
        listeners of `request` and `connection`, and these before the application of the option
        `asgi`.

        Raises TypeError for what is no ASGI 3 application, TypeError or ValueError for a prefix
        that is no path or is taken, SockwaveError if the server runs already.
        """
        self._check_not_running("mount")
        self._host.applications.mount(prefix, application)
        return self

    def static(
        self,
        prefix: str,
        directory: str | os.PathLike[str],
        *,
        max_age: int | None = None,
        index: str | None = "index.html",
        hidden: bool = False,
        fallback: str | None = None,
        headers: HeaderPairs = (),
    ) -> Self:
        """Serve the files of a folder below `prefix`, to GET and HEAD: "/assets" has /assets/x.

        Prefixes are chosen as those of `mount`: the longest that fits counts, and comes before the
        listeners of `request`. WebSockets are not concerned. Nothing outside the folder is sent,
        and no symbolic link in it is followed. `directory` itself may be one, and is looked up for
        each request: a deployment can point it elsewhere.

        `max_age` is for how many seconds a client may use a file without asking whether it has
        changed; None: it asks each time, and gets a 304. `index` names the file that answers for a
        folder, None: there is none; it and the `fallback` are asked for each time. With
        `hidden=True`, names that begin with a dot are served, too. `fallback` is the path of a page
        in the folder that is sent, with 200, where there is no such file: applications of one page
        want that. `headers` are added to all answers, and override those of the files.

        Of a file, x.br, x.zst or x.gz is sent if it lies beside it, is not older, and the client
        accepts it.

        Raises OSError if the directory cannot be opened, TypeError or ValueError for a wrong
        option, or a prefix that is no path or is taken, SockwaveError if the server runs already.
        """
        self._check_not_running("static")
        options = FolderOptions(max_age, index, hidden, fallback, headers)
        self._host.applications.add_folder(prefix, directory, options)
        return self

    def _check_not_running(self, call: str) -> None:
        """Raise SockwaveError where it is too late for a call that says who takes requests."""
        self._check_thread(f"server.{call}")
        self._check_open()
        if self._host.is_running:
            raise SockwaveError(f"the server runs already: expected {call}() before its start")

    def client_script(self, path: str = "/sockwave.js") -> Self:
        """Serve the module for browsers at `path`: it speaks the subprotocol "sockwave.1".

        It connects and reconnects, subscribes and resumes, publishes, and knows who is there; see
        docs/sockwave.1.md. The option `subprotocol` has to hold "sockwave.1". Raises what `mount`
        raises.
        """
        from sockwave.topics.script import ClientScript

        return self.mount(path, ClientScript())
