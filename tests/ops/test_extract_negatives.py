"""What looks like mathematics and is not: money, shells, templates, regular expressions; on pages that typeset, too."""

from html import escape

import pytest

from ops.extract import extract_page
from tests.ops.extracted import MATHJAX_DOLLAR

HEADS = {
    "nothing": "",
    "mathjax": '<script src="https://cdn.jsdelivr.net/npm/mathjax@3/es5/tex-mml-chtml.js"></script>',
    "mathjax with dollars": MATHJAX_DOLLAR,
    "katex": "<script>renderMathInElement(document.body)</script>",
}
TEXTS = [
    "Set $HOME and $PATH before $USER logs in; export $FOO=$BAR.",
    "It is $5 and $10, or US$20 and A$30.",
    "Between $1,000 and $2,000 a month, up to $3.5m or $4bn.",
    "Call $('#id').hide() and $('.b').show() or jQuery $(this).attr('x').",
    "Use $(VAR) and $(CC) -o $@ $< in a Makefile, $$PATH and $$HOME too.",
    r"The prompt is \[\e[0;32m\]\u@\h:\w\$\[\e[0m\] in bash.",
    r"PS1='\[\033[01;32m\]\u\[\033[00m\]'",
    "In Perl, $x = $y + 1; @a = ($b, $c); $hash{key} and $$ref.",
    "awk '{print $1, $2}' file | awk '{s+=$3} END {print s}'",
    "In PHP $this->name = $_POST['name']; $a . $b; foreach ($x as $k => $v)",
    "Template {{ $x }} and {{ $y.z }} or ${name} and ${other_name}.",
    r"Replace \(.*\)-\(.*\) with \2-\1 in sed or vim.",
    r"s/\([a-z]*\) \([0-9]*\)/\2 \1/",
    r"emacs regexp \(foo\|bar\) and \(?:x\)",
    "Tickets: adults $12, children $8 (under 5 free), seniors $10.",
    "From $20 - $40 (plus $5 shipping) save $3!",
    "$1 = €0.92, so $100 = €92 and $50 = €46.",
    "A $10 bill and a $20 bill. x_1 costs $30 and y_2 $40.",
    "$AAPL rose 3% while $TSLA and $MSFT fell.",
    "Excel: =SUM($A$1:$B$10) and $C$5.",
    r"Regex: ^\[([^\]]+)\]$ and \[\d+\]",
    r"Escape with \( and \), or \[ and \].",
    "$$$ cheap, $$ moderate, $$$$ expensive",
    "Price range: $$ - $$$",
    r"In LaTeX, the dollar sign is \$ and the backslash \textbackslash.",
    "shell: echo $$ prints the pid and $! the last; $? the status, $# the count.",
    "R$ 50 e R$ 60",
    "lst$name and df$col, mtcars$mpg + mtcars$cyl",
    "ng-repeat $index and $event, $scope.x = $rootScope.y",
    'C# $"{x} and {y}" and $@"{z}"',
    "SQL: WHERE id = $1 AND name = $2",
    "$ npm install $ npm start",
    r"Use \begin{document} and \end{document} in every file.",
    r"The \begin{itemize} ... \end{itemize} environment",
    "It costs 5$ to 10$ each, or 20$.",
    "The [math] tag and the [tex] tag.",
    "Use [latex] to open and [/latex] to close.",
    "Backticks `foo` and `bar`.",
    "Write <math> and </math> around it.",
    "JavaScript `${a}_${b}` and ${x}^${y}; Perl sets $^W and $^O.",
    "Make knows $^ and $<, $@ and $_; a regex ends in ^$ or x^$.",
    r"C:\[folder]\(x86)\file or \\server\share$",
]
AROUND = {
    "paragraph": "<p>{}</p>",
    "table": "<table><tr><td>a</td><td>{}</td></tr><tr><td>b</td><td>c</td></tr></table>",
    "listing": "<pre>{}</pre>",
    "code": "<p><code>{}</code></p>",
}


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("text", TEXTS)
def test_nothing_is_invented(text: str, head: str) -> None:
    for around in AROUND.values():
        page = extract_page(
            f"<html><head>{HEADS[head]}</head><body><p>Some ordinary words to begin with.</p>"
            f"{around.format(escape(text, quote=False))}</body></html>"
        )
        assert page.formulas == []
        left = page.text.replace("\\", "")
        for word in text.replace("\\", "").replace("`", " ").split():
            assert word in left


@pytest.mark.parametrize(
    "text",
    [
        "It costs $5 and $10 today.",
        "From $1,000 to $2,000 per month, $3-$4 an hour.",
        "Set $HOME and $PATH, then $1 or $2.",
        "The regular expression \\( matches and \\) too.",
        "Use sed s/\\(a*\\)/x/ or \\(.*\\) or \\(\\w+\\).",
        "US$ 5 and A$ 6",
        "pay $20/$30",
    ],
)
def test_money_and_shell_are_not_mathematics(text: str) -> None:
    # A page that typesets means its delimiters, but not a dollar before an amount.
    for head in ("", MATHJAX_DOLLAR if text.count("$") and "HOME" not in text else ""):
        page = extract_page(f"{head}<body><p>{text}</p></body>")
        assert page.formulas == []
        assert page.text.replace("\\$", "$") == text


@pytest.mark.parametrize(
    "markup",
    [
        r'<pre class="latex">\documentclass{article} $x^2$ \begin{equation}y\end{equation}</pre>',
        r'<pre><code class="language-latex">\[ \int_0^1 f \]</code></pre>',
        r'<code class="tex">\alpha_1</code>',
        r'<pre><code class="hljs latex"><span class="hljs-formula">$x^2$</span></code></pre>',
        r'<pre><span class="formula">\alpha</span></pre>',
        '<img src="/images/alpha.png" alt="The alpha of it all">',
        '<img src="photo.jpg" alt="C:\\Users\\me">',
        '<img class="size-full" src="https://x.org/a.png?w=300" alt="Figure 1: growth of x_1">',
        '<svg role="img" aria-label="Close menu"><title>Menu</title><path d="M0"/></svg>',
        '<span role="img" aria-label="a smiling face">:)</span>',
        '<div role="math" aria-label="x squared plus one"></div>',
        '<div class="math">Mathematics &gt; Algebra &gt; Groups</div>',
        '<span class="tag latex">LaTeX</span>',
        '<li class="formula">Formula one results = fast cars</li>',
        '<span class="chart-value" data-value="5">five</span>',
        '<p class="x" data-formula="a">b</p>',
        '<noscript><img src="https://www.facebook.com/tr?id=1&ev=PageView" height="1"></noscript>',
        "<math></math>",
    ],
)
def test_elements_that_are_no_formulas(markup: str) -> None:
    assert extract_page(f"<body><p>Some ordinary words to begin with.</p>{markup}</body>").formulas == []


LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


@pytest.mark.parametrize(
    "latex",
    [*LETTERS, "-1", "x = y", "x=5", "n!", "f(x)", "[0, 1)", "(a, b]", "a < b", "x, y", "p|q", "k+1", "AB", "2^{nd}",
     "V^*", "x_i", "10", "O(n log n)", "a, b \\in S", "n \\text{ is even}", "=", "> 0", "i = 1, \\dots, n"],
)  # fmt: skip
def test_short_formulas_are_kept_where_dollars_are_configured(latex: str) -> None:
    page = extract_page(
        f"{HEADS['mathjax with dollars']}<body><p>Some words, then ${escape(latex)}$ and "
        f"\\({escape(latex)}\\) follow.</p></body>"
    )
    assert [formula.latex for formula in page.formulas] == [latex, latex]


@pytest.mark.parametrize("latex", ["E = mc^2", "x_1", "a^2+b^2=c^2", "x_{ij}", "f(x)^n", "(a+b)_n", r"\alpha"])
def test_plain_mathematics_between_dollars_needs_no_script(latex: str) -> None:
    page = extract_page(f"<p>It is known that ${latex}$ holds, and ${latex}$, too.</p>")
    assert [formula.latex for formula in page.formulas] == [latex] * 2


def test_dollars_inside_words_are_no_delimiters_without_a_script() -> None:
    assert extract_page("<p>Names such as $a_b$c or pre$a_b$ are split; US$5^2$ is no price.</p>").formulas == []


@pytest.mark.parametrize("markup", ["<mjx-container></mjx-container>", "x<sub>1</sub>", "<td>x", "<m:math></m:math>"])
def test_a_fragment_is_html(markup: str) -> None:
    assert extract_page(markup).kind == "html"
