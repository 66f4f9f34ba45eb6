"""Formulas rebuilt from the boxes of MathJax's output."""

import pytest

from ops.extract import extract_page
from tests.ops.mathbench import loose


def c(code: int, font: str = "") -> str:
    return f'<mjx-c class="mjx-c{code:X}{" " + font if font else ""}"></mjx-c>'


def mi(letter: str) -> str:
    code = 0x1D44E + ord(letter) - ord("a") if letter.islower() and letter != "h" else 0x1D434 + ord(letter) - ord("A")
    return f'<mjx-mi class="mjx-i">{c(code, "TEX-I")}</mjx-mi>'


def mn(digits: str) -> str:
    return f'<mjx-mn class="mjx-n">{"".join(c(ord(digit)) for digit in digits)}</mjx-mn>'


def mo(character: str, attributes: str = 'class="mjx-n"') -> str:
    return f"<mjx-mo {attributes}>{''.join(c(ord(part)) for part in character)}</mjx-mo>"


def fraction(above: str, below: str, attributes: str = 'type="d"') -> str:
    return (
        f"<mjx-mfrac><mjx-frac {attributes}><mjx-num><mjx-nstrut></mjx-nstrut>{above}</mjx-num><mjx-dbox><mjx-dtable>"
        f"<mjx-line></mjx-line><mjx-row><mjx-den><mjx-dstrut></mjx-dstrut>{below}</mjx-den></mjx-row></mjx-dtable>"
        "</mjx-dbox></mjx-frac></mjx-mfrac>"
    )


def table(*rows: tuple[str, ...], labels: str = "", sides: tuple[str, ...] = ()) -> str:
    written = ""
    for row in rows:
        cells = ""
        for index, cell in enumerate(row):
            style = f' style="text-align: {sides[index]};"' if sides else ""
            cells += f"<mjx-mtd{style}>{cell}<mjx-tstrut></mjx-tstrut></mjx-mtd>"
        written += f"<mjx-mtr>{cells}</mjx-mtr>"
    return f"<mjx-mtable><mjx-table><mjx-itable>{written}</mjx-itable></mjx-table>{labels}</mjx-mtable>"


def label(text: str) -> str:
    tokens = "".join(f'<mjx-mtext class="mjx-n">{c(ord(character))}</mjx-mtext>' for character in text)
    return f'<mjx-mtr><mjx-mtd id="mjx-eqn:1">{tokens}<mjx-tstrut></mjx-tstrut></mjx-mtd></mjx-mtr>'


SUM = (
    f"<mjx-munderover><mjx-over>{mi('n')}</mjx-over><mjx-box><mjx-munder><mjx-row><mjx-base>"
    f"{mo('∑', 'class=mjx-lop')}</mjx-base></mjx-row><mjx-row><mjx-under><mjx-texatom>{mi('i')}{mo('=')}{mn('1')}"
    "</mjx-texatom></mjx-under></mjx-row></mjx-munder></mjx-box></mjx-munderover>"
)
BOXES = {
    "both scripts": (
        f"<mjx-msubsup>{mi('x')}<mjx-script>{mn('2')}<mjx-spacer></mjx-spacer>{mi('k')}</mjx-script></mjx-msubsup>",
        "x_k^2",
    ),
    "prime": (f"<mjx-msup>{mi('f')}<mjx-script>{mo('′')}</mjx-script></mjx-msup>", "f'"),
    "sum": (SUM + mi("a"), r"\sum_{i=1}^n a"),
    "sum with scripts beside": (
        f'<mjx-munderover limits="false">{mo("∑")}<mjx-script>{mi("n")}<mjx-spacer></mjx-spacer>{mi("i")}</mjx-script>'
        "</mjx-munderover>",
        r"\sum_i^n",
    ),
    "fraction in fraction": (fraction(fraction(mi("a"), mi("b")), mn("2")), r"\frac{\frac{a}{b}}{2}"),
    "binomial": (
        f"<mjx-texatom><mjx-texatom>{mo('(')}</mjx-texatom>{fraction(mi('n'), mi('k'), 'atop=true')}<mjx-texatom>"
        f"{mo(')')}</mjx-texatom></mjx-texatom>",
        r"\binom{n}{k}",
    ),
    "roots": (
        f"<mjx-mroot><mjx-root>{mn('3')}</mjx-root><mjx-sqrt><mjx-surd>{mo('√')}</mjx-surd><mjx-box>{mi('a')}{mo('+')}"
        f"{mi('b')}</mjx-box></mjx-sqrt></mjx-mroot><mjx-msqrt><mjx-sqrt><mjx-surd>{mo('√')}</mjx-surd><mjx-box>{mi('x')}"
        "</mjx-box></mjx-sqrt></mjx-msqrt>",
        r"\sqrt[3]{a+b}\sqrt{x}",
    ),
    "accents": (
        f"<mjx-mover><mjx-over>{mo('^')}</mjx-over><mjx-base>{mi('x')}</mjx-base></mjx-mover><mjx-mover><mjx-over>"
        f'<mjx-mo class="mjx-n"><mjx-stretchy-h class="mjx-c2013"><mjx-ext>{c(0x2013)}</mjx-ext></mjx-stretchy-h>'
        "</mjx-mo>"
        f"</mjx-over><mjx-base><mjx-texatom>{mi('a')}{mi('b')}</mjx-texatom></mjx-base></mjx-mover>",
        r"\hat{x}\overline{ab}",
    ),
    "matrix": (
        f'<mjx-mrow><mjx-mo class="mjx-s3"><mjx-stretchy-v class="mjx-c28"><mjx-beg>{c(0x239B)}</mjx-beg><mjx-ext>'
        f"{c(0x239C)}</mjx-ext><mjx-end>{c(0x239D)}</mjx-end></mjx-stretchy-v></mjx-mo>"
        + table((mn("1"), mn("2")), (mn("3"), mn("4")))
        + f"{mo(')')}</mjx-mrow>",
        r"\begin{pmatrix}1&2\\3&4\end{pmatrix}",
    ),
    "aligned": (
        table((mi("a"), mo("=") + mi("b")), (mi("c"), mo("=") + mi("d")), sides=("right", "left")),
        r"\begin{aligned}a&=b\\c&=d\end{aligned}",
    ),
    "number of an equation": (
        table(
            (mi("a") + mo("=") + mi("b"),), labels=f"<mjx-labels><mjx-itable>{label('(3)')}</mjx-itable></mjx-labels>"
        ),
        r"a=b\tag{3}",
    ),
    "fonts": (
        f'<mjx-mi class="mjx-b">{c(0x1D42F, "TEX-B")}</mjx-mi><mjx-mi class="mjx-cal mjx-i">{c(0x4C, "TEX-C")}</mjx-mi>'
        f'<mjx-mi class="mjx-ds mjx-b">{c(0x211D, "TEX-A")}</mjx-mi><mjx-mi class="mjx-n">{c(0x64)}</mjx-mi>'
        f'<mjx-mi class="mjx-n">{c(0x73)}{c(0x69)}{c(0x6E)}</mjx-mi><mjx-mi class="mjx-i">{c(0x1D719)}</mjx-mi>',
        r"\mathbf{v}\mathcal{L}\mathbb{R}\mathrm{d}\sin\phi",
    ),
    "text and space": (
        f'<mjx-mtext class="mjx-n">{c(0x69)}{c(0x66)}{c(0xA0)}</mjx-mtext><mjx-mspace style="width: 1em;"></mjx-mspace>'
        + mi("x"),
        r"\text{if }\quad x",
    ),
    "scripts before": (
        f"<mjx-mmultiscripts><mjx-prescripts><mjx-row><mjx-cell>{mi('b')}</mjx-cell></mjx-row><mjx-row></mjx-row><mjx-row>"
        f"<mjx-cell>{mi('a')}</mjx-cell></mjx-row></mjx-prescripts>{mi('x')}</mjx-mmultiscripts>",
        "{}_a^bx",
    ),
    "box": (
        f'<mjx-menclose><mjx-box style="padding: 0.2em; border: 0.067em solid;">{mi("x")}</mjx-box></mjx-menclose>',
        r"\boxed{x}",
    ),
}


@pytest.mark.parametrize("name", BOXES)
def test_boxes(name: str) -> None:
    boxes, expected = BOXES[name]
    page = extract_page(
        "<p>Some words before it. <mjx-container class='MathJax' jax='CHTML' display='true'><mjx-math display='true'>"
        f"{boxes}</mjx-math></mjx-container></p>"
    )
    assert [(loose(formula.latex), formula.display) for formula in page.formulas] == [(loose(expected), True)]


def test_scripts_of_svg_are_told_by_their_height() -> None:
    svg = (
        '<g data-mml-node="msubsup"><g data-mml-node="mi"><path data-c="1D465"></path></g><g data-mml-node="mn" '
        'transform="translate(605,413) scale(0.707)"><path data-c="32"></path></g><g data-mml-node="mi" '
        'transform="translate(605,-247) scale(0.707)"><path data-c="1D458"></path></g></g>'
        '<g data-mml-node="msqrt"><g transform="translate(853,0)"><g data-mml-node="mi"><path data-c="1D44F"></path>'
        '</g></g><g data-mml-node="mo" transform="translate(0,109)"><path data-c="221A"></path></g><rect></rect></g>'
    )
    page = extract_page(
        f'<p>Words <mjx-container><svg><g><g data-mml-node="math">{svg}</g></g></svg></mjx-container></p>'
    )
    assert [loose(formula.latex) for formula in page.formulas] == [loose(r"x_k^2\sqrt{b}")]


@pytest.mark.parametrize("name", ["mjx-mrow", "mjx-texatom", "mjx-box", "mjx-mfrac", "mjx-msup", "mjx-mtable"])
def test_deep_boxes_end(name: str) -> None:
    page = extract_page(
        f"<p>Words</p><mjx-container><mjx-math>{f'<{name}>' * 5_000}{mi('x')}</mjx-math></mjx-container>"
    )
    assert "Words" in page.text


def test_a_formula_of_too_many_boxes_is_counted() -> None:
    page = extract_page(f"<p>Words</p><mjx-container><mjx-math>{mi('x') * 11_000}</mjx-math></mjx-container>")
    assert (page.formulas, page.counters["formulas_too_large"]) == ([], 1)
