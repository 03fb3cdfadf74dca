"""Who a host, or a program that publishes, is to a server of NATS.

https://docs.nats.io/running-a-nats-service/configuration/securing_nats/auth_intro
"""

import base64
import re
from importlib import import_module
from pathlib import Path
from typing import Any

from sockwave.errors import SockwaveError

# The seed of a user, alone or between lines of dashes, and its JWT.
_SEED = re.compile(rb"^SU[A-Z2-7]{56}\r?$", re.MULTILINE)
_JWT = re.compile(rb"^eyJ[\w-]*\.[\w-]+\.[\w-]+\r?$", re.MULTILINE)


class NatsIdentity:
    """A user with a password, a token, an NKey, or a JWT; files are read whenever we connect."""

    def __init__(
        self, user: str, password: str | None, nkeys_seed: str | None, user_credentials: str | None
    ) -> None:
        """Note what a URL says.

        Raises ValueError where it says several things, ImportError where `nkeys` is not installed
        and has to sign.
        """
        given = (user or password is not None, nkeys_seed, user_credentials)
        if sum(one not in (False, None, "") for one in given) > 1:
            raise ValueError(
                "broker: expected one of a user or token, nkeys_seed and user_credentials, "
                "given several"
            )
        self._user, self._password = user, password
        self._path = nkeys_seed or user_credentials
        self._has_jwt = bool(user_credentials)
        if self._path:
            find_nkeys()

    def introduce(self, nonce: str | None) -> dict[str, str]:
        """Return what CONNECT says of it; `nonce` is what the server wants to have signed."""
        if not self._path:
            if self._password is not None:
                return {"user": self._user, "pass": self._password}
            return {"auth_token": self._user} if self._user else {}
        if not nonce:
            raise SockwaveError(
                "NATS: expected a server whose users have NKeys or JWTs, given one that asks for "
                "no signature"
            )
        said = Path(self._path).read_bytes()
        key, signature = sign(find_line(_SEED, said, "the seed of a user", self._path), nonce)
        if not self._has_jwt:
            return {"nkey": key, "sig": signature}
        jwt = find_line(_JWT, said, "the JWT of a user", self._path).decode()
        return {"jwt": jwt, "sig": signature}


def find_nkeys() -> Any:
    """Return the package that signs. Raises ImportError, which names the extra."""
    try:
        return import_module("nkeys")  # which has no types
    except ImportError as error:
        raise ImportError(
            "broker: expected the package 'nkeys' for nkeys_seed and user_credentials: "
            "pip install 'sockwave[nats]'"
        ) from error


def find_line(pattern: re.Pattern[bytes], said: bytes, what: str, path: str) -> bytes:
    """Return the line of a file that has something. Raises SockwaveError, which quotes nothing."""
    found = pattern.search(said)
    if found is None:
        raise SockwaveError(f"NATS: expected {what} in {path}")
    return found[0].rstrip(b"\r")


def sign(seed: bytes, nonce: str) -> tuple[str, str]:
    """Return the public key of a seed, and its signature."""
    pair = find_nkeys().from_seed(bytearray(seed))
    try:
        signature = base64.urlsafe_b64encode(pair.sign(nonce.encode())).rstrip(b"=").decode()
        return pair.public_key.decode(), signature
    finally:
        pair.wipe()
