"""What is said in the subprotocol `sockwave.1`, read and written: docs/sockwave.1.md."""

import base64
import binascii
import json
from typing import Any, TypeAlias

from sockwave.deliveries import Delivery, Position
from sockwave.json_codec import encode_json
from sockwave.messages import Message

NAME = "sockwave.1"

Fields: TypeAlias = dict[str, Any]

#: What tells frames of the subprotocol from messages that the application has sent as they are.
_OWN_FIELDS = frozenset(
    {"topic", "subscribed", "unsubscribed", "gap", "acknowledged", "refused", "error"}
)


class Malformed(Exception):  # noqa: N818  (says what it is)
    """A server has said what the subprotocol does not know; the text says what was expected."""


def read_frame(message: str | bytes) -> Fields | str | bytes:
    """Return the fields of a frame, or a message of the application's own.

    That is what it has sent: as it is, or in the object `{"message": …}`.
    """
    if not isinstance(message, str):
        return message
    try:
        said = json.loads(message)
    except (ValueError, RecursionError):
        return message
    if not isinstance(said, dict):
        return message
    if not _OWN_FIELDS.isdisjoint(said):
        return said
    inner = said.get("message")
    return inner if len(said) == 1 and isinstance(inner, str) else message


def read_text(said: Fields, name: str) -> str:
    """Return a field that holds a text. Raises Malformed."""
    value = said.get(name)
    if not isinstance(value, str):
        raise Malformed(f"{name}: expected a text")
    return value


def read_members(said: Fields, name: str) -> dict[str, Any]:
    """Return a field that holds members and what is told of them. Raises Malformed."""
    value = said.get(name, {})
    if not isinstance(value, dict):
        raise Malformed(f"{name}: expected an object")
    return value


def read_position(said: Fields) -> Position | None:
    """Return the position that a frame tells; None: none. Raises Malformed."""
    text = said.get("position")
    try:
        return None if text is None else Position.parse(text)
    except (TypeError, ValueError):
        raise Malformed("position: expected EPOCH-OFFSET") from None


def read_delivery(said: Fields) -> Delivery:
    """Return the message, delta or end that a frame brings. Raises Malformed."""
    topic, position = read_text(said, "topic"), read_position(said)
    if "delta" in said:
        return Delivery(topic, read_text(said, "delta"), position, "delta")
    if "end" in said:
        if said["end"] not in ("finished", "aborted"):
            raise Malformed("end: expected finished or aborted")
        return Delivery(topic, None, position, said["end"])
    name = said.get("id")
    if name is not None and not isinstance(name, str):
        raise Malformed("id: expected a text")
    if "base64" not in said:
        return Delivery(topic, read_text(said, "message"), position, "message", name)
    try:
        message = base64.b64decode(read_text(said, "base64"), validate=True)
    except (binascii.Error, ValueError):
        raise Malformed("base64: expected RFC 4648") from None
    return Delivery(topic, message, position, "message", name)


def write_command(command: str, topic: str, **fields: object) -> str:
    """Return a command; fields that are None are left out. Raises TypeError, ValueError."""
    if not isinstance(topic, str):
        raise TypeError(f"{command}: expected a topic as str, given {type(topic).__name__}")
    said = {name: value for name, value in fields.items() if value is not None}
    text = encode_json({command: topic, **said})
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{command}: expected no lone surrogate") from None
    return text


def write_message(message: Message) -> dict[str, str]:
    """Return the field of a command that holds a message. Raises TypeError."""
    if isinstance(message, str):
        return {"message": message}
    try:
        return {"base64": base64.b64encode(memoryview(message)).decode()}
    except TypeError:
        given = type(message).__name__
        raise TypeError(f"publish: expected str or bytes-like, given {given}") from None
