"""Characters of mathematics and the LaTeX for them."""

import re
import unicodedata
from functools import cache

from ops.extract.words import words

_GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ϵ": "epsilon", "ε": "varepsilon", "ζ": "zeta",
    "η": "eta", "θ": "theta", "ϑ": "vartheta", "ι": "iota", "κ": "kappa", "ϰ": "varkappa", "λ": "lambda", "μ": "mu",
    "µ": "mu", "ν": "nu", "ξ": "xi", "π": "pi", "ϖ": "varpi", "ρ": "rho", "ϱ": "varrho", "σ": "sigma",
    "ς": "varsigma", "τ": "tau", "υ": "upsilon", "ϕ": "phi", "φ": "varphi", "χ": "chi", "ψ": "psi", "ω": "omega",
    "Γ": "Gamma", "Δ": "Delta", "∆": "Delta", "Θ": "Theta", "ϴ": "Theta", "Λ": "Lambda", "Ξ": "Xi", "Π": "Pi",
    "Σ": "Sigma", "Υ": "Upsilon", "ϒ": "Upsilon", "Φ": "Phi", "Ψ": "Psi", "Ω": "Omega", "\u2126": "Omega",
    "ϝ": "digamma",
}  # fmt: skip
_RELATIONS = {
    "≤": "leq", "⩽": "leqslant", "≥": "geq", "⩾": "geqslant", "≠": "neq", "≡": "equiv", "≈": "approx", "∼": "sim",
    "≃": "simeq", "≅": "cong", "∝": "propto", "≪": "ll", "≫": "gg", "∈": "in", "∉": "notin", "∋": "ni",
    "⊂": "subset", "⊃": "supset", "⊆": "subseteq", "⊇": "supseteq", "⊊": "subsetneq", "⊋": "supsetneq",
    "⊄": "not\\subset", "⊈": "nsubseteq", "⊏": "sqsubset", "⊑": "sqsubseteq", "⊐": "sqsupset", "⊒": "sqsupseteq",
    "≺": "prec", "≻": "succ", "⪯": "preceq", "≼": "preceq", "⪰": "succeq", "≽": "succeq", "⊢": "vdash",
    "⊣": "dashv", "⊨": "models", "⊩": "Vdash", "⊥": "perp", "∣": "mid", "∤": "nmid", "∥": "parallel",
    "∦": "nparallel", "≐": "doteq", "≜": "triangleq", "≔": "coloneqq", "≕": "eqqcolon", "≍": "asymp",
    "→": "to", "←": "leftarrow", "↔": "leftrightarrow", "⇒": "Rightarrow", "⇐": "Leftarrow", "⇔": "Leftrightarrow",
    "⟶": "longrightarrow", "⟵": "longleftarrow", "⟷": "longleftrightarrow", "⟹": "Longrightarrow",
    "⟸": "Longleftarrow", "⟺": "Longleftrightarrow", "↦": "mapsto", "⟼": "longmapsto", "↪": "hookrightarrow",
    "↩": "hookleftarrow", "↠": "twoheadrightarrow", "↣": "rightarrowtail", "⇝": "rightsquigarrow", "↑": "uparrow",
    "↓": "downarrow", "↕": "updownarrow", "⇑": "Uparrow", "⇓": "Downarrow", "↗": "nearrow", "↘": "searrow",
    "↖": "nwarrow", "↙": "swarrow", "⇌": "rightleftharpoons", "⇀": "rightharpoonup", "⇁": "rightharpoondown",
    "↼": "leftharpoonup", "≮": "nless", "≯": "ngtr", "≰": "nleq", "≱": "ngeq", "≁": "nsim", "≢": "not\\equiv",
    "≲": "lesssim", "≳": "gtrsim", "⋖": "lessdot", "⊲": "vartriangleleft", "⊴": "trianglelefteq",
    "◁": "triangleleft", "⊳": "vartriangleright", "⊵": "trianglerighteq", "⋈": "bowtie", "⊬": "nvdash",
    "⊭": "nvDash", "≶": "lessgtr", "≊": "approxeq", "∽": "backsim", "⇉": "rightrightarrows", "⇄": "rightleftarrows",
    "⌣": "smile", "⌢": "frown", "⋔": "pitchfork", "⟂": "perp", "≦": "leqq", "≧": "geqq", "≨": "lneqq", "≩": "gneqq",
    "⪇": "lneq", "⪈": "gneq", "⪅": "lessapprox", "⪆": "gtrapprox", "⋦": "lnsim", "⋧": "gnsim", "≷": "gtrless",
    "⋚": "lesseqgtr", "⋛": "gtreqless", "⋘": "lll", "⋙": "ggg", "⋗": "gtrdot", "⫅": "subseteqq", "⫆": "supseteqq",
    "⫋": "subsetneqq", "⫌": "supsetneqq", "⊉": "nsupseteq", "⊅": "not\\supset", "∌": "not\\ni", "⋐": "Subset",
    "⋑": "Supset", "⋞": "curlyeqprec", "⋟": "curlyeqsucc", "≾": "precsim", "≿": "succsim", "⪷": "precapprox",
    "⪸": "succapprox", "⊀": "nprec", "⊁": "nsucc", "⋠": "npreceq", "⋡": "nsucceq", "⋨": "precnsim", "⋩": "succnsim",
    "⊪": "Vvdash", "⊮": "nVdash", "⊯": "nVDash", "⋪": "ntriangleleft", "⋫": "ntriangleright", "⋬": "ntrianglelefteq",
    "⋭": "ntrianglerighteq", "≗": "circeq", "≖": "eqcirc", "≑": "doteqdot", "≒": "fallingdotseq",
    "≓": "risingdotseq", "≏": "bumpeq", "≎": "Bumpeq", "⋍": "backsimeq", "≇": "ncong", "≄": "not\\simeq",
    "≉": "not\\approx", "≭": "not\\asymp", "≬": "between", "∍": "ni", "⪕": "eqslantless", "⪖": "eqslantgtr",
    "⩴": "Coloneqq", "≝": "overset{\\text{def}}{=}", "≟": "overset{?}{=}", "∷": "Colon", "▷": "triangleright",
    "⇋": "leftrightharpoons", "↽": "leftharpoondown", "↿": "upharpoonleft", "↾": "upharpoonright",
    "⇃": "downharpoonleft", "⇂": "downharpoonright", "⇇": "leftleftarrows", "⇆": "leftrightarrows",
    "⇈": "upuparrows", "⇊": "downdownarrows", "⇚": "Lleftarrow", "⇛": "Rrightarrow", "⇠": "dashleftarrow",
    "⇢": "dashrightarrow", "↞": "twoheadleftarrow", "↢": "leftarrowtail", "↫": "looparrowleft",
    "↬": "looparrowright", "↭": "leftrightsquigarrow", "↰": "Lsh", "↱": "Rsh", "↚": "nleftarrow", "↛": "nrightarrow",
    "↮": "nleftrightarrow", "⇍": "nLeftarrow", "⇏": "nRightarrow", "⇎": "nLeftrightarrow", "⇕": "Updownarrow",
    "↶": "curvearrowleft", "↷": "curvearrowright", "↺": "circlearrowleft", "↻": "circlearrowright",
    "⊸": "multimap", "⤳": "rightsquigarrow", "⟿": "rightsquigarrow", "⟾": "Longmapsto", "⤇": "Mapsto",
    "↤": "mapsfrom", "⥲": "xrightarrow{\\sim}",
}  # fmt: skip
_BINARY = {
    "±": "pm", "∓": "mp", "×": "times", "÷": "div", "⋅": "cdot", "·": "cdot", "∘": "circ", "∙": "bullet",
    "•": "bullet", "⊕": "oplus", "⊖": "ominus", "⊗": "otimes", "⊘": "oslash", "⊙": "odot", "∩": "cap", "∪": "cup",
    "⊎": "uplus", "⊓": "sqcap", "⊔": "sqcup", "∧": "wedge", "∨": "vee", "∖": "setminus", "⧵": "setminus",
    "≀": "wr", "⋆": "star", "†": "dagger", "‡": "ddagger", "⨿": "amalg", "⋉": "ltimes", "⋊": "rtimes",
    "⊠": "boxtimes", "⊞": "boxplus", "⋄": "diamond", "⊻": "veebar", "∔": "dotplus", "△": "triangle",
    "⊚": "circledcirc", "⊛": "circledast", "⊝": "circleddash", "⊟": "boxminus", "⊡": "boxdot", "⋇": "divideontimes",
    "⋋": "leftthreetimes", "⋌": "rightthreetimes", "⋎": "curlyvee", "⋏": "curlywedge", "⋒": "Cap", "⋓": "Cup",
    "⊺": "intercal", "⊼": "barwedge", "⩞": "doublebarwedge", "⌅": "barwedge", "⌆": "doublebarwedge",
    "◦": "circ", "○": "bigcirc", "◯": "bigcirc", "▵": "triangle", "▽": "bigtriangledown", "▿": "triangledown",
    "▹": "triangleright", "◃": "triangleleft", "⟡": "diamond", "⨯": "times", "⊹": "pm",
}  # fmt: skip
_LARGE = {
    "∑": "sum", "∏": "prod", "∐": "coprod", "∫": "int", "∬": "iint", "∭": "iiint", "∮": "oint", "⋃": "bigcup",
    "⋂": "bigcap", "⨁": "bigoplus", "⨂": "bigotimes", "⨀": "bigodot", "⋁": "bigvee", "⋀": "bigwedge",
    "⨆": "bigsqcup", "⨄": "biguplus", "⊍": "bigcupdot",
    "⨌": "iiiint", "∯": "oiint", "∰": "oiiint",
}  # fmt: skip
_ORDINARY = {
    "∞": "infty", "∂": "partial", "𝜕": "partial", "∇": "nabla", "∀": "forall", "∃": "exists", "∄": "nexists",
    "¬": "neg", "∅": "emptyset", "⌀": "varnothing", "ℓ": "ell", "ℏ": "hbar", "ℜ": "Re", "ℑ": "Im", "ℵ": "aleph",
    "ℶ": "beth", "℘": "wp", "∠": "angle", "∡": "measuredangle", "⊤": "top", "…": "ldots", "⋯": "cdots", "⋮": "vdots",
    "⋱": "ddots", "□": "square", "◻": "square", "■": "blacksquare", "∎": "blacksquare", "◇": "diamond",
    "◊": "lozenge", "♢": "diamondsuit", "♠": "spadesuit", "♣": "clubsuit", "♡": "heartsuit", "♭": "flat",
    "♮": "natural", "♯": "sharp", "ı": "imath", "ȷ": "jmath", "∴": "therefore", "∵": "because", "√": "surd",
    "℧": "mho", "ð": "eth", "§": "S", "¶": "P", "£": "pounds", "✓": "checkmark", "★": "bigstar", "°": "degree",
    "⟨": "langle", "⟩": "rangle", "〈": "langle", "〉": "rangle", "⌈": "lceil", "⌉": "rceil", "⌊": "lfloor",
    "⌋": "rfloor", "‖": "|", "⟦": "llbracket", "⟧": "rrbracket", "⟮": "lgroup", "⟯": "rgroup",
    "∁": "complement", "⅁": "Game", "Ⅎ": "Finv", "ℷ": "gimel", "ℸ": "daleth", "∢": "sphericalangle",
    "▲": "blacktriangle", "▼": "blacktriangledown", "▴": "blacktriangle", "▾": "blacktriangledown",
    "◀": "blacktriangleleft", "▶": "blacktriangleright", "◂": "blacktriangleleft", "▸": "blacktriangleright",
    "⧫": "blacklozenge", "♦": "blacklozenge", "♥": "heartsuit", "☆": "star", "☐": "square", "▪": "blacksquare",
    "▫": "square", "▢": "square", "✠": "maltese", "®": "circledR", "Ⓢ": "circledS", "©": "copyright", "¥": "yen",
    "⊦": "vdash", "⎰": "lmoustache", "⎱": "rmoustache",
    "⌜": "ulcorner", "⌝": "urcorner", "⌞": "llcorner", "⌟": "lrcorner", "⦃": "{\\{", "⦄": "}\\}", "‵": "backprime",
    "⟪": "langle\\!\\langle", "⟫": "rangle\\!\\rangle", "《": "langle\\!\\langle", "》": "rangle\\!\\rangle",
    "〚": "llbracket", "〛": "rrbracket",
    "{": "{", "}": "}", "%": "%", "&": "&", "#": "#", "$": "$", "_": "_", "\\": "backslash",
}  # fmt: skip
RELATIONS = frozenset([*_RELATIONS, "=", "<", ">", ":=", "≔", "=:", ":"])
BINARY = frozenset([*_BINARY, "+", "-", "−", "–", "*", "∗"])
LARGE = frozenset(_LARGE)
_PLAIN = {
    "−": "-", "–": "-", "‐": "-", "‑": "-", "∗": "*", "⁎": "*", "∕": "/", "′": "'", "″": "''", "‴": "'''",
    "⁗": "''''", "’": "'", "\u2061": "", "\u2062": "", "\u2063": "", "\u2064": "", "\u200b": "", "\u2060": "",
    "\ufeff": "", "\u00a0": "\\ ", "\u2003": "\\quad ", "\u2002": "\\ ", "\u2009": "\\,", "\u2005": "\\:",
    "\u2004": "\\;", "\u200a": "\\,", "∶": ":", "~": "\\sim ", "^": "\\hat{}", "℃": "^\\circ\\mathrm{C}",
    "\u0338": "\\not ", "ø": "\\text{ø}", "Ø": "\\text{Ø}",
}  # fmt: skip
_LETTERS = {
    "ⅆ": "d", "ⅇ": "e", "ⅈ": "i", "ⅉ": "j", "ⅅ": "D", "ℽ": "\\mathbb{\\gamma}", "ℾ": "\\mathbb{\\Gamma}",
    "ℿ": "\\mathbb{\\Pi}",
}  # fmt: skip
FUNCTIONS = words(
    "arccos arcsin arctan arg cos cosh cot coth csc deg det dim exp gcd hom inf ker lg lim liminf limsup ln "
    "log max min Pr sec sin sinh sup tan tanh"
)
"""Operators that LaTeX has a command for."""
LIMIT_FUNCTIONS = words("det gcd inf lim liminf limsup max min Pr sup")
OVER_ACCENTS = {
    "^": "hat", "ˆ": "hat", "̂": "hat", "~": "tilde", "˜": "tilde", "̃": "tilde", "∼": "tilde", "¯": "bar",
    "‾": "overline", "―": "overline", "_": "overline", "ˉ": "bar", "̄": "bar", "̅": "overline", "→": "vec",
    "⃗": "vec", "˙": "dot", "̇": "dot", ".": "dot", "¨": "ddot", "̈": "ddot", "⃛": "dddot", "⃜": "ddddot",
    "⏠": "overbrace", "⇀": "overrightharpoon", "↼": "overleftharpoon", "ˇ": "check",
    "̌": "check", "˘": "breve", "̆": "breve", "´": "acute", "́": "acute", "`": "grave", "̀": "grave",
    "˚": "mathring", "⏞": "overbrace", "←": "overleftarrow", "↔": "overleftrightarrow", "⟶": "overrightarrow",
    "⃖": "overleftarrow", "︷": "overbrace", "¯¯": "overline", "─": "overline", "−": "overline", "⎴": "overbracket",
    "⏜": "overparen",
}  # fmt: skip
UNDER_ACCENTS = {
    "_": "underline", "̲": "underline", "¯": "underline", "‾": "underline", "―": "underline", "⏟": "underbrace",
    "︸": "underbrace", "→": "underrightarrow", "←": "underleftarrow", "─": "underline", "˙": "underdot",
}  # fmt: skip
WIDE = {"hat": "widehat", "tilde": "widetilde", "bar": "overline", "vec": "overrightarrow"}
_COMMANDS = {**_GREEK, **_RELATIONS, **_BINARY, **_LARGE, **_ORDINARY}
_COMBINING = re.compile("[\u0338\ufe00-\ufe0f]")
_SELECTORS = re.compile("[\ufe00-\ufe0f]")
_NEGATED = re.compile("(.)\u0338")
_COMMAND_END = re.compile(r"\\[A-Za-z]+$")


VARIANTS = {
    "bold": "mathbf", "double-struck": "mathbb", "script": "mathcal", "bold-script": "mathcal", "fraktur": "mathfrak",
    "bold-fraktur": "mathfrak", "sans-serif": "mathsf", "bold-sans-serif": "mathsf", "sans-serif-italic": "mathsf",
    "sans-serif-bold-italic": "mathsf", "monospace": "mathtt", "bold-italic": "boldsymbol",
}  # fmt: skip
"""MathML's `mathvariant` to the command of that font."""
_NAMES = (
    ("BOLD ITALIC ", "bold-italic"), ("BOLD SCRIPT ", "bold-script"), ("BOLD FRAKTUR ", "bold-fraktur"),
    ("SANS-SERIF BOLD ITALIC ", "sans-serif-bold-italic"), ("SANS-SERIF BOLD ", "bold-sans-serif"),
    ("SANS-SERIF ITALIC ", "sans-serif-italic"), ("DOUBLE-STRUCK ", "double-struck"), ("SANS-SERIF ", "sans-serif"),
    ("MONOSPACE ", "monospace"), ("FRAKTUR ", "fraktur"), ("SCRIPT ", "script"), ("BOLD ", "bold"), ("ITALIC ", ""),
)  # fmt: skip
_LETTERLIKE = {
    **dict.fromkeys("ℂℍℕℙℚℝℤ", "double-struck"), **dict.fromkeys("ℬℰℱℋℐℒℳℛℊℯℴ", "script"),
    **dict.fromkeys("ℭℌℨ", "fraktur"), "ℎ": "",
}  # fmt: skip


@cache
def _plain_letter(character: str) -> tuple[str, str] | None:
    """The letter and the `mathvariant` that a mathematical alphanumeric stands for."""
    variant = _LETTERLIKE.get(character)
    if variant is None:
        name = unicodedata.name(character, "")
        if not name.startswith("MATHEMATICAL ") or not unicodedata.decomposition(character):
            return None
        rest = name.removeprefix("MATHEMATICAL ")
        variant = next((variant for prefix, variant in _NAMES if rest.startswith(prefix)), None)
        if variant is None:
            return None
    # One step of decomposition: a normal form would make the symbol phi a phi.
    return chr(int(unicodedata.decomposition(character).split()[-1], 16)), variant


def plain_letters(text: str) -> tuple[str, str]:
    """Text without mathematical alphanumerics, and the `mathvariant` they had if it is one (else an empty string).

    Text whose letters are of several styles is returned as it is.
    """
    variants: set[str] = set()
    letters: list[str] = []
    for character in text:
        found = _plain_letter(character) if character > "\u20ff" else None
        if found is None:
            if character.isalnum():
                variants.add("")
            letters.append(character)
        else:
            letters.append(found[0])
            variants.add(found[1])
    return ("".join(letters), variants.pop()) if len(variants) == 1 else (text, "")


def symbol(character: str) -> str:
    """LaTeX of one character; a command that a letter must not follow ends in a space."""
    if character.isascii() and (character.isalnum() or character in "()[]=<>+-*/,.;:!?|'\""):
        return character
    plain = _PLAIN.get(character)
    if plain is not None:
        return plain
    command = _COMMANDS.get(character)
    if command is not None:
        return f"\\{command} " if command[-1].isalpha() else f"\\{command}"
    letter = _LETTERS.get(character)
    if letter is not None:
        return letter
    return _styled(character)


def _styled(character: str) -> str:
    found = _plain_letter(character)
    if found is None:
        return character
    base, variant = found
    inner = symbol(base).strip()
    if not variant:
        return f"{inner} " if _COMMAND_END.search(inner) else inner
    return styled(inner, variant)


def styled(latex: str, variant: str | None) -> str:
    """LaTeX in the font of a `mathvariant`."""
    command = VARIANTS.get(variant or "")
    if command is None or not latex or latex.startswith(f"\\{command}"):
        return latex
    if latex.isdigit() and command in ("mathcal", "mathfrak"):
        return latex  # there are none in these fonts
    if command == "mathbf" and latex.startswith("\\"):
        command = "boldsymbol"
    return f"\\{command}{{{latex.strip()}}}"


def symbols(text: str) -> str:
    """LaTeX of a string of mathematical characters."""
    if _COMBINING.search(text):
        text = _NEGATED.sub("\u0338\\1", unicodedata.normalize("NFC", _SELECTORS.sub("", text)))
    return concatenate([symbol(character) for character in text])


_TEXT = str.maketrans(
    {character: f"\\{character}" for character in "%#&$_{}"}
    | {"\\": "\\textbackslash ", "^": "\\textasciicircum ", "~": "\\textasciitilde ", "\u00a0": " "}
)


def text_command(text: str) -> str:
    """`\\text{...}` with what TeX would take for commands escaped."""
    return f"\\text{{{text.translate(_TEXT)}}}"


def concatenate(pieces: "list[str]") -> str:
    """Join LaTeX pieces; a command keeps a space before a letter and loses it otherwise."""
    joined = ""
    for piece in pieces:
        if not piece:
            continue
        if piece[0].isalpha() and joined[-1:].isalpha() and _COMMAND_END.search(joined[-40:]):
            joined += " "
        elif joined.endswith(" ") and piece[0] == " ":
            piece = piece[1:]
        joined += piece
    return joined
