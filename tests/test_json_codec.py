"""JSON is the same, whichever library reads and writes it: orjson, msgspec, or Python alone."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from prepared import EXECUTED
from wire import case

LIBRARIES = ["orjson", "msgspec"]
# Which of the two are installed.
INSTALLED = [["orjson", "msgspec"], ["orjson"], ["msgspec"], []]

HIDE = """
import sys
for name in {hidden!r}:
    sys.modules[name] = None  # what Python makes of a package that is not there
"""

WRITE = """
import collections, dataclasses, datetime, enum, json, uuid
import pydantic
from sockwave.json_codec import encode_json

@dataclasses.dataclass
class Step:
    x: int
    _y: int = 2

class Jump(pydantic.BaseModel):
    x: int
    when: datetime.date = datetime.date(2026, 1, 2)

class Colour(enum.Enum):
    RED = "red"

class Level(enum.IntEnum):
    LOW = 1

class Name(str):
    pass

Pair = collections.namedtuple("Pair", "x y")
utc, east = datetime.timezone.utc, datetime.timezone(datetime.timedelta(hours=2))
loop = []
loop.append(loop)
deep = []
for _ in range(100_000):  # more than any CPython takes
    deep = [deep]
values = {
    "plain": {"a": [1, -2.5, True, False, None, "x"]},
    "text": "Zo\\u00eb \\U0001f600 \\" \\\\ / \\u2028 \\x00",
    "spaces": {"a": {"b": [{}, [], ""]}},
    "keys": {1: "a", "b": 2, 1.5: 3, None: 4, False: 5},
    "large": [2**63, 2**70, -(2**63)],
    "tuples": [(1, 2), Pair(3, 4)],
    "subclasses": [Name("n"), Level.LOW, collections.OrderedDict(a=1)],
    "dataclass": [Step(1)],
    "model": [Jump(x=1), {"null": None}],
    "enum": [Colour.RED],
    "datetimes": [
        datetime.datetime(2026, 1, 2, 3, 4, 5, 678, utc),
        datetime.datetime(2026, 1, 2, 3, 4, 5, 0, east),
        datetime.datetime(2026, 1, 2, 3, 4, 5),
        datetime.date(2026, 1, 2),
        datetime.time(3, 4),
    ],
    "uuid": uuid.UUID(int=1),
    "nan": [1.0, float("nan")],
    "infinity": {"a": float("inf")},
    "hidden nan": {"a": None, "b": [Step(float("nan"))]},
    "loop": loop,
    "deep": deep,
    "object": object(),
    "bad key": {(1,): 2},
}
found = {}
for name, value in values.items():
    try:
        found[name] = encode_json(value)
    except Exception as error:
        found[name] = type(error).__name__
print(json.dumps(found))
"""

READ = """
import json, math
from sockwave.errors import InvalidJSON
from sockwave.json_codec import decode_json

texts = [
    "1", " [1, 2.5, -0, 1e3, true, null] ", '"\\\\u00eb\\\\ud83d\\\\ude00"',
    '{"a": 1, "a": 2}', b'"Zo\\xc3\\xab"',
    "NaN", "Infinity", "1e400", '"\\\\ud800"', '{"\\\\ud800": 1}', "[1,]", "", "nul",
    "\\ufeff1", "1 2", '"a\\nb"', "01", "1.", "'a'", b"\\xff", b"\\xff\\xfe1\\x00",
    "[" * 100000, "[" * 200000 + "]" * 200000, "{1: 2}",
]
found = []
for text in texts:
    try:
        found.append(decode_json(text))
    except InvalidJSON as error:
        assert error.message is text and str(error).isprintable() and len(str(error)) < 1000
        found.append("InvalidJSON")
print(json.dumps(found))
"""


def run(program: str, installed: list[str]) -> Any:
    hidden = [name for name in LIBRARIES if name not in installed]
    command = [sys.executable, "-c", HIDE.format(hidden=hidden) + program]
    environment = os.environ | EXECUTED
    return json.loads(
        subprocess.run(command, check=True, capture_output=True, env=environment).stdout
    )


@pytest.mark.slow
def test_value_is_the_same_text_whatever_is_installed() -> None:
    plain = run(WRITE, [])
    assert plain["plain"] == '{"a":[1,-2.5,true,false,null,"x"]}'
    assert plain["keys"] == '{"1":"a","b":2,"1.5":3,"null":4,"false":5}'
    assert plain["dataclass"] == '[{"x":1,"_y":2}]'
    assert plain["model"] == '[{"x":1,"when":"2026-01-02"},{"null":null}]'
    assert json.loads(plain["datetimes"]) == [
        "2026-01-02T03:04:05.000678Z",
        "2026-01-02T03:04:05+02:00",
        "2026-01-02T03:04:05",
        "2026-01-02",
        "03:04:00",
    ]
    assert plain["subclasses"] == '["n",1,{"a":1}]'
    for name in ("nan", "infinity", "hidden nan", "loop", "deep"):
        assert plain[name] == "ValueError", name
    assert plain["object"] == plain["bad key"] == "TypeError"
    for installed in INSTALLED[:-1]:
        with case(installed):
            assert run(WRITE, installed) == plain


@pytest.mark.slow
def test_text_is_the_same_value_whatever_is_installed() -> None:
    plain = run(READ, [])
    assert plain[:5] == [1, [1, 2.5, 0, 1000.0, True, None], "ë😀", {"a": 2}, "Zoë"]
    assert plain[5:] == ["InvalidJSON"] * (len(plain) - 5)
    for installed in INSTALLED[:-1]:
        with case(installed):
            assert run(READ, installed) == plain


def test_library_is_imported_when_the_first_value_comes() -> None:
    program = """
import json, sys
import sockwave
sockwave.create_server()
before = [name for name in ("orjson", "msgspec", "pydantic") if name in sys.modules]
from sockwave.json_codec import encode_json
encode_json({})
print(json.dumps([before, [name for name in ("orjson", "pydantic") if name in sys.modules]]))
"""
    assert run(program, LIBRARIES) == [[], ["orjson"]]


def test_type_without_the_library_that_reads_it_raises_what_to_install() -> None:
    program = """
import dataclasses, json
import sockwave

@dataclasses.dataclass
class Step:
    x: int

try:
    sockwave.create_server(json_type=Step)
except ImportError as error:
    print(json.dumps([error.name, str(error)]))
"""
    name, sentence = run(program, ["orjson"])
    assert name == "msgspec"
    assert sentence.startswith("json_type: expected msgspec, to read <class '__main__.Step'>")
    assert sentence.endswith("pip install sockwave[json]")


@pytest.mark.parametrize("installed", INSTALLED, ids="+".join)
def test_lone_surrogate_is_never_sent(installed: list[str]) -> None:
    program = """
import json
from sockwave.json_codec import encode_json
try:
    found = encode_json(["\\ud800"]).encode()
except ValueError as error:
    found = "ValueError"
print(json.dumps(found))
"""
    assert run(program, installed) == "ValueError"
