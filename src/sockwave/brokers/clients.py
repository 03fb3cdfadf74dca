"""Which client a broker has: one for a server, or one for each shard of a cluster."""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from sockwave.brokers.client import BrokerClient
from sockwave.brokers.interface import Loop
from sockwave.brokers.urls import is_cluster

if TYPE_CHECKING:
    from sockwave.brokers.cluster import ClusterClient

#: The client of the broker that a host has.
HostClient: TypeAlias = "BrokerClient | ClusterClient"


def make_client(
    url: str, loop: Loop, *, came: Callable[[], object] = lambda: None, keeps: bool
) -> HostClient:
    """Return the client of a broker, as `BrokerClient` says. Raises as `check_broker` does."""
    if not is_cluster(url):
        return BrokerClient(url, loop, came=came, keeps=keeps)
    from sockwave.brokers.cluster import ClusterClient  # most brokers are none

    return ClusterClient(url, loop, came=came, keeps=keeps)
