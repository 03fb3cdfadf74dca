"""What became of messages while their broker broke: counts for each kind of fault."""

from collections import Counter

from faults.ledger import Verdict

#: What must not be, for all kinds of faults: the count, and how it is said.
NEVER = {
    "deaf": "times a host stayed deaf",
    "kept_deaf": "times a client of the history heard no more",
    "silent": "gaps that nobody told",
    "kept_silent": "losses of the history that nobody told",
    "kept_unrecovered": "times a client that came back did not recover, though nothing was lost",
    "unexplained": "messages that nobody had published",
    "kept_unexplained": "messages of the history that were not where they had been said to be",
}


class BrokerTally:
    """The counts of each kind of fault; those of the topic with a history begin with `kept_`."""

    def __init__(self) -> None:
        self._kinds: dict[str, Counter[str]] = {}
        self._back_s: list[float] = []

    def add(self, kind: str, **counts: int) -> None:
        """Add what one fault has shown."""
        self._kinds.setdefault(kind, Counter()).update(counts)

    def note_back(self, back_s: float) -> None:
        """Note after how long all was heard again."""
        self._back_s.append(back_s)

    def print_lines(self, title: str) -> None:
        """Print a line for each kind of fault, as it is by now."""
        for kind, counts in sorted(self._kinds.items()):
            print(f"{title}, {counts['faults']} {kind}: {describe(counts)}", flush=True)

    def close(self, verdict: Verdict) -> Verdict:
        """Hold all against the bars, and give the verdict."""
        total: Counter[str] = Counter()
        for counts in self._kinds.values():
            total.update(counts)
        for name, sentence in NEVER.items():
            verdict.require(not total[name], f"{total[name]} {sentence}")
        most = max(1, total["faults"] // 50)  # on a busy machine, a flood may come too slowly
        verdict.require(total["idle"] <= most, f"{total['idle']} faults that broke nothing")
        ledger = verdict.ledger
        ledger.delivered = total["heard"] + total["kept_heard"]
        ledger.lost = total["kept_lost"]
        ledger.expected = ledger.delivered + ledger.lost
        ledger.duplicated = total["duplicated"] + total["kept_duplicated"]
        ledger.reordered = total["kept_reordered"]
        ledger.unexplained = total["unexplained"] + total["kept_unexplained"]
        kinds = ", ".join(f"{one['faults']} {kind}" for kind, one in sorted(self._kinds.items()))
        back_s = sorted(self._back_s)
        p50, p99 = (back_s[int(len(back_s) * part)] for part in (0.5, 0.99))
        return verdict.close(
            f"{total['faults']} faults ({kinds}): {describe(total)}; heard again after "
            f"{p50:.2f} s (p50), {p99:.2f} s (p99), {back_s[-1]:.2f} s at most"
        )


def describe(counts: Counter[str]) -> str:
    """Say what the counts are."""
    return (
        f"deaf {counts['deaf']}, to the history {counts['kept_deaf']}, "
        f"broke nothing {counts['idle']}, "
        f"unexplained {counts['unexplained'] + counts['kept_unexplained']}; "
        f"plain: heard {counts['heard']}, told gaps {counts['told']} of {counts['missing']} "
        f"messages, silent gaps {counts['silent']}, duplicated {counts['duplicated']}; "
        f"history: heard {counts['kept_heard']}, lost {counts['kept_lost']}, duplicated "
        f"{counts['kept_duplicated']}, reordered {counts['kept_reordered']}, other logs told "
        f"{counts['kept_told']} with {counts['kept_missing']} messages, losses not told "
        f"{counts['kept_silent']}, came back {counts['kept_returned']}, recovered "
        f"{counts['kept_recovered']}, not though nothing was lost {counts['kept_unrecovered']}"
    )
