"""JSON as messages: values to text, and messages to values (RFC 8259).

orjson or msgspec does the work where one of them is installed; both are imported when the first
value is sent or read, and what neither can say goes to the `json` of Python. So it is the same text
and the same values, whichever is there.
"""

import codecs
import dataclasses
import enum
import functools
import json
import math
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple, TypeAlias

from sockwave.errors import InvalidJSON, MalformedBody
from sockwave.log import escape, quote

#: Reads a message as JSON; raises InvalidJSON.
Decoder: TypeAlias = Callable[[str | bytes], Any]

#: What becomes of a message that is not the JSON that is expected; see the option `invalid_json`.
INVALID_JSON = ("close", "error")

#: The close reason for a client whose message is not the JSON that is expected.
REASON = "not the JSON that is expected"

_EXPECTED = "JSON, and of the `json_type` if there is one"

# So much of a message stands in an error.
_SHOWN_SIZE = 60


class JSONReading(NamedTuple):
    """How the connections of a server read JSON: the options `json_type` and `invalid_json`."""

    decode: Decoder
    #: "close" or "error".
    invalid: str


# ---- values to text


def encode_json(value: object) -> str:
    """Return a value as JSON (RFC 8259), as short as it goes: UTF-8 is not escaped.

    Raises TypeError for what JSON cannot say, ValueError for NaN, infinity and what contains
    itself.
    """
    quick = _load_encoder()
    if quick is not None:
        try:
            text = quick(value)
        except (TypeError, ValueError, RecursionError):
            pass  # the other one can, or says why it cannot
        else:
            # Both make null of NaN and infinity.
            if b"null" not in text:
                return text.decode()
    try:
        return _encoder.encode(value)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"a value for JSON: expected one that JSON can say: {error}") from None


def _represent(value: Any) -> object:
    """Return what stands for a value that is no type of JSON; TypeError if nothing does."""
    # Imported by those who have made such a value; the import of sockwave need not wait for them.
    import datetime
    import uuid

    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if hasattr(type(value), "__struct_fields__"):
        return import_module("msgspec").to_builtins(value, str_keys=True)
    if hasattr(type(value), "model_dump"):
        return value.model_dump(mode="json")
    if isinstance(value, datetime.datetime):
        text = value.isoformat()
        return f"{text[:-6]}Z" if text.endswith("+00:00") else text
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, enum.Enum):
        return value.value
    raise TypeError(
        "a value for JSON: expected dict, list, str, int, float, bool, None, a dataclass, "
        f"msgspec.Struct or pydantic model, given {type(value).__name__}"
    )


_encoder = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_represent
)


@functools.cache
def _load_encoder() -> Callable[[object], bytes] | None:
    """Return the encoder of orjson, or else of msgspec; None where neither is installed."""
    if (orjson := _load("orjson")) is not None:
        # The two libraries and `_represent` write the same then.
        options = orjson.OPT_UTC_Z | orjson.OPT_PASSTHROUGH_DATACLASS
        return functools.partial(orjson.dumps, default=_represent, option=options)
    if (msgspec := _load("msgspec")) is not None:
        encode: Callable[[object], bytes] = msgspec.json.Encoder(enc_hook=_represent).encode
        return encode
    return None


def _load(name: str) -> Any:
    """Return a module; None if it is not installed."""
    try:
        return import_module(name)
    except ImportError:
        return None


# ---- messages to values


def decode_json(message: str | bytes) -> Any:
    """Return the value of a message that is JSON, of text or of UTF-8; raises InvalidJSON."""
    try:
        return _load_decoder()(message)
    except (ValueError, RecursionError) as error:
        raise _invalid(message, error) from error


def decode_body(body: bytes) -> Any:
    """Return the value of a request's body; raises MalformedBody (400) if it is no JSON."""
    try:
        # RFC 8259, 8.1: "implementations that parse JSON texts MAY ignore the presence of a byte
        # order mark rather than treating it as an error."
        return decode_json(body.removeprefix(codecs.BOM_UTF8))
    except InvalidJSON as error:
        reason = _describe(error.__cause__)
        raise MalformedBody(f"malformed JSON: {reason}\n") from None


@functools.cache
def _load_decoder() -> Decoder:
    """Return the function of msgspec, or else of orjson, or else of Python, that reads JSON."""
    if (msgspec := _load("msgspec")) is not None:  # which keeps integers of any size
        decode: Decoder = msgspec.json.Decoder().decode
        return decode
    if (orjson := _load("orjson")) is not None:
        read: Decoder = orjson.loads
        return read
    return _decode_plainly


def _decode_plainly(message: str | bytes) -> Any:
    """Read JSON as the two libraries do, more strictly than Python; raises ValueError."""
    text = message if isinstance(message, str) else message.decode()
    value = _decoder.decode(text)
    if "\\u" in text:
        # RFC 8259, 8.2: an escape may stand for half a character, which no text can hold.
        json.dumps(value, ensure_ascii=False).encode()
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _read_float(text: str) -> float:
    """Return a number of JSON; ValueError if it is too large, which Python takes for infinity."""
    value = float(text)
    if math.isinf(value):
        raise ValueError("a number is too large")
    return value


_decoder = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_read_float)


#: How JSON is read by default.
AS_JSON = JSONReading(decode_json, "close")


def make_decoder(json_type: Any) -> Decoder:
    """Return what reads a message as a `json_type`; with None, as any JSON.

    A pydantic model, dataclass or TypeAdapter validates itself; anything else is msgspec's: a
    Struct, a dataclass, a TypedDict, `list[int]`. Raises TypeError for what is no such type,
    ImportError where msgspec is not installed.
    """
    if json_type is None:
        return decode_json
    try:
        return _make_typed_decoder(json_type)
    except TypeError as error:
        raise TypeError(
            "json_type: expected a msgspec.Struct, a dataclass, a pydantic model or a type of "
            f"msgspec's, given {json_type!r}: {error}"
        ) from None


@functools.lru_cache(maxsize=256)
def _make_typed_decoder(json_type: Any) -> Decoder:
    decode = _find_typed_decoder(json_type)

    def decode_typed(message: str | bytes) -> Any:
        try:
            return decode(message)
        except (ValueError, RecursionError) as error:
            raise _invalid(message, error) from error

    return decode_typed


def _find_typed_decoder(json_type: Any) -> Decoder:
    if hasattr(json_type, "validate_json"):  # a TypeAdapter
        adapter = json_type
    elif hasattr(json_type, "__pydantic_validator__"):
        adapter = import_module("pydantic").TypeAdapter(json_type)
    else:
        msgspec = _load("msgspec")
        if msgspec is None:
            raise ImportError(
                f"json_type: expected msgspec, to read {json_type!r}, given none: "
                "pip install sockwave[json]",
                name="msgspec",
            )
        decode: Decoder = msgspec.json.Decoder(json_type).decode
        return decode
    validate: Decoder = adapter.validate_json
    return validate


def _invalid(message: str | bytes, error: BaseException) -> InvalidJSON:
    """Return the error for a message; what a client says stands in it escaped, and cut."""
    shown = message[:_SHOWN_SIZE]
    text = shown if isinstance(shown, str) else shown.decode("latin-1")
    more = "..." if len(message) > len(shown) else ""
    reason = _describe(error)
    sentence = f"a message: expected {_EXPECTED}, given {quote(text)}{more}: {reason}"
    return InvalidJSON(sentence, message)


def _describe(error: BaseException | None) -> str:
    """Return what a decoder says of what it cannot read, escaped."""
    return "it is nested too deeply" if isinstance(error, RecursionError) else escape(error)
