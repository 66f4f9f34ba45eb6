"""MathJax 2, 3 and 4, before and behind its rendering."""

from html import escape

from tests.ops.carriers.formula import BOXES, CHTML2, GROUPS, HTMLCSS, MATHJAX2, MML, Carrier, E, F

MATHJAX: dict[str, Carrier] = {
    "mathjax 2 script": (
        MATHJAX2,
        f'<script type="math/tex">{F}</script>',
        f'<script type="math/tex; mode=display">{F}</script>',
    ),
    "mathjax 2 script, kramdown": (
        MATHJAX2,
        f"<script type='math/tex'>{F}</script>",
        f"<script type='math/tex; mode=display'>% <![CDATA[\n{F} %]]></script>",
    ),
    "mathjax 2 rendered, preview, script": (
        MATHJAX2,
        f'<span class="MathJax_Preview" style="color: inherit;">α17 = b/2</span>{HTMLCSS.format("")}'
        f'<script type="math/tex" id="MathJax-Element-1">{F}</script>',
        '<span class="MathJax_Preview" style="color: inherit;"></span><div class="MathJax_Display" style="text-align: '
        f'center;">{HTMLCSS.format("")}</div><script type="math/tex; mode=display" id="MathJax-Element-2">{F}</script>',
    ),
    "mathjax 2 rendered with data-mathml and script": (
        MATHJAX2,
        HTMLCSS.format(f' data-mathml="{escape(f"<math>{MML}</math>")}"') + f'<script type="math/tex">{F}</script>',
        '<div class="MathJax_Display">'
        + HTMLCSS.format(f' data-mathml="{escape(f"<math>{MML}</math>")}"')
        + f'</div><script type="math/tex; mode=display">{F}</script>',
    ),
    "mathjax 2 rendered with data-mathml alone": (
        "",
        HTMLCSS.format(f' data-mathml="{escape(f"<math>{MML}</math>")}"'),
        f'<div class="MathJax_Display">{HTMLCSS.format("")}</div>',
    ),
    "mathjax 2 chtml": (
        "",
        f'<span class="mjx-chtml">{CHTML2.format("")}</span>',
        f'<span class="mjx-chtml MJXc-display">{CHTML2.format("")}</span>',
    ),
    "mathjax-node chtml with label": (
        "",
        f'<span class="mjx-chtml">{CHTML2.format(f""" aria-label="{E}" """)}</span>',
        f'<span class="mjx-chtml MJXc-display">{CHTML2.format(f""" aria-label="{E}" """)}</span>',
    ),
    "mathjax-node svg with title": (
        "",
        '<svg role="img" focusable="false" aria-labelledby="MathJax-SVG-1-Title" viewBox="0 -900 1 2">'
        f'<title id="MathJax-SVG-1-Title">{E}</title><defs><path id="E1-MJMATHI-3B1" d="M34"></path></defs></svg>',
        None,
    ),
    "mathjax 2 preview alone": ("", f'<span class="MathJax_Preview">{F}</span>', None),
    "mathml script": (
        MATHJAX2,
        f'<script type="math/mml"><math>{MML}</math></script>',
        f'<script type="math/mml; mode=display"><math display="block">{MML}</math></script>',
    ),
    # MathJax 3 and 4
    "mathjax 3 chtml with assistive mathml": (
        "",
        '<mjx-container class="MathJax CtxtMenu_Attached_0" jax="CHTML" tabindex="0"><mjx-math class="MJX-TEX" '
        f'aria-hidden="true">{BOXES}</mjx-math><mjx-assistive-mml unselectable="on" display="inline"><math>{MML}</math>'
        "</mjx-assistive-mml></mjx-container>",
        f'<mjx-container class="MathJax" jax="CHTML" display="true"><mjx-math display="true" class="MJX-TEX">{BOXES}'
        f'</mjx-math><mjx-assistive-mml unselectable="on" display="block"><math display="block">{MML}</math>'
        "</mjx-assistive-mml></mjx-container>",
    ),
    "mathjax 3 chtml alone": (
        "",
        f'<mjx-container class="MathJax" jax="CHTML"><mjx-math class="MJX-TEX">{BOXES}</mjx-math></mjx-container>',
        '<mjx-container class="MathJax" jax="CHTML" display="true"><mjx-math display="true" class="MJX-TEX">'
        f"{BOXES}</mjx-math></mjx-container>",
    ),
    "mathjax 3 svg alone": (
        "",
        '<mjx-container class="MathJax" jax="SVG"><svg role="img" viewBox="0 -884 3557 1229"><defs><path '
        f'id="MJX-1-TEX-I-1D6FC"></path></defs><g><g data-mml-node="math">{GROUPS}</g></g></svg></mjx-container>',
        '<mjx-container class="MathJax" jax="SVG" display="true"><svg role="img" viewBox="0 -884 3557 1229">'
        f'<g><g data-mml-node="math">{GROUPS}</g></g></svg></mjx-container>',
    ),
    "mathjax 3 svg without container": (
        "",
        f'<svg role="img"><g><g data-mml-node="math">{GROUPS}</g></g></svg>',
        None,
    ),
    "mathjax 4 data-latex": (
        "",
        f'<mjx-container class="MathJax" jax="CHTML"><mjx-math data-latex="{E}">{BOXES}</mjx-math></mjx-container>',
        f'<mjx-container class="MathJax" jax="SVG" display="true"><svg role="img"><g><g data-mml-node="math" '
        f'data-latex="{E}">{GROUPS}</g></g></svg></mjx-container>',
    ),
}  # fmt: skip
