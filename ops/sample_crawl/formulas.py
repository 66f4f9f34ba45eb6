"""A TeX formula as HTML, in the carriers that the web uses."""

import hashlib
import html
import re
from dataclasses import dataclass, field

from docutils.utils.math import latex2mathml

MATHML = "http://www.w3.org/1998/Math/MathML"
CONVERTER_ERRORS = (ValueError, SyntaxError, AttributeError, IndexError, KeyError, TypeError)
"""What docutils' converter raises for TeX that it does not know; most are plain faults of it."""

_OPEN_MATH = re.compile(r"<math[^>]*>")
_TAG = re.compile(r"<[^>]+>")


@dataclass(kw_only=True)
class Carrier:
    """Writes formulas in one carrier, and counts.

    `num_fallback` counts formulas that could not be made MathML: they are left between MathJax delimiters, as a site
    that renders on its server leaves what its renderer refuses.
    """

    name: str
    num_formulas: int = 0
    num_fallback: int = 0
    _cache: dict[tuple[str, bool], str] = field(default_factory=dict)

    def write(self, tex: str, *, display: bool) -> str:
        """One formula as HTML; `tex` without delimiters."""
        self.num_formulas += 1
        tex = tex.strip()
        if display and "\\\\" in tex and "\\begin{" not in tex:
            tex = f"\\begin{{aligned}}{tex}\\end{{aligned}}"
        match self.name:
            case "mathjax_delimiters":
                return _delimiters(tex, display)
            case "mathjax_script":
                return _script(tex, display)
            case "image_alt":
                return _image(tex, display)
            case "mathml" | "mathml_annotation" | "katex":
                return self._mathml(tex, display)
        raise ValueError(self.name)

    def _mathml(self, tex: str, display: bool) -> str:
        try:
            presentation = latex2mathml.tex2mathml(tex, as_block=display)
        except CONVERTER_ERRORS:
            self.num_fallback += 1
            return _delimiters(tex, display)
        inner = _OPEN_MATH.sub("", presentation).removesuffix("</math>").strip()
        attributes = f'xmlns="{MATHML}"' + (' display="block"' if display else "")
        if self.name == "mathml":
            element = f"<math {attributes}>{inner}</math>"
            return f'<div class="math">{element}</div>' if display else element
        annotation = f'<annotation encoding="application/x-tex">{html.escape(tex, quote=False)}</annotation>'
        semantics = f"<semantics><mrow>{inner}</mrow>{annotation}</semantics>"
        if self.name == "mathml_annotation":
            element = f'<math {attributes} alttext="{html.escape(tex)}">{semantics}</math>'
            return f'<div class="math">{element}</div>' if display else element
        visible = "".join(f'<span class="mord">{text}</span>' for text in _TAG.sub("\n", inner).split())
        span = (
            f'<span class="katex"><span class="katex-mathml"><math {attributes}>{semantics}</math></span>'
            f'<span class="katex-html" aria-hidden="true"><span class="base">'
            f'<span class="strut" style="height:0.8em"></span>{visible}</span></span></span>'
        )
        return f'<span class="katex-display">{span}</span>' if display else span


def _delimiters(tex: str, display: bool) -> str:
    escaped = html.escape(tex, quote=False)
    if display:
        return f'<div class="math notranslate nohighlight">\n\\[{escaped}\\]</div>'
    return f'<span class="math notranslate nohighlight">\\({escaped}\\)</span>'


def _script(tex: str, display: bool) -> str:
    """As kramdown writes it: `&` and `<` go into a CDATA section behind TeX comments."""
    if "&" in tex or "<" in tex:
        tex = f"% <![CDATA[\n{tex} %]]>"
    preview = '<span class="MathJax_Preview">[math]</span>'
    if display:
        return f'<div class="kdmath">{preview}<script type="math/tex; mode=display">{tex}</script></div>'
    return f'{preview}<script type="math/tex">{tex}</script>'


def _image(tex: str, display: bool) -> str:
    name = hashlib.sha1(tex.encode()).hexdigest()
    image = f'<img class="math" src="/_images/math/{name}.png" alt="{html.escape(tex)}"/>'
    return f'<div class="math">\n<p>{image}</p></div>' if display else image
