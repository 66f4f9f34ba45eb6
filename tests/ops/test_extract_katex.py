"""KaTeX HTML without its LaTeX: KaTeX renders, and the formula must come back."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from ops.extract import extract_page
from tests.ops.mathbench import BENCH, load, loose

ROUND_TRIPS = [
    r"x_i^2 + y'' = \alpha\beta",
    r"{}_2F_1(a, b; c; z)",
    r"\frac{1}{2} + \dfrac{a+b}{c} - \tfrac{x}{\frac{y}{z}}",
    r"\binom{n}{k} = \left( \frac{n}{k} \right)",
    r"\sqrt{x} + \sqrt[3]{x+y}",
    r"\sum_{i=1}^n i = \prod_{j} j + \int_0^\infty e^{-x} \, dx",
    r"\lim_{n \to \infty} a_n = \limsup_{n} b_n + \sup S",
    r"\operatorname{rank}(A) + \operatorname*{argmax}_x f(x) + \det A",
    r"\hat{x} + \bar{y} + \vec{v} + \dot{a} + \ddot{b} + \tilde{z} + \check{s}",
    r"\widehat{xyz} + \widetilde{xyz} + \overline{AB} + \underline{x} + \overrightarrow{AB} + \overleftarrow{AB}",
    r"\underbrace{a+b}_{n} + \overbrace{c+d}^{m}",
    r"\mathbb{R} \mathbf{x} \mathcal{L} \mathfrak{g} \mathsf{max} \mathtt{code} \mathrm{d}x \boldsymbol{\beta}",
    r"a \leq b \neq c \not\equiv d \notin S \subseteq T",
    r"f \colon A \to B, \quad x \mapsto x^2",
    r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix} \begin{bmatrix} a \\ b \end{bmatrix} \begin{vmatrix} a & b \\ c & d "
    r"\end{vmatrix}",
    r"f(x) = \begin{cases} 1 & \text{if } x > 0 \\ 0 & \text{otherwise} \end{cases}",
    r"\begin{aligned} a &= b + c \\ &= d \end{aligned}",
    r"\begin{array}{|c|l} \hline a & b \\ \hline c & d \end{array}",
    r"\left| \frac{\frac{a}{b}}{\frac{c}{d}} \right| + \left\lfloor \frac{x}{2} \right\rfloor",
    r"\left\| \frac{x}{y} \right\|",
    r"\left[ \begin{matrix} a \\ b \\ c \\ d \\ e \end{matrix} \right) + \left\{ \frac{x}{y} \right.",
    r"x \equiv y \pmod{n}, \quad a \bmod b",
    r"A \xrightarrow[g]{f} B \xleftarrow{h} C",
    r"\overset{!}{=} \underset{x}{\to} \stackrel{d}{=}",
    r"\boxed{E = mc^2} + \cancel{x} + \phantom{y}",
    r"\text{for all $x$ in } S",
    r"\sum_{\substack{i<n \\ j<m}} a_{ij}",
    r"\int_a^b\!f \quad \oint_C \iint_D \bigcup_{i} A_i",
    r"\{x \mid x > 0\} \cup \langle a, b \rangle",
]


def _find(module: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        return None
    return Path(spec.origin) if spec is not None and spec.origin is not None else None


_ENGINE, _KATEX = _find("quickjs"), _find("sphinxcontrib.katex")
needs_katex = pytest.mark.skipif(
    _ENGINE is None or _KATEX is None, reason="no JavaScript engine (quickjs) or no KaTeX (sphinxcontrib-katex)"
)


@pytest.fixture(scope="module")
def render() -> Callable[[str], str]:
    """LaTeX to KaTeX's HTML, without MathML and annotation; an empty string for what KaTeX refuses."""
    import quickjs

    assert _KATEX is not None
    context = quickjs.Context()
    context.eval("var self = this;")
    context.eval((_KATEX.parent / "katex.min.js").read_text("utf-8"))
    return context.eval(
        "(function (latex) { try { return katex.renderToString(latex, {output: 'html', displayMode: true, "
        "strict: 'ignore'}); } catch (error) { return ''; } })"
    )


@needs_katex
@pytest.mark.parametrize("latex", ROUND_TRIPS)
def test_round_trip(latex: str, render: Callable[[str], str]) -> None:
    html = render(latex)
    assert html
    formulas = extract_page(f"<p>Before {html} after.</p>").formulas
    assert [loose(formula.latex) for formula in formulas] == [loose(latex.replace("$", ""))]
    assert (formulas[0].carrier, formulas[0].display) == ("katex-html", True)


@needs_katex
@pytest.mark.parametrize("latex", ROUND_TRIPS)
def test_what_comes_back_is_what_katex_reads(latex: str, render: Callable[[str], str]) -> None:
    once = extract_page(f"<p>{render(latex)}</p>").formulas[0].latex
    html = render(once)
    assert html, once
    assert extract_page(f"<p>{html}</p>").formulas[0].latex == once


@needs_katex
def test_class_names_with_a_prefix(render: Callable[[str], str]) -> None:
    html = render(r"\overline{X}_n + \sqrt[3]{x}")
    for name in ("base", "strut", "overline", "root", "sizing"):
        html = html.replace(f'class="{name}', f'class="katex-{name}').replace(f"mord {name}", f"mord katex-{name}")
    assert loose(extract_page(f"<p>{html}</p>").formulas[0].latex) == loose(r"\overline{X}_n + \sqrt[3]{x}")


@needs_katex
@pytest.mark.skipif(not BENCH.is_dir(), reason=f"no formula benchmark at {BENCH.name} beside the checkout")
def test_formulas_of_real_pages(render: Callable[[str], str]) -> None:
    formulas = sorted({item["latex"] for row in load("dev.jsonl.gz") for item in row["formulas"]})
    rendered = [(latex, render(latex)) for latex in formulas[:: max(1, len(formulas) // 400)]]
    shown = [(latex, html) for latex, html in rendered if html]
    right = sum(
        [loose(found.latex) for found in extract_page(f"<p>{html}</p>").formulas] == [loose(latex)]
        for latex, html in shown
    )
    assert len(shown) > 300
    assert right / len(shown) >= 0.92


def test_deep_boxes_end() -> None:
    for opening in (
        "<span class=mord>",
        '<span class=mfrac><span class=vlist><span style="top:-2em">',
        "<span class='mord text'>",
    ):
        page = extract_page(f"<span class=katex><span class=katex-html>{opening * 3000}x")
        assert len(page.formulas) <= 1
