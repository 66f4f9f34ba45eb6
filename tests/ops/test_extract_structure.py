"""Code as highlighters and code hosts write it, tables, lists, notes."""

import pytest

from ops.extract import extract_page

CODE = {
    "Pygments with line numbers": (
        '<table class="highlighttable"><tr><td class="linenos"><div class="linenodiv"><pre>1\n2</pre></div></td><td '
        'class="code"><div class="highlight"><pre><span></span>'
        '<span class="k">if</span> a:\n    b\n</pre></div></td></tr>'
        "</table>",
        "",
    ),
    "Rouge with line numbers": (
        '<div class="language-py highlighter-rouge"><div class="highlight"><pre class="highlight"><code><table class='
        '"rouge-table"><tbody><tr><td class="gutter gl"><pre '
        'class="lineno">1\n2\n</pre></td><td class="code"><pre>if a:\n'
        "    b\n</pre></td></tr></tbody></table></code></pre></div></div>",
        "py",
    ),
    "line breaks": ('<pre><code class="language-py">if a:<br>&nbsp;&nbsp;&nbsp;&nbsp;b</code></pre>', "py"),
    "line breaks and no pre": ("<p><code>if a:<br>&nbsp;&nbsp;&nbsp;&nbsp;b</code></p>", ""),
    "elements as lines": ('<pre class="code"><div class="line">if a:</div><div class="line">    b</div></pre>', ""),
    "list items as lines": ('<pre><code class="hljs py"><ol><li>if a:</li><li>    b</li></ol></code></pre>', "py"),
    "Prism": (
        '<pre class="language-py line-numbers"><code class="language-py"><span class="token">if</span> a:\n    b<span '
        'class="line-numbers-rows"><span></span></span></code></pre>',
        "py",
    ),
    "Shiki": (
        '<pre class="shiki"><code><span class="line">if a:</span>\n<span class="line">    b</span></code></pre>',
        "",
    ),
    "GitHub's files": (
        '<table class="highlight js-file-line-container"><tr><td class="blob-num" data-line-number="1"></td><td class='
        '"blob-code">if a:</td></tr><tr><td class="blob-num" data-line-number="2"></td><td class="blob-code">    b</td>'
        "</tr></table>",
        "",
    ),
    "GitHub's fences": ('<div class="highlight highlight-source-python"><pre>if a:\n    b\n</pre></div>', "python"),
    "CodeMirror": (
        '<div class="CodeMirror"><div class="CodeMirror-code">'
        '<div><pre class=" CodeMirror-line ">if a:</pre></div><pre '
        'class=" CodeMirror-line ">    b</pre></div></div>',
        "",
    ),
    "SyntaxHighlighter": (
        '<div class="syntaxhighlighter py"><table><tr><td '
        'class="gutter"><div class="line">1</div></td><td class="code">'
        '<div class="line"><code>if a:</code></div><div class="line">'
        "<code>&nbsp;&nbsp;&nbsp;&nbsp;</code><code>b</code>"
        "</div></td></tr></table></div>",
        "py",
    ),
    "brush": ('<pre class="brush: py; gutter: true">if a:\n    b</pre>', "py"),
}


@pytest.mark.parametrize("name", CODE)
def test_code_keeps_its_lines_and_indentation(name: str) -> None:
    html, language = CODE[name]
    page = extract_page(f"<body>{html}</body>")
    assert page.text == f"```{language}\nif a:\n    b\n```"
    assert page.counters["code_blocks"] == 1


def table(html: str) -> str:
    return extract_page(f"<body><table>{html}</table></body>").text


def test_cells_that_span_stay_in_their_columns() -> None:
    rows = "<tr><th>a<th colspan=2>b<tr><td rowspan=2>1<td>2<td>3<tr><td>4<td><tr><td>5<td>6<td>7"
    assert table(rows) == "| a | b |  |\n| --- | --- | --- |\n| 1 | 2 | 3 |\n|  | 4 |  |\n| 5 | 6 | 7 |"
    wide = table("<tr><th colspan=999999>a<th>b<tr><td colspan=x>1<td rowspan=-3>2")
    assert wide.startswith("| a |")
    assert wide.endswith(" |")


def test_caption_and_cells_of_several_lines() -> None:
    rows = "<caption>Table 1: things</caption><tr><th>a<th>b<tr><td>1<br>2<td><ul><li>q<li>r</ul>"
    assert table(rows) == "Table 1: things\n\n| a | b |\n| --- | --- |\n| 1 2 | q r |"


def test_a_table_in_a_table_is_read_on_its_own() -> None:
    inner = "<table><tr><td>1<td>2<tr><td>3<td>4</table>"
    assert table(f"<tr><td>{inner}<td>side<tr><td>x<td>y") == "| 1 | 2 |\n| --- | --- |\n| 3 | 4 |\n\nside\n\nx\n\ny"


def test_numbers_of_lists() -> None:
    html = "<ol start=3><li>a<ul><li>b</ul><li value=7>c<li>d</ol><ol start=x><li value='²'>e</ol>"
    assert extract_page(html).text == "3. a\n   - b\n7. c\n8. d\n\n1. e"


def test_footnotes_point_to_their_notes_and_back_is_left_out() -> None:
    html = (
        '<p>Known<sup class="footnote-ref"><a href="#n">1</a>'
        '</sup>.</p><section class="footnotes"><ol><li id="n"><p>By '
        'Gauss. <a href="#r" class="footnote-back">↩︎</a></p></li></ol></section>'
    )
    assert extract_page(html).text == "Known[1].\n\n1. By Gauss."


def test_invisible_characters_and_spaces() -> None:
    assert extract_page("<p>Über\u00adle\u200bben a\u00a0b <abbr title=x>HTML</abbr>").text == "Überleben a b HTML"


def test_headings_that_link_to_the_contents_keep_their_words() -> None:
    assert (
        extract_page('<h2><a class="toc-backref" href="#id1">Even numbers</a></h2><p>a').text == "## Even numbers\n\na"
    )
