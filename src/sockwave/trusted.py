"""Trusted proxies: the networks whose PROXY or Forwarded header we believe."""

import ipaddress
from collections.abc import Iterable
from typing import TypeAlias

from sockwave.address import Address, IPAddress, parse_address

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


class TrustedNetworks:
    """The networks of proxies that an option names; "unix" stands for the peers of Unix sockets.

    Raises TypeError or ValueError naming the option, what was expected and what was given.
    """

    __slots__ = ("_networks", "_trusts_unix")

    def __init__(self, option: str, names: str | Iterable[str]) -> None:
        if not isinstance(names, Iterable) or isinstance(names, (bytes, bytearray)):
            raise TypeError(f"{option}: expected str or a list of str, given {names!r}")
        self._networks: list[Network] = []
        self._trusts_unix = False
        for name in (names,) if isinstance(names, str) else tuple(names):
            if not isinstance(name, str):
                raise TypeError(f"{option}: expected a list of str, given {name!r} in it")
            if name == "unix":
                self._trusts_unix = True
                continue
            try:
                self._networks.append(ipaddress.ip_network(name))
            except ValueError as error:
                raise ValueError(
                    f"{option}: expected addresses, networks such as '10.0.0.0/8', or 'unix' for "
                    f"the peers of Unix sockets, given {name!r}: {error}"
                ) from None

    def __bool__(self) -> bool:
        """Tell whether any proxy is trusted."""
        return self._trusts_unix or bool(self._networks)

    def covers(self, address: Address) -> bool:
        """Tell whether the peer with this address is trusted."""
        if isinstance(address, str):
            return self._trusts_unix
        if not self._networks or address is None:
            return False
        return self.covers_ip(parse_address(address[0]))

    def covers_ip(self, address: IPAddress) -> bool:
        """Tell whether one IP address is trusted."""
        return any(address in network for network in self._networks)
