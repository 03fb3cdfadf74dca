"""Compressed messages that cost far more than their size, and make nothing (RFC 1951).

A block that begins with codes of its own makes an inflater build tables for them; when it ends
there, nothing has come of it. What costs most for each of its bytes was found by trying families of
codes on zlib and on zlib-ng: many symbols with nearly the same length, as their lengths take 3 bits
for six of them (`FLAT`), some 120 ns a byte with either; then codes with every length up to the
longest (`STAIRS`), and the least codes that there can be (`SINGLE`), 70 to 100 ns. A block of the
fixed codes takes 10 ns a byte, an empty stored one 1 ns, and an ordinary message 10 ns.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

ORDER = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)
"""In which the lengths of the code length code stand (3.2.7)."""
LONGEST = 7
"""Of its codes."""
END = 256

Block = tuple[int, int]
"""Bits, the first of which is the lowest, and how many they are."""


def join(parts: Iterator[Block]) -> Block:
    bits = count = 0
    for part, size in parts:
        bits |= part << count
        count += size
    return bits, count


def assign(lengths: Sequence[int]) -> dict[int, Block]:
    """Give the code of each symbol; 3.2.2: a code's first bit is its highest."""
    codes: dict[int, Block] = {}
    code = 0
    for length in range(1, max(lengths) + 1):
        for symbol, own in enumerate(lengths):
            if own == length:
                codes[symbol] = int(f"{code:0{length}b}"[::-1], 2), length
                code += 1
        code <<= 1
    return codes


def tell_lengths(lengths: Sequence[int]) -> Iterator[tuple[int, Block]]:
    """Give symbols of the code length alphabet, with their extra bits."""
    place = 0
    while place < len(lengths):
        length = lengths[place]
        run = 1
        while place + run < len(lengths) and lengths[place + run] == length:
            run += 1
        place += run
        if length:
            yield length, (0, 0)
            run -= 1
        while run >= 3:
            if length:
                some, told = min(run, 6), (16, (min(run, 6) - 3, 2))
            elif run >= 11:
                some, told = min(run, 138), (18, (min(run, 138) - 11, 7))
            else:
                some, told = run, (17, (run - 3, 3))
            yield told
            run -= some
        yield from [(length, (0, 0))] * run


def limit_lengths(counts: Counter[int]) -> list[int]:
    """Give the best lengths for the code length code (package-merge)."""
    if len(counts) == 1:
        counts = counts + Counter({18 - min(counts): 1})  # a code has to be complete
    leaves = sorted((count, [symbol]) for symbol, count in counts.items())
    packages = leaves
    for _ in range(LONGEST - 1):
        pairs = zip(packages[::2], packages[1::2], strict=False)
        merged = [(one[0] + two[0], one[1] + two[1]) for one, two in pairs]
        packages = sorted(leaves + merged)
    lengths = [0] * len(ORDER)
    for _, symbols in packages[: 2 * len(leaves) - 2]:
        for symbol in symbols:
            lengths[symbol] += 1
    return lengths


def empty_block(literals: Sequence[int], distances: Sequence[int] = (0,)) -> Block:
    """Give a block with codes of these lengths, which ends at once (3.2.7)."""
    told = list(tell_lengths([*literals, *distances]))
    own = limit_lengths(Counter(symbol for symbol, _ in told))
    codes = assign(own)
    count = max(place + 1 for place, symbol in enumerate(ORDER) if own[symbol])
    head = [(0, 1), (2, 2), (len(literals) - 257, 5), (len(distances) - 1, 5), (count - 4, 4)]
    body = [bits for symbol, extra in told for bits in (codes[symbol], extra)]
    lengths = [(own[symbol], 3) for symbol in ORDER[:count]]
    return join(iter([*head, *lengths, *body, assign(literals)[END]]))


def stairs(longest: int) -> list[int]:
    """Give one code of each length, and two of the longest."""
    own = [longest, *range(longest, 0, -1)]
    return [0] * (END + 1 - len(own)) + own


BLOCKS = {
    "flat": empty_block([8] * 255 + [9, 9]),
    "all symbols": empty_block([8] * 226 + [9] * 60, [4, 4, *[5] * 28]),
    "stairs of 11": empty_block(stairs(11)),
    "stairs of 15": empty_block(stairs(15), [*range(1, 16), 15]),
    "single": empty_block([0] * END + [1]),
    "fixed": (2, 10),
}
"""Each ends where the next one can begin."""

STORED = b"\x00\x00\x00\xff\xff"
"""An empty stored block, from a byte's beginning to its end."""


def make_nothing(name: str, size: int, *, behind: bytes = b"") -> bytes:
    """Give a message of about so many bytes, without its tail, that inflates to nothing, or to the
    few bytes `behind`."""
    if name == "stored":
        payload = STORED * (size // len(STORED))
    else:
        bits, count = BLOCKS[name]
        times = 8 * size // count
        whole, filled = bits, 1
        while filled < times:
            whole |= whole << count * filled
            filled *= 2
        whole &= (1 << count * times) - 1
        # 7.2.1 of RFC 7692: an empty stored block, of which the tail is the rest.
        payload = whole.to_bytes((count * times + 3 + 7) // 8, "little")
        if not behind:
            return payload
        payload += STORED[1:]
    if behind:
        size_bytes = len(behind).to_bytes(2, "little")
        inverted = (len(behind) ^ 0xFFFF).to_bytes(2, "little")
        payload += b"\x00" + size_bytes + inverted + behind
    return payload + b"\x00"
