"""How the way to other hosts is, for those who watch a server."""

from typing import Literal, NamedTuple, TypeAlias

from sockwave.documented import describe_fields

Status: TypeAlias = Literal["ok", "degraded", "deaf"]


class Health(NamedTuple):
    """How a server is: what `server.health()` returns."""

    #: "ok"; "degraded": the broker, or the sequencer, is away, and messages of other hosts do not
    #: come, while all else goes on; "deaf": the broker is there, and this host hears nothing of it.
    status: Status
    #: "connecting", "up", "down" or "deaf"; None: the server has no broker, or the sequencer, which
    #: would know, is away.
    broker: str | None
    #: How often this host was found to be deaf.
    deaf_count: int = 0
    #: How often a connection to the broker was lost.
    lost_count: int = 0
    #: What came from the broker and was no message.
    bad_count: int = 0
    #: Messages that did not leave this host: too much waited for the broker, or it refused them.
    dropped_count: int = 0
    #: Messages that had been sent when a connection was lost, and were not acknowledged.
    unknown_count: int = 0

    @property
    def is_deaf(self) -> bool:
        """Whether clients should be sent to another host: the one reason for a 503."""
        return self.status == "deaf"


describe_fields(
    Health,
    status='"ok"; "degraded": messages of other hosts do not come; "deaf": see `is_deaf`.',
    broker='"connecting", "up", "down" or "deaf"; None: there is none, or it is not known.',
    deaf_count="How often this host was found to be deaf.",
    lost_count="How often a connection to the broker was lost.",
    bad_count="What came from the broker and was no message.",
    dropped_count="Messages that did not leave this host.",
    unknown_count="Messages that were sent when a connection was lost, and not acknowledged.",
)
