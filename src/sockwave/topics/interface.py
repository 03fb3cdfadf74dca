"""What the topics of a server need of the host that they belong to."""

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from sockwave.core.session.connection import Connection


class Host(Protocol):
    """The host of the server; see `runtime.host`."""

    loop: asyncio.AbstractEventLoop
    is_running: bool
    hub: Any
    calls: Any

    def report(self, error: BaseException, connection: "Connection | None") -> None:
        """Emit `error`, or log it."""
