"""What is logged about peers: in one line, with nothing of theirs unescaped, and not too often."""

import logging
import time

# So many lines alike in so many seconds: enough to see what happens; who floods us with bad
# handshakes does not flood the log.
LINE_COUNT = 10
PERIOD_S = 10.0


def escape(text: object) -> str:
    """Give a text in printable ASCII: no line break, no escape sequence of a terminal."""
    return str(text).encode("unicode_escape").decode("ascii")


class PeerFilter(logging.Filter):
    """Escapes the arguments of each line, and drops lines beyond the first few of their kind.

    Lines with the same format are of one kind. The next one that passes tells how many were left
    out. The formats are ours: their number is bounded.
    """

    def __init__(self) -> None:
        super().__init__()
        # Format → when its period began, how many lines have passed in it, how many were left out.
        self._periods: dict[str, tuple[float, int, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether the line is logged, and bring it into form."""
        now = time.monotonic()
        kind = record.msg
        begun, passed_count, dropped_count = self._periods.get(kind, (now, 0, 0))
        if now - begun >= PERIOD_S:
            begun, passed_count = now, 0
        if passed_count >= LINE_COUNT:
            self._periods[kind] = (begun, passed_count, dropped_count + 1)
            return False
        self._periods[kind] = (begun, passed_count + 1, 0)
        if isinstance(record.args, tuple):
            record.args = tuple(
                argument if isinstance(argument, (int, float)) else escape(argument)
                for argument in record.args
            )
        if dropped_count:
            record.msg = f"{kind} (and {dropped_count} more such lines)"
        return True


#: For all that a peer can bring about; what the application does wrong is logged in full.
peers = logging.getLogger("sockwave.peers")
peers.addFilter(PeerFilter())
