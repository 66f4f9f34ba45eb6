"""The symbols of AsciiMath. Source: the AsciiMath page, asciimath.org."""

import re

from ops.extract.words import words

CONSTANTS = {
    "*": "\\cdot", "**": "\\ast", "***": "\\star", "//": "/", "\\\\": "\\backslash", "xx": "\\times", "|><": "\\ltimes",
    "><|": "\\rtimes", "|><|": "\\bowtie", "-:": "\\div", "divide": "\\div", "@": "\\circ", "o+": "\\oplus",
    "o-": "\\ominus", "ox": "\\otimes", "o.": "\\odot", "^^": "\\wedge", "^^^": "\\bigwedge", "vv": "\\vee",
    "vvv": "\\bigvee", "nn": "\\cap", "nnn": "\\bigcap", "uu": "\\cup", "uuu": "\\bigcup", "dag": "\\dagger",
    "ddag": "\\ddagger", "!=": "\\ne", ":=": ":=", "lt": "<", "<=": "\\le", "lt=": "\\leq", "gt": ">", "mlt": "\\ll",
    ">=": "\\ge", "gt=": "\\geq", "mgt": "\\gg", "-<": "\\prec", "-lt": "\\prec", ">-": "\\succ", "-<=": "\\preceq",
    ">-=": "\\succeq", "!in": "\\notin", "sub": "\\subset", "!sub": "\\not\\subset", "notsubset": "\\not\\subset",
    "sup": "\\supset", "!sup": "\\not\\supset", "notsupset": "\\not\\supset", "sube": "\\subseteq",
    "!sube": "\\not\\subseteq", "notsubseteq": "\\not\\subseteq", "supe": "\\supseteq", "!supe": "\\not\\supseteq",
    "notsupseteq": "\\not\\supseteq", "-=": "\\equiv", "!-=": "\\not\\equiv", "notequiv": "\\not\\equiv",
    "~=": "\\cong", "~~": "\\approx", "~": "\\sim", "prop": "\\propto", "and": "\\text{ and }", "or": "\\text{ or }",
    "if": "\\text{ if }", "not": "\\neg", "=>": "\\implies", "<=>": "\\iff", "AA": "\\forall", "EE": "\\exists",
    "_|_": "\\bot", "TT": "\\top", "|--": "\\vdash", "|==": "\\models", "del": "\\partial", "grad": "\\nabla",
    "+-": "\\pm", "-+": "\\mp", "O/": "\\emptyset", "oo": "\\infty", "...": "\\ldots", ":.": "\\therefore",
    ":'": "\\because", "/_": "\\angle", "/_\\": "\\triangle", "'": "'", "\\ ": "\\ ", "|__": "\\lfloor",
    "__|": "\\rfloor", "|~": "\\lceil", "~|": "\\rceil", "CC": "\\mathbb{C}", "NN": "\\mathbb{N}",
    "QQ": "\\mathbb{Q}", "RR": "\\mathbb{R}", "ZZ": "\\mathbb{Z}", "dx": "dx", "dy": "dy", "dz": "dz", "dt": "dt",
    "uarr": "\\uparrow", "darr": "\\downarrow", "rarr": "\\rightarrow", "->": "\\to", ">->": "\\rightarrowtail",
    "->>": "\\twoheadrightarrow", ">->>": "\\twoheadrightarrowtail", "|->": "\\mapsto", "larr": "\\leftarrow",
    "harr": "\\leftrightarrow", "rArr": "\\Rightarrow", "lArr": "\\Leftarrow", "dArr": "\\Downarrow",
    "hArr": "\\Leftrightarrow", ":|:": "|", "epsi": "\\epsilon", "lamda": "\\lambda", "Lamda": "\\Lambda",
    "mod": "\\bmod", "bot": "\\bot", "lub": "\\operatorname{lub}", "glb": "\\operatorname{glb}",
    "lceiling": "\\lceil", "rceiling": "\\rceil", "Lim": "\\operatorname{Lim}", "<": "<", ">": ">",
    "ne": "\\ne", "notin": "\\notin",
}  # fmt: skip
SAME = words(
    "alpha beta chi delta Delta epsilon varepsilon eta gamma Gamma iota kappa lambda Lambda mu nu omega Omega "
    "phi varphi Phi pi Pi psi Psi rho sigma Sigma tau theta vartheta Theta upsilon xi Xi zeta sum prod lim int "
    "oint in aleph frown quad qquad enspace thinspace cdots vdots ddots ldots diamond square hbar dim min max "
    "setminus rightleftharpoons cdot ast star times div circ oplus ominus otimes odot wedge bigwedge vee bigvee "
    "cap bigcap cup bigcup le leq ge geq ll gg prec succ preceq succeq subset supset subseteq supseteq equiv "
    "cong approx sim propto neg implies iff forall exists top vdash models partial nabla pm mp emptyset infty "
    "therefore because angle triangle lfloor rfloor twoheadrightarrow rightarrowtail prime uparrow downarrow "
    "rightarrow to mapsto leftarrow leftrightarrow Rightarrow Leftarrow Leftrightarrow backslash ltimes rtimes "
    "bowtie dagger ddagger"
)
"""Written in AsciiMath as in LaTeX, without the backslash."""
FUNCTION_NAMES = words(
    "sin cos tan sinh cosh tanh cot sec csc arcsin arccos arctan arcsec arccsc arccot coth sech csch exp log ln "
    "det gcd  lcm Sin Cos Tan Arcsin Arccos Arctan Sinh Cosh Tanh Cot Sec Csc Log Ln f g"
)
LETTER_FUNCTIONS = frozenset(["f", "g"])
OPENING = {
    "(": "(",
    "[": "[",
    "{": "\\{",
    "(:": "\\langle",
    "<<": "\\langle",
    "{:": "",
    "|:": "|",
    "langle": "\\langle",
}
CLOSING = {
    ")": ")",
    "]": "]",
    "}": "\\}",
    ":)": "\\rangle",
    ">>": "\\rangle",
    ":}": "",
    ":|": "|",
    "rangle": "\\rangle",
}
ACCENTS = {
    "hat": ("\\hat", "\\widehat"), "bar": ("\\bar", "\\overline"), "overline": ("\\overline", "\\overline"),
    "vec": ("\\vec", "\\overrightarrow"), "dot": ("\\dot", "\\dot"), "ddot": ("\\ddot", "\\ddot"),
    "tilde": ("\\tilde", "\\widetilde"), "ul": ("\\underline", "\\underline"),
    "underline": ("\\underline", "\\underline"), "ubrace": ("\\underbrace", "\\underbrace"),
    "underbrace": ("\\underbrace", "\\underbrace"), "obrace": ("\\overbrace", "\\overbrace"),
    "overbrace": ("\\overbrace", "\\overbrace"), "overarc": ("\\overparen", "\\overparen"),
    "overparen": ("\\overparen", "\\overparen"), "cancel": ("\\cancel", "\\cancel"), "sqrt": ("\\sqrt", "\\sqrt"),
    "bb": ("\\mathbf", "\\mathbf"), "mathbf": ("\\mathbf", "\\mathbf"), "sf": ("\\mathsf", "\\mathsf"),
    "mathsf": ("\\mathsf", "\\mathsf"), "bbb": ("\\mathbb", "\\mathbb"), "mathbb": ("\\mathbb", "\\mathbb"),
    "cc": ("\\mathcal", "\\mathcal"), "mathcal": ("\\mathcal", "\\mathcal"), "tt": ("\\mathtt", "\\mathtt"),
    "mathtt": ("\\mathtt", "\\mathtt"), "fr": ("\\mathfrak", "\\mathfrak"), "mathfrak": ("\\mathfrak", "\\mathfrak"),
    "italic": ("\\mathit", "\\mathit"), "bold": ("\\mathbf", "\\mathbf"), "bbit": ("\\boldsymbol", "\\boldsymbol"),
    **dict.fromkeys(["sfit", "bbsf", "bbsfit"], ("\\mathsf", "\\mathsf")),
}  # fmt: skip
AROUND = {"abs": ("|", "|"), "Abs": ("|", "|"), "norm": ("\\|", "\\|"), "floor": ("\\lfloor", "\\rfloor"),
           "ceil": ("\\lceil", "\\rceil")}  # fmt: skip
TWO = frozenset(["root", "frac", "stackrel", "overset", "underset", "color", "id", "class"])
TEXTS = frozenset(["text", "mbox"])
_SYMBOLS = sorted(
    {*CONSTANTS, *SAME, *FUNCTION_NAMES, *OPENING, *CLOSING, *ACCENTS, *AROUND, *TWO, *TEXTS, "|", "/", "_", "^"},
    key=len,
    reverse=True,
)
SYMBOL = re.compile("|".join(map(re.escape, _SYMBOLS)))
NAMES = frozenset(symbol for symbol in _SYMBOLS if symbol.isalpha())
"""The symbols that are written in letters."""
