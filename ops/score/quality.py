"""Mathematics quality of a document, 0 to 5: a logistic score over features anyone can check by eye.

Each feature is a share or a density squeezed into 0..1. The score is `5 * sigmoid(bias + sum(weight * feature))`. The
scale follows FineMath's: 0 no mathematics, 1 touches it, 2 some without explanation, 3 explains at undergraduate
level or below with some noise, 4 a coherent treatment, 5 outstanding: reasoning, formulas and prose throughout. The
weights are ours, set by hand.
"""

import math
import re
from collections.abc import Mapping

from ops.score.excerpt import LINK, Excerpt
from ops.score.vocabulary import AMBIGUOUS_WORDS, MATH_WORDS, REASONING_WORDS

WORD = re.compile(r"[^\W\d_]+")
SENTENCE = re.compile(r"[A-Z](?:[^.!?:\n]|\n(?!\s*\n)|[.:](?=\S)){25,400}[.!?:](?=\s|$)")
COMMAND = re.compile(r"\\[A-Za-z]+")
PLAIN_MATH = re.compile(r"(?<![=<>!])=(?!=)|[≤≥≠≈∑∫√∞±×÷∈∀∃→⇒]|(?<=\d)\s?[+*/^]\s?(?=\d)")
API = re.compile(
    r">>>|\b(?:self|kwargs|args|dtype|ndarray|bool|NoneType|TypeError|ValueError|deprecated|import|callable)\b"
    r"|\b\w+\(\)|\b[a-z]+_[a-z_]+\b|\boptional\b,?|^\s*(?:Parameters|Returns|See Also|Notes|References|Raises)\s*$",
    re.M,
)

WEIGHTS: Mapping[str, float] = {
    "formulas": 2.0,  # formulas per word
    "latex": 0.8,  # LaTeX commands inside formulas: real notation, not a lone $x$
    "plain_math": 1.5,  # equations written without LaTeX
    "vocabulary": 2.2,  # mathematical words per word
    "breadth": 0.9,  # how many different mathematical words
    # The next three count as far as the text is mathematical (the largest of formulas, plain_math, vocabulary).
    "reasoning": 2.4,  # words that carry an argument, per word
    "sentences": 2.0,  # share of the prose that is whole sentences
    "length": 1.8,
    "links": -2.5,  # links, and lines too short to be sentences
    "api": -2.4,  # signatures, types, doctest prompts
    "code": -1.6,  # share of the text that is code
    "repetition": -2.5,  # share of lines that repeat another
}
BIAS = -3.3


def _squeeze(density: float, half: float) -> float:
    """0 at 0, 0.5 at `half`, towards 1."""
    return density / (density + half)


def features(excerpt: Excerpt) -> dict[str, float]:
    """The features of an excerpt, each within 0..1, in the order of `WEIGHTS`."""
    prose = excerpt.prose
    words = [word.lower() for word in WORD.findall(LINK.sub(" ", prose)) if len(word) > 1]
    num_words = max(len(words), 20)
    math_words = [word for word in words if word in MATH_WORDS]
    num_math_words = len(math_words) + sum(1 for word in words if word in AMBIGUOUS_WORDS) / 4
    lines = [line.strip() for line in prose.splitlines() if line.strip()]
    num_lines = max(len(lines), 1)
    short = sum(1 for line in lines if 0 < len(line.split()) < 6 and line[-1] not in ".:;,!?")
    commands = sum(len(COMMAND.findall(formula)) for formula in excerpt.formulas)
    num_formulas = len(excerpt.formulas) + excerpt.num_display  # a display formula counts twice
    sentence_chars = sum(len(match) for match in SENTENCE.findall(prose))
    links = len(LINK.findall(prose)) + prose.count("](")
    formulas = _squeeze(num_formulas / num_words, 0.04)
    plain_math = _squeeze(len(PLAIN_MATH.findall(prose)) / num_words, 0.06)
    vocabulary = _squeeze(num_math_words / num_words, 0.05)
    mathematical = max(formulas, plain_math, vocabulary)
    return {
        "formulas": formulas,
        "latex": _squeeze(commands / num_words, 0.05),
        "plain_math": plain_math,
        "vocabulary": vocabulary,
        "breadth": _squeeze(len(set(math_words)), 6),
        "reasoning": mathematical * _squeeze(sum(1 for word in words if word in REASONING_WORDS) / num_words, 0.06),
        "sentences": mathematical * min(1.0, sentence_chars / max(len(prose.strip()), 200)),
        "length": mathematical * _squeeze(len(words) + 5 * num_formulas, 120),
        "links": min(1.0, 0.7 * short / num_lines + 2 * links / num_lines),
        "api": _squeeze(len(API.findall(prose)) / num_words, 0.25),
        "code": min(1.0, excerpt.code_chars / max(len(excerpt.text), 1)),
        "repetition": 1 - len(set(lines)) / num_lines if lines else 0.0,
    }


def math_score(excerpt: Excerpt) -> float:
    """The score, 0 to 5, to 4 digits. A text without a formula, equation or mathematical word scores 0."""
    values = features(excerpt)
    if not (values["formulas"] or values["plain_math"] or values["vocabulary"]):
        return 0.0
    total = BIAS + sum(weight * values[name] for name, weight in WEIGHTS.items())
    return round(5 / (1 + math.exp(-total)), 4)


def int_score(score: float) -> int:
    """`score` rounded half up."""
    return math.floor(score + 0.5)
