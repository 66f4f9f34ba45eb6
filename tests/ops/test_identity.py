"""Identity: exact, total or refusing, and the same on the way back."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.errors import InputError
from ops.identity import canonical, decode, encode, fingerprint


@dataclass(frozen=True, kw_only=True)
class Inner:
    rate: float = 0.1
    shape: Literal["cosine", "linear"] = "cosine"


@dataclass(frozen=True, kw_only=True)
class Other:
    rate: float = 0.1


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str
    steps: int = 3
    inner: Inner | Other = field(default_factory=Inner)
    sizes: tuple[int, ...] = ()
    limit: int | None = None
    share: int | float | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Mutable:
    x: int = 1


def test_fingerprint_is_sha256_of_the_canonical_text() -> None:
    text = '{"class":"Inner","rate":0.1,"shape":"cosine"}'
    assert canonical(encode(Inner())) == text
    assert fingerprint(Inner()) == hashlib.sha256(text.encode()).hexdigest()


def test_class_bool_int_and_float_are_told_apart() -> None:
    values = [Inner(), Other(), 1, 1.0, True, "1", None, (), {}, ("1",)]
    assert len({fingerprint(value) for value in values}) == len(values)


@pytest.mark.parametrize(
    "value",
    [len, Path("x"), {1, 2}, math.nan, math.inf, b"x", object(), Mutable(), {1: "a"}, lambda: 0, Outer],
    ids=["builtin", "path", "set", "nan", "inf", "bytes", "object", "mutable", "keys", "lambda", "class"],
)
def test_what_has_no_exact_encoding_is_refused_with_its_place(value: Any) -> None:
    with pytest.raises(InputError, match=r"config\.extra\['key'\]"):
        encode(Outer(name="n", extra={"key": value}))


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=20,
)


@given(plain)
def test_encoding_survives_json(value: Any) -> None:
    assert encode(json.loads(canonical(encode(value)))) == encode(value)


outers = st.builds(
    Outer,
    name=st.text(),
    steps=st.integers(),
    inner=st.builds(Inner, rate=st.floats(0, 1)) | st.builds(Other, rate=st.floats(0, 1)),
    sizes=st.lists(st.integers()).map(tuple),
    limit=st.none() | st.integers(),
    share=st.none() | st.integers() | st.floats(0, 1),
)


@given(outers)
def test_decode_is_the_inverse_of_encode(value: Outer) -> None:
    back = decode(Outer, json.loads(canonical(encode(value))))
    assert back == value
    assert fingerprint(back) == fingerprint(value)
    assert type(back.share) is type(value.share)


@given(outers, outers)
def test_equal_fingerprints_mean_equal_values(left: Outer, right: Outer) -> None:
    assert (fingerprint(left) == fingerprint(right)) == (canonical(encode(left)) == canonical(encode(right)))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, r"needs the fields \['name'\]"),
        ({"name": "n", "stepz": 1}, r"no fields \['stepz'\]"),
        ({"name": 1}, r"config\.name: expected str, got 1"),
        ({"name": "n", "steps": 1.5}, r"config\.steps: expected int"),
        ({"name": "n", "steps": True}, r"config\.steps: expected int"),
        ({"name": "n", "inner": {"class": "Outer"}}, r"config\.inner: `class` must be one of"),
        ({"name": "n", "inner": {"class": "Inner", "shape": "square"}}, r"config\.inner\.shape: 'square'"),
        ({"name": "n", "sizes": [1, "2"]}, r"config\.sizes\[1\]: expected int"),
        ([], "expected an object"),
    ],
)
def test_decode_names_what_is_wrong(data: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        decode(Outer, data)
