"""Section 1A of the record: framing (RFC 6455, section 5)."""

import pytest
import reference
from reference import BINARY, Frame

from attacks.conftest import Attack


@pytest.mark.parametrize("length", [2**31, 2**63 - 1])
async def test_length(attack: Attack, length: int) -> None:
    async with attack() as victim:
        wire = await victim.connect()
        wire.write(reference.serialize_header(Frame(BINARY), length))
        await wire.expect_failure(1009)
        assert (await victim.closes())[0][0] == 1009
