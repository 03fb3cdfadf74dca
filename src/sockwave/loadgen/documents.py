"""JSON documents to be compressed: unlike one another, and the same in every run (RFC 7692)."""

import zlib
from collections.abc import Iterator

from sockwave.loadgen.client import LoadError
from sockwave.loadgen.deflated import DeflatedExchange

COUNT = 64
LEAST_WINDOW_BITS = 9
"""zlib makes no raw stream with fewer."""
MOST_WINDOW_BITS = 15
TAIL_SIZE = 4
"""What section 7.2.1 takes off the end of a message."""
SYMBOLS = ("EURUSD", "GBPJPY", "AUDCAD", "USDCHF", "NZDUSD")
VENUES = ("london", "frankfurt", "new york", "tokyo")
WORDS = ("late ", "partial ", "amended ", "checked ")


class Draws:
    """Numbers that look like chance: a linear congruential generator (Numerical Recipes)."""

    def __init__(self, seed: int) -> None:
        self.state = seed * 2654435761 % 2**32

    def below(self, limit: int) -> int:
        """Draw a number from 0 to `limit` - 1."""
        self.state = (self.state * 1664525 + 1013904223) % 2**32
        return self.state * limit >> 32

    def one_of(self, words: tuple[str, ...]) -> str:
        """Draw one of the words."""
        return words[self.below(len(words))]


def make_record(draws: Draws) -> str:
    """Make one trade."""
    venue, side = draws.one_of(VENUES), "buy" if draws.below(2) else "sell"
    size = 100 * (1 + draws.below(99))
    ask, bid = draws.below(100_000), draws.below(100_000)
    symbol = draws.one_of(SYMBOLS)
    number = 100_000 + draws.below(900_000)
    return (
        f'{{"id":{number},"symbol":"{symbol}","bid":1.{bid:05},"ask":1.{ask:05},"size":{size},'
        f'"side":"{side}","venue":"{venue}"}}'
    )


def make_document(size: int, seed: int) -> bytes:
    """Make exactly `size` bytes of JSON: a list of trades, its end made up with words."""
    draws = Draws(seed)
    text = ""
    while True:
        record = ("," if text else "[") + make_record(draws)
        if len(text) + len(record) + 4 > size:  # room for ,"" and ]
            break
        text += record
    before, behind = (text + ',"', '"]') if text else ('"', '"')
    room = size - len(before) - len(behind)
    if room < 0:
        return b"1" * size  # JSON too, and no string would fit
    words = ""
    while len(words) < room:
        words += draws.one_of(WORDS)
    return (before + words[:room] + behind).encode()


def make_documents(size: int) -> list[bytes]:
    """Make all the documents, of `size` bytes each."""
    return [make_document(size, seed) for seed in range(1, COUNT + 1)]


def compress(documents: list[bytes], window_bits: int) -> Iterator[bytes]:
    """Compress each by itself, with zlib's defaults."""
    for document in documents:
        compressor = zlib.compressobj(
            wbits=-max(window_bits, LEAST_WINDOW_BITS), memLevel=zlib.DEF_MEM_LEVEL
        )
        body = compressor.compress(document) + compressor.flush(zlib.Z_SYNC_FLUSH)
        yield body[:-TAIL_SIZE]


def make_exchange(
    agreement: str, size: int, depth: int, binary: bool, sender_count: int
) -> DeflatedExchange:
    """Make what is said where the server has agreed to compression (RFC 7692, section 7.1).

    Raises LoadError where it has agreed to something else.
    """
    name, *parameters = [part.strip() for part in agreement.split(";")]
    if name != "permessage-deflate":
        raise LoadError(f"expected permessage-deflate, got {agreement}")
    agreed = dict(parameter.partition("=")[::2] for parameter in parameters)
    documents = make_documents(size)
    window_bits = int(agreed.get("client_max_window_bits") or MOST_WINDOW_BITS)
    return DeflatedExchange(
        *(size, depth, binary, sender_count),
        documents=documents,
        bodies=list(compress(documents, window_bits)),
        keeps_context="server_no_context_takeover" not in agreed,
    )
