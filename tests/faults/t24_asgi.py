"""T24: what T23 does, to an ASGI application: see `called` for what it answers.

It never receives some bodies, never ends some calls, and sends some answers without an end. Half of
the good clients echo in its WebSockets, the others ask it for a page.
"""

from faults.ledger import Verdict
from faults.t11_floods import run as run_floods
from faults.t23_requests import LONG, SHORT, make_good

__all__ = ["LONG", "SHORT", "run"]


async def run(engine: str, seed: int, **scale: object) -> Verdict:
    """Run what T23 does, with another server."""
    return await run_floods(
        engine,
        seed,
        fault="T24",
        make_good=make_good,
        arguments=["--asgi"],
        **scale,  # type: ignore[arg-type]
    )
