"""Config of `ops.decontaminate`."""

from dataclasses import dataclass

from ops.errors import InputError


@dataclass(frozen=True, kw_only=True)
class DecontaminateConfig:
    """What counts as holding an item. Lengths in normalised tokens.

    Raises:
        InputError: naming the field.
    """

    ngram: int = 13
    """As GPT-3 (appendix C) and most since."""

    min_words: int = 5
    """An n-gram counts only with this many different words of three letters or more: `x = 1, y = 2, z = 3, ...` is in
    every textbook, `for i in range(n): for j in range(n):` in every program. Shorter ones need the same share of
    their length."""

    min_item_tokens: int = 8
    min_line_tokens: int = 4
    min_bare_tokens: int = 6
    """Shorter questions without a number count only with their gold answer behind them: "What is a set?" is a heading
    of many pages."""

    latex_ngram: int = 24
    min_latex_kinds: int = 9
    min_latex_numbers: int = 3
    """A LaTeX n-gram counts only with this many different tokens, and different numbers among them: the general
    polynomial `a_n x^n + a_{n-1} x^{n-1} + ...` is in every textbook."""

    answer_ngram: int = 20
    """Tokens in a row of a gold answer. Worked solutions share longer stock phrases than questions do."""

    def __post_init__(self) -> None:
        lengths = [self.min_line_tokens, self.min_bare_tokens, self.min_item_tokens, self.ngram]
        if lengths != sorted(lengths) or lengths[0] < 1 or lengths[-1] > 64:
            raise InputError(
                f"min_line_tokens, min_bare_tokens, min_item_tokens, ngram: {lengths} do not ascend within 1..64"
            )
        if not 0 <= self.min_words <= self.ngram:
            raise InputError(f"min_words: {self.min_words} is not within 0..ngram")
        if not self.ngram <= self.answer_ngram <= 256:
            raise InputError(f"answer_ngram: {self.answer_ngram} is not within ngram..256")
        if not 1 <= self.latex_ngram <= 256:
            raise InputError(f"latex_ngram: {self.latex_ngram} is not within 1..256")
        if not 0 <= self.min_latex_kinds <= self.latex_ngram:
            raise InputError(f"min_latex_kinds: {self.min_latex_kinds} is not within 0..latex_ngram")
