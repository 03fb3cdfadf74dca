"""Twenty-three guards, each a limit or a check of the wire, and the tests that are to miss them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Guard:
    """A guard as it stands in a file of the project, and what stands there without it."""

    name: str
    path: str
    text: str
    without: str
    tests: tuple[str, ...]


CORE = "src/sockwave/core/"
HTTP = "src/sockwave/http/"
HANDSHAKE = "src/sockwave/handshake/"

GUARDS = (
    Guard(
        "unmasked frame (RFC 6455, 5.1)",
        CORE + "protocol/frames.pyx",
        "    if not header.masked:\n        return UNMASKED_FRAME\n",
        "",
        ("tests/test_reader.py",),
    ),
    Guard(
        "masked frame of a server (RFC 6455, 5.1)",
        CORE + "protocol/server_frames.pyx",
        "        if not self.frame_left and given.size >= HEADER_SIZE and given.data[1] & MASKED:\n"
        "            return self.violate(found, MASKED_FRAME)\n",
        "",
        ("tests/client/test_client_frames.py",),
    ),
    Guard(
        "key of the answer (RFC 6455, 4.1)",
        "src/sockwave/client/answer.py",
        "    if accept != [accept_value(request.key)]:\n",
        "    if not accept:\n",
        ("tests/client/test_connect_answers.py",),
    ),
    Guard(
        "reserved bits (RFC 6455, 5.2)",
        CORE + "protocol/frames.pyx",
        "    if header.reserved & ~allowed_reserved:\n        return RESERVED_BITS\n",
        "",
        ("tests/test_reader.py",),
    ),
    Guard(
        "length of a control frame (RFC 6455, 5.5)",
        CORE + "protocol/frames.pyx",
        "        if header.short_length > MAX_CONTROL_SIZE:\n"
        "            return LONG_CONTROL_FRAME\n",
        "",
        ("tests/test_reader.py",),
    ),
    Guard(
        "fragmented control frame (RFC 6455, 5.5)",
        CORE + "protocol/frames.pyx",
        "        if not header.fin:\n            return FRAGMENTED_CONTROL_FRAME\n",
        "",
        ("tests/test_reader.py",),
    ),
    Guard(
        "top bit of a 64-bit length (RFC 6455, 5.2)",
        CORE + "protocol/frames.pyx",
        "            if header.length >> 63:\n                return LENGTH_TOP_BIT\n",
        "",
        ("tests/test_reader.py",),
    ),
    Guard(
        "close codes (RFC 6455, 7.4)",
        CORE + "protocol/frames.pyx",
        "    if not (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999):\n"
        "        return CLOSE_CODE\n",
        "",
        ("tests/test_reader.py",),
    ),
    Guard(
        "max_size, at the header of a frame",
        CORE + "protocol/reader.pyx",
        "            if header.length > limit - self.message_size:\n"
        "                return self.violate(found, MESSAGE_TOO_BIG)\n",
        "",
        ("tests/test_limits.py",),
    ),
    Guard(
        "text fails at its first wrong byte (RFC 6455, 8.1)",
        CORE + "protocol/reader.pyx",
        "            )\n"
        "            if self.utf8_state == UTF8_INVALID:\n"
        "                return self.violate(found, INVALID_UTF8)\n",
        "            )\n",
        ("tests/test_reader.py",),
    ),
    Guard(
        "bytes of a draft's length, leading zeros too",
        CORE + "protocol/hixie.pyx",
        "            if i > MAX_LENGTH_SIZE:\n"
        "                return self.violate(found, DRAFT_LENGTH)\n",
        "",
        ("tests/test_protocol_hixie.py",),
    ),
    Guard(
        "max_size of a draft's text",
        CORE + "protocol/hixie.pyx",
        "            if size > left and self.utf8_state != UTF8_INVALID:\n"
        "                return self.violate(found, MESSAGE_TOO_BIG)\n",
        "",
        ("tests/test_protocol_hixie.py",),
    ),
    Guard(
        "max_size of what is inflated",
        CORE + "protocol/inflation.pyx",
        "        self.max_size = max_size\n        if keeps_context:\n",
        "        self.max_size = 1 << 40\n        if keeps_context:\n",
        ("tests/test_compression.py",),
    ),
    Guard(
        "what a turn inflates",
        CORE + "session/inflating.pyx",
        "        if is_over or (cost >= budget.inflatable and inflation.is_between):\n",
        "        if is_over:\n",
        ("tests/test_inflation.py",),
    ),
    Guard(
        "header_count",
        HTTP + "check.py",
        '    if raw.count(b"\\r\\n") - 2 > limits.header_count:\n',
        "    if False:\n",
        ("tests/test_http_head.py",),
    ),
    Guard(
        "Transfer-Encoding in HTTP/1.0 (request smuggling)",
        HTTP + "check.py",
        '        if head.http_version == "1.0":\n            raise',
        "        if False:\n            raise",
        ("tests/test_http_head.py",),
    ),
    Guard(
        "body_size of a body in chunks",
        "src/sockwave/core/http/chunked.pyx",
        "        if self.left_size > self.most_size - self.content_size:\n",
        "        if False:\n",
        ("tests/test_http_body.py",),
    ),
    Guard(
        "origin",
        HANDSHAKE + "origin.py",
        '    if policy != "*" and not is_accepted(origin, policy, secure, host):\n',
        "    if False:\n",
        ("tests/test_handshake_origin.py",),
    ),
    Guard(
        "16 bytes of Sec-WebSocket-Key (RFC 6455, 4.2.1)",
        HANDSHAKE + "rfc6455.py",
        "            if len(a2b_base64(keys[0], strict_mode=True)) == 16:\n"
        "                return\n",
        "            return\n",
        ("tests/test_handshake_rfc6455.py",),
    ),
    Guard(
        "fragment_count",
        CORE + "protocol/reader.pyx",
        "            > self.free_fragment_count + self.message_size / FRAGMENT_PRICE_SIZE\n",
        "            > 1 << 30\n",
        ("tests/limits/test_limits_of_messages.py",),
    ),
    Guard(
        "control_rate",
        CORE + "session/session.pyx",
        "        elif not self.may_control(opcode):\n"
        "            return self.fail(TOO_MANY_CONTROLS)\n",
        "",
        ("tests/limits/test_limits_of_messages.py",),
    ),
    Guard(
        "max_backlog",
        CORE + "io/slow_peer.pxd",
        "    return excess_size(marks, waiting_size(queue, behind), size) != 0\n",
        "    return False\n",
        ("tests/test_limits.py",),
    ),
    Guard(
        "max_connections",
        "src/sockwave/runtime/admission.py",
        "        if self._max_connections is not None and count > self._max_connections:\n",
        "        if False:\n",
        ("tests/limits/test_admission.py",),
    ),
)
