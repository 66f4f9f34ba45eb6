"""Pages nobody wrote: soups of tokens, and sample pages cut, doubled and spliced.

Everything comes from the seed, so that a page that fails is made again by its number.
"""

import gzip
import json
import random
import re

from tests.ops.mathbench import BENCH

_TAGS = re.findall(
    r"\S+",
    "p div span a b i em table tr td th ul ol li pre code h1 h2 script style title head body html math mrow mi "
    "mo mn mtext msup msub msubsup mfrac msqrt mroot munder mover munderover mtable mtr mtd mlabeledtr mfenced "
    "mmultiscripts mprescripts none semantics annotation annotation-xml menclose mspace mphantom mstyle apply "
    "ci cn bvar plus times int sum lambda piecewise piece set svg g path foreignObject template select option "
    "img br hr sup sub blockquote dl dt dd section article nav aside footer header main figure figcaption "
    "textarea noscript mjx-container mjx-math mjx-mi mjx-c math-renderer tt var font center form button table "
    "tbody caption",
)
_ATTRIBUTES = (
    'class="katex"', 'class="katex-html"', 'class="mord"', 'class="msupsub"', 'class="vlist"', 'class="mfrac"',
    'class="vlist-t vlist-t2"', 'class="mord accent"', 'class="op-limits"', 'class="mtable"', 'class="col-align-c"',
    'class="sqrt"', 'class="delimsizing mult"', 'class="mord text"', 'class="x-arrow"', 'class="minner"',
    'style="top:-3em;"', 'style="height:2.7em;"', 'class="MathJax"', 'class="MathJax_Display"',
    'class="MathJax_Preview"',
    'type="math/tex"', "type='math/tex; mode=display'", 'type="math/mml"', 'type="math/asciimath"',
    'class="mwe-math-element"', 'class="tex" alt="\\frac{a}{b}"', 'src="https://latex.codecogs.com/gif.latex?x%5E2"',
    'class="math inline"', 'class="nav"', 'id="content"', 'class="tex2jax_ignore"', 'data-expr="x^2"',
    'alttext="x^2"',
    'display="block"', 'encoding="application/x-tex"', 'linethickness="0"', 'notation="box"', 'mathvariant="bold"',
    'open="["', 'separators=""', 'columnalign="right left"', 'frame="solid"', 'rowlines="solid none"', 'colspan="3"',
    'rowspan="2"', 'href="#"', 'start="9"', "x='\"'", 'a="<math>"', "b=\x00", 'role="navigation"', 'lang="de"',
    'width="-1.5.2em"', 'selection="7"', 'data-mathml="<math><mi>x</mi></math>"', 'jax="CHTML"', "style=display:none",
    'class="mjx-c1D465 TEX-I"', 'class="asciimath"', 'class="ltx_Math"', 'class="external-math"', 'class="highlight"',
)  # fmt: skip
_TEXTS = (
    "x", " ", "\n", "word word", "\\(x^2\\)", "\\[", "\\]", "$", "$$", "$x$", "$5 and $6", "\\begin{align}",
    "\\end{align}",
    "{", "}", "\\", "\\\\", "&", "&amp;", "&lt;", "&#x1D400;", "&int;", "&#0;", "&#xD800;", "&", "<", ">", "'",
    '"', "%",
    "\x00", "\x0c", "\u200b", "\u2061", "\u0338", "\ufffd", "\U0001d538", "é", "日本", "\u202e", "\ud835",
    "`x^2`", "]]>",
    "<![CDATA[", "<!--", "-->", "<?xml?>", "<!DOCTYPE html>", "</", "<script>var a='</script>'", "MathJax", "katex",
    "MathJax={tex:{inlineMath:[['$','$']]}}", "\\newcommand{\\R}{\\mathbb{R}}", "\\R", "\\def\\a{\\a}", "^",
    "_", "x_1",
    "10<sup>29</sup>", "∑", "(", ")", "[", "]", "|", "mod", "∣", "lim", "0", "1.5", "\x1b[0m", "```",
    "| a | b |", "#",
)  # fmt: skip
_TOKEN = re.compile(r"<[^<>]*>|[^<]{1,80}|<")


def sample_pages() -> list[str]:
    """Pages to mutate: those of the benchmark where it lies beside the checkout, else soups."""
    texts: list[str] = []
    if BENCH.is_dir():
        for name in ("dev.jsonl.gz", "negatives_dev.jsonl.gz"):
            with gzip.open(BENCH / name, "rt", encoding="utf-8") as stream:
                texts += [json.loads(line)["html"] for line in stream]
    return texts or [soup(random.Random(number), 400) for number in range(20)]


def soup(source: random.Random, length: int) -> str:
    """Random tokens of markup, mathematics and text, mostly closed as they were opened."""
    pieces: list[str] = []
    stack: list[str] = []
    for _ in range(length):
        kind = source.random()
        if kind < 0.40:
            tag = source.choice(_TAGS)
            attributes = "".join(f" {source.choice(_ATTRIBUTES)}" for _ in range(source.choice((0, 0, 1, 1, 2))))
            closed = source.random() < 0.05
            pieces.append(f"<{tag}{attributes}{'/' if closed else ''}>")
            if not closed:
                stack.append(tag)
        elif kind < 0.65 and stack:
            tag = stack.pop() if source.random() < 0.9 else source.choice(stack)
            pieces.append(f"</{tag}>")
        elif kind < 0.67:
            pieces.append(f"</{source.choice(_TAGS)}>")
        else:
            pieces.append(source.choice(_TEXTS))
    return "".join(pieces)


def mutate(source: random.Random, pages: list[str]) -> str:
    """A page with pieces of it taken out, doubled, moved, or replaced by those of another one or by a soup."""
    page = source.choice(pages)
    start = source.randrange(max(1, len(page) - 60_000))
    tokens = _TOKEN.findall(page[start : start + 60_000])
    other = _TOKEN.findall(source.choice(pages)[:60_000])
    for _ in range(source.choice((1, 2, 5, 20, 60))):
        if not tokens:
            break
        at = source.randrange(len(tokens))
        span = source.choice((1, 1, 2, 5, 30))
        kind = source.randrange(7)
        if kind == 0:
            del tokens[at : at + span]
        elif kind == 1:
            tokens[at:at] = tokens[at : at + span] * source.choice((1, 2, 20))
        elif kind == 2:
            tokens[at : at + span] = [soup(source, 3)]
        elif kind == 3 and other:
            begin = source.randrange(len(other))
            tokens[at:at] = other[begin : begin + span]
        elif kind == 4:
            token = tokens[at]
            cut = source.randrange(len(token) + 1)
            tokens[at] = token[:cut] + source.choice(_TEXTS) + token[cut:]
        elif kind == 5:
            tokens[at] = tokens[at].upper()
        else:
            tokens[at : at + span] = reversed(tokens[at : at + span])
    return "".join(tokens)


def encode(source: random.Random, page: str) -> bytes:
    """The page in some encoding, now and then with broken bytes or the wrong declaration."""
    encoding = source.choice(("utf-8", "utf-8", "utf-8", "latin-1", "utf-16", "shift_jis", "gb18030", "iso2022_jp"))
    declared = source.choice((encoding, encoding, "utf-8", "x-user-defined", "utf-7", "rot13", ""))
    head = f'<meta charset="{declared}">' if declared else ""
    data = bytearray((head + page).encode(encoding, "replace"))
    if source.random() < 0.4:
        for _ in range(source.choice((1, 10, 100))):
            if data:
                data[source.randrange(len(data))] = source.randrange(256)
    return bytes(data)
