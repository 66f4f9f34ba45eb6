"""Characters of mathematics and the LaTeX for them."""

import re
import unicodedata

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
    "⌣": "smile", "⌢": "frown", "⋔": "pitchfork",
}  # fmt: skip
_BINARY = {
    "±": "pm", "∓": "mp", "×": "times", "÷": "div", "⋅": "cdot", "·": "cdot", "∘": "circ", "∙": "bullet",
    "•": "bullet", "⊕": "oplus", "⊖": "ominus", "⊗": "otimes", "⊘": "oslash", "⊙": "odot", "∩": "cap", "∪": "cup",
    "⊎": "uplus", "⊓": "sqcap", "⊔": "sqcup", "∧": "wedge", "∨": "vee", "∖": "setminus", "⧵": "setminus",
    "≀": "wr", "⋆": "star", "†": "dagger", "‡": "ddagger", "⨿": "amalg", "⋉": "ltimes", "⋊": "rtimes",
    "⊠": "boxtimes", "⊞": "boxplus", "⋄": "diamond", "⊻": "veebar", "∔": "dotplus", "△": "triangle",
}  # fmt: skip
_LARGE = {
    "∑": "sum", "∏": "prod", "∐": "coprod", "∫": "int", "∬": "iint", "∭": "iiint", "∮": "oint", "⋃": "bigcup",
    "⋂": "bigcap", "⨁": "bigoplus", "⨂": "bigotimes", "⨀": "bigodot", "⋁": "bigvee", "⋀": "bigwedge",
    "⨆": "bigsqcup", "⨄": "biguplus", "⊍": "bigcupdot",
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
    "\u0338": "\\not ", "〉": "\\rangle ", "ø": "\\text{ø}", "Ø": "\\text{Ø}",
}  # fmt: skip
_LETTERS = {
    "ℂ": "\\mathbb{C}", "ℍ": "\\mathbb{H}", "ℕ": "\\mathbb{N}", "ℙ": "\\mathbb{P}", "ℚ": "\\mathbb{Q}",
    "ℝ": "\\mathbb{R}", "ℤ": "\\mathbb{Z}", "ℬ": "\\mathcal{B}", "ℰ": "\\mathcal{E}", "ℱ": "\\mathcal{F}",
    "ℋ": "\\mathcal{H}", "ℐ": "\\mathcal{I}", "ℒ": "\\mathcal{L}", "ℳ": "\\mathcal{M}", "ℛ": "\\mathcal{R}",
    "ℊ": "\\mathcal{g}", "ℯ": "\\mathcal{e}", "ℴ": "\\mathcal{o}", "ℨ": "\\mathfrak{Z}", "ℭ": "\\mathfrak{C}",
    "ℌ": "\\mathfrak{H}", "ℎ": "h",
}  # fmt: skip
_STYLES = (
    ("BOLD ITALIC ", "boldsymbol"), ("BOLD SCRIPT ", "mathcal"), ("BOLD FRAKTUR ", "mathfrak"),
    ("SANS-SERIF BOLD ITALIC ", "mathsf"), ("SANS-SERIF BOLD ", "mathsf"), ("SANS-SERIF ITALIC ", "mathsf"),
    ("DOUBLE-STRUCK ", "mathbb"), ("SANS-SERIF ", "mathsf"), ("MONOSPACE ", "mathtt"), ("FRAKTUR ", "mathfrak"),
    ("SCRIPT ", "mathcal"), ("BOLD ", "mathbf"), ("ITALIC ", ""),
)  # fmt: skip
FUNCTIONS = words(
    "arccos arcsin arctan arg cos cosh cot coth csc deg det dim exp gcd hom inf ker lg lim liminf limsup ln "
    "log max min Pr sec sin sinh sup tan tanh"
)
"""Operators that LaTeX has a command for."""
LIMIT_FUNCTIONS = words("det gcd inf lim liminf limsup max min Pr sup")
OVER_ACCENTS = {
    "^": "hat", "ˆ": "hat", "̂": "hat", "~": "tilde", "˜": "tilde", "̃": "tilde", "∼": "tilde", "¯": "bar",
    "‾": "overline", "―": "overline", "_": "overline", "ˉ": "bar", "̄": "bar", "̅": "overline", "→": "vec",
    "⃗": "vec", "˙": "dot", "̇": "dot", ".": "dot", "¨": "ddot", "̈": "ddot", "⃛": "dddot", "ˇ": "check",
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
_COMMAND_END = re.compile(r"\\[A-Za-z]+$")


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
    name = unicodedata.name(character, "")
    if name.startswith("MATHEMATICAL "):
        rest = name.removeprefix("MATHEMATICAL ")
        base = unicodedata.normalize("NFKC", character)
        inner = symbol(base).strip() if base != character else base
        for prefix, style in _STYLES:
            if rest.startswith(prefix):
                if style == "mathbf" and inner.startswith("\\"):
                    style = "boldsymbol"
                if not style:
                    return inner + " " if _COMMAND_END.search(inner) else inner
                return f"\\{style}{{{inner}}}"
    return character


def symbols(text: str) -> str:
    """LaTeX of a string of mathematical characters."""
    return "".join(map(symbol, text))


def text_command(text: str) -> str:
    """`\\text{...}` with what TeX would take for commands escaped."""
    escaped = re.sub(r"([%#&$_{}])", r"\\\1", text.replace("\\", "\\backslash "))
    return f"\\text{{{escaped}}}"


def concatenate(pieces: "list[str]") -> str:
    """Join LaTeX pieces; a command keeps a space before a letter and loses it otherwise."""
    joined = ""
    for piece in pieces:
        if not piece:
            continue
        if _COMMAND_END.search(joined[-40:]) and piece[0].isalpha():
            joined += " "
        elif joined.endswith(" ") and piece[0] == " ":
            piece = piece[1:]
        joined += piece
    return joined
