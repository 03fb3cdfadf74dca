"""What became of every message, and the line that a fault prints."""

import time
from dataclasses import dataclass, field


@dataclass
class Ledger:
    """What was sent, what had to come, and what came; each message knows who sent it, and when.

    `lost` is what had to come and did not; `expected` leaves out what a fault of ours destroyed
    with its connection, which is `published` all the same.
    """

    published: int = 0
    expected: int = 0
    delivered: int = 0
    lost: int = 0
    duplicated: int = 0
    reordered: int = 0
    corrupted: int = 0
    unexplained: int = 0

    @property
    def is_clean(self) -> bool:
        """Tell whether nothing went wrong."""
        return not (
            self.lost or self.duplicated or self.reordered or self.corrupted or self.unexplained
        )

    def __iadd__(self, other: "Ledger") -> "Ledger":
        for name, count in vars(other).items():
            setattr(self, name, getattr(self, name) + count)
        return self

    def __str__(self) -> str:
        # Without a failure in N trials the rate is below 3/N, with a confidence of 95 %.
        bound = f"{3 / self.delivered:.1e}" if self.delivered else "none"
        return (
            f"published {self.published}, expected {self.expected}, delivered {self.delivered}, "
            f"lost {self.lost}, dup {self.duplicated}, reordered {self.reordered}, "
            f"corrupted {self.corrupted}, unexplained {self.unexplained}; upper bound {bound}"
        )


class Stream:
    """One connection's part of the ledger: the messages of `sender`, numbered from 0, in order."""

    def __init__(self, ledger: Ledger, sender: int, start: int = 0) -> None:
        self.ledger = ledger
        self.sender = sender
        self.start = self.sent_count = self.heard_count = start

    def next_message(self) -> bytes:
        """Give the next message to send."""
        self.sent_count += 1
        self.ledger.published += 1
        return make_message(self.sender, self.sent_count - 1)

    def hear(self, message: bytes) -> None:
        """Note what came back."""
        ledger, number = self.ledger, self.heard_count
        if message == make_message(self.sender, number):
            ledger.delivered += 1
            self.heard_count += 1
            return
        sender, found = read_stamp(message)
        if sender != self.sender or message != make_message(sender, found):
            ledger.corrupted += 1
        elif found < number:
            ledger.duplicated += 1
        else:
            ledger.reordered += 1
            self.heard_count = found + 1

    def settle(self, *, explained: bool = False) -> None:
        """Close the account; `explained` says that a fault ended the connection."""
        missing = self.sent_count - self.heard_count
        self.ledger.expected += self.sent_count - self.start - (missing if explained else 0)
        if not explained:
            self.ledger.lost += missing


STAMP_SIZE = 8
#: Sizes on both sides of what the frame header and the kernel make a difference of.
SIZES = (0, 1, 7, 20, 20, 20, 64, 117, 118, 119, 200, 300, 1000)
LARGE_SIZES = (*SIZES, 8190, 65528, 65530, 70000)
PATTERN = bytes(i * i % 251 for i in range(1 << 17))


def make_message(sender: int, number: int) -> bytes:
    """Give a message that only this sender sends, and only once; now and then a large one."""
    sizes = LARGE_SIZES if number % 997 == 0 else SIZES
    mixed = sender * 31 + number
    start = mixed * 7 % 50000
    stamp = sender.to_bytes(4, "big") + number.to_bytes(4, "big")
    return stamp + PATTERN[start : start + sizes[mixed % len(sizes)]]


def read_stamp(message: bytes) -> tuple[int, int]:
    """Give who sent a message, and its number; -1 for what is no message of ours."""
    if len(message) < STAMP_SIZE:
        return -1, -1
    return int.from_bytes(message[:4], "big"), int.from_bytes(message[4:8], "big")


@dataclass
class Verdict:
    """What one fault has shown on one engine."""

    fault: str
    engine: str
    seed: int
    figures: str = ""
    ledger: Ledger = field(default_factory=Ledger)
    #: The bars that were missed, each as a sentence.
    misses: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def require(self, holds: object, sentence: str) -> None:
        """Note a bar that is missed."""
        if not holds:
            self.misses.append(sentence)

    def close(self, figures: str) -> "Verdict":
        """Take down the figures; a ledger that is not clean is a miss."""
        self.figures = figures
        self.require(self.ledger.is_clean, "the ledger is not clean")
        return self

    def __str__(self) -> str:
        result = "ok" if not self.misses else "MISSED: " + "; ".join(self.misses)
        seconds = time.monotonic() - self.started
        return (
            f"{self.fault} {self.engine}: {self.figures} | {self.ledger} | "
            f"seed {self.seed}, {seconds:.0f} s | {result}"
        )
