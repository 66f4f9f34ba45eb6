"""What decontamination takes for the same: tokens, numbers, formulas, and their windows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.decontaminate.tokens import Stream, canonical_number, prepare, read_words
from ops.decontaminate.windows import Tokens, distinct_words


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("$f(x) = 2x + 1$", "$g(t)=2 t+1$", True),
        ("$f(x) = 2x + y$", "$g(t)=2 t+t$", False),
        (r"$\dfrac{a}{b} \le \left( 3 \right)$", r"\(\frac{p}{q}\leq(3)\)", True),
        ("$x^2 ≤ 1,000.50$", r"$x^{2} \leq 1000.5$", True),
        ("$ab + ba$", "$x y + y x$", True),
        ("He has $5 and She has $6.", "he HAS 5 and she has 6", True),
        ("costs $5 and $6", "costs $5 or $6", False),
        ("5 apples", "6 apples", False),
        (r"$\alpha + \beta$", r"$\beta + \gamma$", True),
        (r"$\sin x$", r"$\cos x$", False),
        ("<<16-3=13>>13 eggs", "13 eggs", True),
        ("the farmer\u2019s market", "the farmer's market", True),
        ("$x²$", "$x^2$", True),
    ],
)
def test_what_counts_as_the_same(left: str, right: str, same: bool) -> None:
    def key(text: str) -> tuple:
        stream = Stream()
        read_words(prepare(text), stream)
        return tuple(zip(stream.value, stream.back, strict=True))

    assert (key(left) == key(right)) is same


@pytest.mark.parametrize(
    ("number", "canonical"),
    [("1,000", "1000"), ("1000.0", "1000"), ("007", "7"), (".50", "0.5"), ("0", "0"), ("12,345,678.9", "12345678.9")],
)
def test_numbers_have_one_form(number: str, canonical: str) -> None:
    assert canonical_number(number) == canonical


def test_formulas_are_found_and_prices_are_not() -> None:
    text = "It costs $5 and $6. Then $x + 1$ and $ y $ and\n$$\nz\n$$\nbut $3.50 or US$4 and\n\nlone $ sign"
    assert prepare(text).formulas == ("x + 1", "y", "z")


LINE = st.lists(st.sampled_from(["alpha", "root", "sum", "7", "$x$", "$y$", "$x$", "\\frac", ".", "? "]), max_size=14)


@settings(max_examples=100)
@given(st.lists(LINE.map(" ".join), min_size=1, max_size=4), st.integers(1, 6))
def test_windows_agree_with_a_plain_implementation(texts: list[str], length: int) -> None:
    """Equal hashes exactly where windows are equal up to renaming of variables, and never across texts."""
    streams = []
    for text in texts:
        stream = Stream()
        read_words(prepare(text), stream)
        streams.append(stream)
    expected, position = {}, 0
    for stream in streams:
        for start in range(len(stream) - length + 1):
            names: dict[str, int] = {}
            window = []
            for token, value in zip(
                stream.tokens[start : start + length], stream.value[start : start + length], strict=True
            ):
                window.append((value, 0) if value else ("variable", names.setdefault(token, len(names))))
            expected[position + start] = tuple(window)
        position += len(stream)
    tokens = Tokens.of(streams)
    found = tokens.all_windows([(length, 0)])
    starts = found[0][2] if found else np.zeros(0, dtype=np.int64)
    hashes = found[0][3] if found else np.zeros(0, dtype=np.uint64)
    assert list(starts) == sorted(expected)
    pairs = {(expected[int(start)], int(value)) for start, value in zip(starts, hashes, strict=True)}
    assert len(pairs) == len({window for window, _ in pairs}) == len({value for _, value in pairs})
    if len(starts):
        spans = tokens.spans(starts, starts + length, 0)
        assert list(spans) == list(hashes)
        counted = distinct_words(tokens, starts, length)
        all_tokens = [token for stream in streams for token in stream.tokens]
        for start, count in zip(starts, counted, strict=True):
            assert count == len(
                {name for name in all_tokens[start : start + length] if len(name) > 2 and name.isalpha()}
            )
