"""Extraction of one page: carriers in every kind of block, structure, boilerplate; offsets hold whatever the markup."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.extract import extract_page
from tests.ops.extracted import MATHJAX_DOLLAR, check_offsets, latex_of

CARRIERS = {
    "mathjax script": (r'<script type="math/tex">a_{17}</script>', False),
    "mathjax script, parameter": (r'<script type="math/tex; ">a_{17}</script>', False),
    "mathjax script, display": (r'<script type="math/tex; mode=display">a_{17}</script>', True),
    "mathjax script, display without space": (r'<script type="math/tex;mode=display">a_{17}</script>', True),
    "mathjax script, capitals": (r'<script type="Math/TeX; Mode=Display">a_{17}</script>', True),
    "mathjax script, kramdown": ("<script type='math/tex; mode=display'>% <![CDATA[\na_{17} %]]></script>", True),
    "mathjax 2 beside its script": (
        '<span class="MathJax_Preview">a17</span><span class="MathJax" id="MathJax-Element-1-Frame"><nobr>a17</nobr>'
        "<span class='MJX_Assistive_MathML'><math><msub><mi>a</mi><mn>17</mn></msub></math></span></span>"
        '<script type="math/tex" id="MathJax-Element-1">a_{17}</script>',
        False,
    ),
    "mathjax 2 display beside its script": (
        '<div class="MathJax_Display"><span class="MathJax"><nobr>a17</nobr></span></div>'
        '<script type="math/tex; mode=display">a_{17}</script>',
        True,
    ),
    "mathjax 2 data-mathml": (
        '<span class="MathJax" data-mathml="&lt;math&gt;&lt;msub&gt;&lt;mi&gt;a&lt;/mi&gt;&lt;mn&gt;17&lt;/mn&gt;'
        '&lt;/msub&gt;&lt;/math&gt;"><nobr>a17</nobr></span>',
        False,
    ),
    "mathjax 3 assistive": (
        '<mjx-container display="true"><mjx-math><mjx-mi></mjx-mi></mjx-math><mjx-assistive-mml><math display="block">'
        "<msub><mi>a</mi><mn>17</mn></msub></math></mjx-assistive-mml></mjx-container>",
        True,
    ),
    "mathjax 4 data-latex": (
        '<mjx-container class="MathJax"><mjx-math data-latex="a_{17}"><mjx-mi>x</mjx-mi></mjx-math></mjx-container>',
        False,
    ),
    "parentheses": (r"\(a_{17}\)", False),
    "brackets": (r"\[a_{17}\]", True),
    "dollars": (r"$$a_{17}$$", True),
    "dollar": (r"$\alpha_{17}$", False),
    "brackets over a line break": (r"\[a<br>_{17}\]", True),
    "katex with annotation": (
        '<span class="katex"><span class="katex-mathml"><math><semantics><mrow><mi>x</mi></mrow>'
        '<annotation encoding="application/x-tex">a_{17}</annotation></semantics></math></span>'
        '<span class="katex-html" aria-hidden="true"><span class="mord">a17</span></span></span>',
        False,
    ),
    "katex display": (
        '<span class="katex-display"><span class="katex"><span class="katex-mathml"><math><semantics><mi>x</mi>'
        '<annotation encoding="application/x-tex">a_{17}</annotation></semantics></math></span></span></span>',
        True,
    ),
    "katex boxes": (
        '<span class="katex"><span class="katex-html"><span class="base"><span class="mord">'
        '<span class="mord mathnormal">a</span><span class="msupsub"><span class="vlist-t vlist-t2">'
        '<span class="vlist-r"><span class="vlist" style="height:0.3em"><span style="top:-2.55em">'
        '<span class="pstrut" style="height:2.7em"></span><span class="sizing mtight"><span class="mord mtight">17'
        '</span></span></span></span><span class="vlist-s">\u200b</span></span></span></span></span></span></span>'
        "</span>",
        False,
    ),
    "mathml with annotation": (
        '<math><semantics><mi>b</mi><annotation encoding="application/x-tex">a_{17}</annotation></semantics></math>',
        False,
    ),
    "mathml with alttext": ('<math alttext="a_{17}" display="block"><mi>b</mi></math>', True),
    "mathml": ("<math><msub><mi>a</mi><mn>17</mn></msub></math>", False),
    "mathml, prefixed": (
        '<mml:math xmlns:mml="x"><mml:msub><mml:mi>a</mml:mi><mml:mn>17</mml:mn></mml:msub><mml:mspace/></mml:math>',
        False,
    ),
    "sphinx image": ('<img class="math" src="_images/math/1f.png" alt="a_{17}"/>', False),
    "sphinx display image": (
        '<div class="math"><p><img src="_images/math/1f.png" class="math" alt="a_{17}"></p></div>',
        True,
    ),
    "doxygen image": ('<img class="formulaInl" alt="$a_{17}$" src="form_0.png"/>', False),
    "codecogs": ('<img src="https://latex.codecogs.com/png.latex?%5Cinline%20a_%7B17%7D">', False),
    "wordpress": (
        '<img src="https://s0.wp.com/latex.php?latex=a_%7B17%7D&bg=ffffff" alt="a_{17}" class="latex">',
        False,
    ),
    "wordpress without alt": ('<img src="https://s0.wp.com/latex.php?bg=fff&latex=a_%7B17%7D&fg=0">', False),
    "aops": ('<img src="//latex.artofproblemsolving.com/1/2.png" class="latex" alt="$a_{17}$">', False),
    "latex2html": ('<img src="img1.png" alt="$a_{17}$">', False),
    "wikipedia": (
        '<span class="mwe-math-element"><span class="mwe-math-mathml-inline" style="display: none;">'
        '<math alttext="{\\displaystyle a_{17}}"><semantics><mi>a</mi><annotation encoding="application/x-tex">'
        "{\\displaystyle a_{17}}</annotation></semantics></math></span>"
        '<img class="mwe-math-fallback-image-inline" alt="{\\displaystyle a_{17}}" src="x.svg"></span>',
        False,
    ),
    "wikipedia, image alone": ('<img class="mwe-math-fallback-image-inline" alt="{\\displaystyle a_{17}}">', False),
    "zhihu": ('<span class="ztext-math" data-tex="a_{17}">a17</span>', False),
    "marked without delimiters": ('<span class="math">a_{17}</span>', False),
    "sphinx": (r'<span class="math notranslate nohighlight">\(a_{17}\)</span>', False),
    "sphinx display": ('<div class="math notranslate nohighlight">\n\\[a_{17}\\]</div>', True),
    "gitlab": ('<code class="language-math">a_{17}</code>', False),
}


@pytest.mark.parametrize("name", CARRIERS)
@pytest.mark.parametrize(
    "around",
    ["<p>Before {} after.</p>", "<h2>Head {}</h2>", "<ul><li>one {}</li><li>two</li></ul>",
     "<table><tr><th>k</th><th>v</th></tr><tr><td>cell {}</td><td>2</td></tr></table>",
     "<blockquote><p>q {}</p></blockquote>"],
)  # fmt: skip
def test_carrier(name: str, around: str) -> None:
    markup, display = CARRIERS[name]
    if "<pre" in markup or "<div" in markup or "<p>" in markup:
        around = around.replace("<p>", "<div>").replace("</p>", "</div>").replace("h2>", "div>")
    page = extract_page("<html><body><p>An article about mathematics.</p>" + around.format(markup) + "</body></html>")
    assert [latex.replace("\n", "").replace(" ", "") for latex in latex_of(page)] == [
        "\\alpha_{17}" if name == "dollar" else "a_{17}"
    ]
    assert page.formulas[0].display is display
    assert "a17" not in page.text
    assert "\\_" not in page.text
    check_offsets(page)


def test_structure() -> None:
    page = extract_page("""<html><head><title> A  title </title></head><body><main>
      <h1>One <a class="headerlink" href="#">¶</a></h1><p>First <b>bold</b>
      text.<br>Line.</p><h3>Three</h3>
      <ul><li>a</li><li><p>b</p><ol start="3"><li>c</li><li>d</li></ol></li></ul>
      <blockquote><p>q1</p><p>q2</p></blockquote>
      <div class="highlight-python notranslate"><div class="highlight"><pre><span></span><span class="k">def</span> f():
    return <span class="mi">1</span>
</pre></div></div>
      <table><thead><tr><th>h1</th><th>h|2</th></tr></thead><tbody><tr><td>1</td><td>\\(|x|\\)</td></tr></tbody></table>
      <dl><dt>term</dt><dd>meaning</dd></dl></main></body></html>""")
    assert page.title == "A title"
    assert page.text == (
        "# One\n\nFirst bold text.\nLine.\n\n### Three\n\n- a\n- b\n  3. c\n  4. d\n\n> q1\n>\n> q2\n\n"
        "```python\ndef f():\n    return 1\n```\n\n"
        "| h1 | h\\|2 |\n| --- | --- |\n| 1 | $\\vert x\\vert $ |\n\nterm\n\nmeaning"
    )
    check_offsets(page)


def test_code_fences_grow_with_the_code() -> None:
    page = extract_page("<pre class='language-md'>```\nx\n```</pre><p>`a`: <code>b`c</code></p>")
    assert page.text == "````md\n```\nx\n```\n````\n\n`a`: ``b`c``"


def test_boilerplate_goes_and_the_article_stays() -> None:
    article = "<p>" + "The theorem holds for every prime number. " * 20 + r"\(p > 2\)</p>"
    page = extract_page(f"""<body><header><a href=/>Site</a></header><nav><ul><li><a href=a>Algebra</a></li></ul></nav>
      <div class="breadcrumb"><a href=/>Home</a> &gt; <a href=/m>Maths</a></div>
      <div id="cookie-banner">We use cookies.</div>
      <article><h1>Primes</h1>{article}<aside class="note"><p>Note that \\(q = 2\\) is prime.</p></aside></article>
      <div class="related-posts"><h3>Related</h3><ul><li><a href=b>Other thing</a></li></ul></div>
      <footer>Copyright 2020</footer><script>var x = "nav";</script><style>p {{}}</style></body>""")
    for gone in ("Site", "Algebra", "Home", "cookies", "Other thing", "Copyright", "var x"):
        assert gone not in page.text
    assert page.text.startswith("# Primes")
    assert latex_of(page) == ["p > 2", "q = 2"]


def test_no_formula_is_lost_to_a_main_element_that_is_not_the_article() -> None:
    page = extract_page(
        "<body><main><p>"
        + "teaser " * 30
        + "</p></main><div><p>"
        + "words " * 30
        + r"\(a\) \(b\) \(c\)</p></div></body>"
    )
    assert latex_of(page) == ["a", "b", "c"]


_PIECES = st.sampled_from(
    [
        "<p>", "</p>", "<div>", "</div>", "<ul>", "<li>", "</ul>", "<ol>", "<table><tr><td>", "</td><td>",
        "</tr><tr><td>",
        "</table>", "<blockquote>", "</blockquote>", "<pre>", "</pre>", "<code>", "</code>", "<h2>", "</h2>", "<br>",
        "<sup>", "</sup>", "<a href=x>", "</a>", "<span class=math>", "</span>", "<b>", "</b>", "<nav>", "</nav>",
        "$", "$$", "\\(", "\\)", "\\[", "\\]", "\\$", "x^2", "{", "}", "\\alpha", "5", " ", "\n", "words and", "|", "`",
        "\\", "%", "<math><mi>x</mi><mo>|</mo></math>", "<script type=math/tex>a\nb</script>",
        "<script type='math/tex; mode=display'>c\n\nd</script>", "<img class=math alt='e_f'>", "\\begin{align}",
        "\\end{align}", "é", "&lt;", "&#36;", "\x1e", "```", "\r\n", "<dl><dt>", "<dd>", "</dl>",
    ]
)  # fmt: skip


@settings(max_examples=300)
@given(st.lists(_PIECES, max_size=40), st.booleans())
def test_any_markup_keeps_offsets_and_dollars(pieces: list[str], configured: bool) -> None:
    page = extract_page("<html><body>" + (MATHJAX_DOLLAR if configured else "") + "".join(pieces) + "</body></html>")
    check_offsets(page)
    assert extract_page("<html><body>" + (MATHJAX_DOLLAR if configured else "") + "".join(pieces)) == page
    if not any("`" in piece or "<pre" in piece or "<code" in piece for piece in pieces):
        # Outside code and formulas no dollar stands without a backslash.
        rest = list(page.text)
        for formula in page.formulas:
            rest[formula.start : formula.end] = " " * (formula.end - formula.start)
        bare = "".join(rest).replace("\\$", "")
        assert "$" not in bare


def test_mutated_page_never_breaks() -> None:
    generator = random.Random(0)
    source = "".join(markup for markup, _ in CARRIERS.values()) + "<ul><li>a<pre>b</pre></ul><table><tr><td>x</table>"
    for _ in range(60):
        text = list(source)
        for _ in range(30):
            place = generator.randrange(len(text))
            text[place] = generator.choice(["", "<", ">", '"', "$", "\\", "</", "x", "\x00", "&"])
        check_offsets(extract_page("<p>" + "".join(text)))
