"""Pages that rules, scripted models and made-up cleaners clean, and what every outcome is held to."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from ops.clean.cleaner import Outcome, clean_documents
from ops.clean.config import LlmCleaner
from ops.clean.rules import Rules
from tests.fakes.documents import check_formulas, document
from tests.fakes.engines import LENIENT, Scripted, model

CONFIG = LlmCleaner(engine="endpoint", model="scripted", revision="1", chunk_tokens=2000)
RULES = Rules(LENIENT)
MARK = re.compile(r"⟦x*[A-Z]\d+⟧")
SHOP = "Popular in the shop this week: mugs, shirts and posters for every taste."
PAGE = document(
    "# Gauss sums\n\nThe Gauss sum of a charcter ", ("\\chi", False), " is written ", ("g(\\chi)", False),
    ", where the sum runs over all residues.\n\n", ("g(\\chi) = \\sum_a \\chi(a) \\zeta^a", True),
    "\n\nFor a proof see [the notes](https://example.org/notes). The function below computes it for small moduli.\n\n"
    "```python\ndef gauss(p):\n    return sum(zeta ** a for a in range(p))  # costs $p$ steps\n```\n\n"
    f"{SHOP}\n\nWhat is the absolute value of the sum if ", ("p", False), " is an odd prime number?\n\n"
    "The reader may take n = 3 and compare both sides by hand.",
)  # fmt: skip
PROSE = "The derivative of a sum is the sum of the derivatives, whatever the functions may be."
SAMPLE = document(
    f"# Sums\n\n{PROSE} See ", ("x_1 + y", False), " and `code $a$` at https://example.org/a_b.\n\n", ("\\int f", True),
    "\n\nPrevious | Next\n\nThen ", ("a", False), " equals ", ("b", False), ", costing \\$5.\n\n"
    "```python\nx = 1\n\n\ny = 2\n```\n\nThis site uses cookies to improve your experience.",
)  # fmt: skip

_WORDS = st.sampled_from(
    ["word", "Next", "Previous", " ", "  ", "\n", "\n\n", "- ", "> ", "# ", "| ", "`", "``", "```", "```\n", "\n```\n",
     "e\u0301", "\u0301", "\u00a0", "\u200b", "⟦", "⟧", "⟦F0⟧", "\\$", "http://a.b/c", "[t](u)", "Share on Facebook",
     "Rate this fine answer", "1. ", "\t", "\x85", "\u2028", "A", "ﬁ", "(", ")", "<", ".", "a > b"]
)  # fmt: skip
_FORMULAS = st.tuples(
    st.sampled_from(
        ["x", "a_1", "\\frac{1}{2}", "a\nb", "|x|", "e\u0301  y", "\\text{`c`}", "⟦F0⟧", "f(x), http://a.b"]
    ),
    st.booleans(),
)
DOCUMENTS = st.lists(st.one_of(_WORDS, _WORDS, _FORMULAS), max_size=30).map(lambda pieces: document(*pieces))


def clean(
    engine: Scripted, folder: Path, row: dict[str, Any] = PAGE, config: LlmCleaner = CONFIG
) -> tuple[Outcome, Counter[str]]:
    counts: Counter[str] = Counter()
    outcome = clean_documents(model(engine, folder, config), RULES, [row], counts)[0]
    check_formulas(row, outcome)
    assert outcome.num_chunks == outcome.accepted_chunks + len(outcome.rejected_chunks)
    return outcome, counts


def by_rules(row: dict[str, Any] = PAGE) -> str:
    return clean_documents(RULES, RULES, [row])[0].document.text
