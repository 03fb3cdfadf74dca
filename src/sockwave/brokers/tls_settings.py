"""What a URL says of TLS to servers of Valkey, and to sentinels, as `valkey` takes it."""

import ssl
from collections.abc import Mapping
from typing import Any

#: What the names of these settings begin with.
BEGIN = "ssl_"

_REQUIREMENTS = ("required", "optional", "none")
_SWITCHES = ("ssl_check_hostname", "ssl_validate_ocsp", "ssl_validate_ocsp_stapled")
_VERSIONS = {"TLSv1_2": ssl.TLSVersion.TLSv1_2, "TLSv1_3": ssl.TLSVersion.TLSv1_3}
_ON = ("1", "true", "yes", "on")
_OFF = ("0", "false", "no", "off")


def read_tls_settings(said: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of TLS among those of a URL, which are texts.

    The name in a certificate is checked, unless the URL says otherwise. Raises ValueError.
    """
    found = {name: value for name, value in said.items() if name.startswith(BEGIN)}
    requirement = found.get("ssl_cert_reqs", "required")
    if requirement not in _REQUIREMENTS:
        raise ValueError(
            f"broker: expected ssl_cert_reqs to be one of {', '.join(_REQUIREMENTS)}, "
            f"given {requirement!r}"
        )
    found.setdefault("ssl_check_hostname", requirement != "none")
    for name in _SWITCHES:
        if isinstance(found.get(name), str):
            found[name] = read_switch(name, found[name])
    if "ssl_min_version" in found:
        version = found["ssl_min_version"]
        if version not in _VERSIONS:
            raise ValueError(
                f"broker: expected ssl_min_version to be one of {', '.join(_VERSIONS)}, "
                f"given {version!r}"
            )
        found["ssl_min_version"] = _VERSIONS[version]
    return found


def read_switch(name: str, said: str) -> bool:
    """Return whether something is on. Raises ValueError."""
    if said.lower() not in (*_ON, *_OFF):
        raise ValueError(f"broker: expected {name} to be true or false, given {said!r}")
    return said.lower() in _ON
