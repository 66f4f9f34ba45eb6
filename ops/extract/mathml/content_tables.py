"""What the operators of content MathML look like in LaTeX (MathML 3, section 4.4; names of OpenMath's dictionaries)."""

from ops.extract.words import words

ATOM = 10
"""Binds tighter than every operator."""
INFIX: dict[str, tuple[str, int]] = {
    "implies": (" \\Rightarrow ", 1), "equivalent": (" \\Leftrightarrow ", 1), "or": (" \\vee ", 2),
    "xor": (" \\veebar ", 2), "and": (" \\wedge ", 3), "eq": (" = ", 4), "neq": (" \\neq ", 4), "gt": (" > ", 4),
    "lt": (" < ", 4), "geq": (" \\geq ", 4), "leq": (" \\leq ", 4), "approx": (" \\approx ", 4),
    "factorof": (" \\mid ", 4), "in": (" \\in ", 4), "notin": (" \\notin ", 4), "subset": (" \\subseteq ", 4),
    "prsubset": (" \\subset ", 4), "notsubset": (" \\nsubseteq ", 4), "notprsubset": (" \\not\\subset ", 4),
    "tendsto": (" \\to ", 4), "union": (" \\cup ", 5), "intersect": (" \\cap ", 5), "setdiff": (" \\setminus ", 5),
    "cartesianproduct": (" \\times ", 5), "plus": (" + ", 6), "minus": (" - ", 6), "times": ("", 7),
    "compose": (" \\circ ", 7), "vectorproduct": (" \\times ", 7), "scalarproduct": (" \\cdot ", 7),
    "outerproduct": (" \\otimes ", 7), "rem": (" \\bmod ", 7),
}  # fmt: skip
"""Operators between their arguments, and how tightly they bind."""
ALIASES = {
    "left_compose": "compose", "equivalent_to": "equivalent", "intersection": "intersect", "set_difference": "setdiff",
    "cartesian_product": "cartesianproduct", "vector_product": "vectorproduct", "scalarproduct2": "scalarproduct",
    "unary_minus": "minus", "notprsubset": "notprsubset", "factorof": "factorof", "remainder": "rem",
    "defint": "int", "partialdiff": "partialdiff", "partialdiffdegree": "partialdiff", "product": "product",
    "size": "card", "nthdiff": "diff", "infty": "infinity", "gamma": "eulergamma", "e": "exponentiale",
    "Z": "integers", "R": "reals", "Q": "rationals", "N": "naturalnumbers", "C": "complexes", "P": "primes",
    "NaN": "notanumber", "nil": "emptyset", "fns1": "lambda", "set_builder": "set",
}  # fmt: skip
"""OpenMath's name to content MathML's."""
CONSTANTS = {
    "pi": "\\pi", "infinity": "\\infty", "exponentiale": "e", "imaginaryi": "i", "eulergamma": "\\gamma",
    "true": "\\text{true}", "false": "\\text{false}", "emptyset": "\\emptyset", "integers": "\\mathbb{Z}",
    "reals": "\\mathbb{R}", "rationals": "\\mathbb{Q}", "naturalnumbers": "\\mathbb{N}",
    "complexes": "\\mathbb{C}", "primes": "\\mathbb{P}", "notanumber": "\\text{NaN}", "ident": "\\mathrm{id}",
}  # fmt: skip
BETWEEN = {
    "abs": ("|", "|"), "card": ("|", "|"), "floor": ("\\lfloor ", " \\rfloor"), "ceiling": ("\\lceil ", " \\rceil"),
    "mean": ("\\langle ", " \\rangle"), "norm": ("\\|", "\\|"), "conjugate": ("\\overline{", "}"),
    "exp_of": ("e^{", "}"),
}  # fmt: skip
"""Operators of one argument that are written around it."""
BEHIND = {"factorial": "!", "transpose": "^T", "inverse": "^{-1}", "complement": "^c"}
BEFORE = {
    "not": "\\neg ", "divergence": "\\nabla \\cdot ", "grad": "\\nabla ", "curl": "\\nabla \\times ",
    "laplacian": "\\nabla^2 ",
}  # fmt: skip
NAMED = {
    "real": "\\Re", "imaginary": "\\Im", "determinant": "\\det", "domain": "\\operatorname{dom}",
    "codomain": "\\operatorname{codom}", "image": "\\operatorname{im}", "sdev": "\\sigma", "variance": "\\sigma^2",
    "median": "\\operatorname{median}", "mode": "\\operatorname{mode}", "lcm": "\\operatorname{lcm}",
    "csch": "\\operatorname{csch}", "sech": "\\operatorname{sech}", "arccot": "\\operatorname{arccot}",
    "arccsc": "\\operatorname{arccsc}", "arcsec": "\\operatorname{arcsec}", "arccosh": "\\operatorname{arccosh}",
    "arcsinh": "\\operatorname{arcsinh}", "arctanh": "\\operatorname{arctanh}",
    "arccoth": "\\operatorname{arccoth}", "arccsch": "\\operatorname{arccsch}",
    "arcsech": "\\operatorname{arcsech}",
}  # fmt: skip
"""Functions whose LaTeX is not their own name behind a backslash."""
FUNCTION_TAGS = words("sin cos tan sec csc cot sinh cosh tanh coth arcsin arccos arctan exp ln log arg gcd max min")
BOUND = {"sum": "\\sum", "product": "\\prod", "int": "\\int", "limit": "\\lim"}
QUALIFIERS = words("bvar lowlimit uplimit condition domainofapplication degree logbase momentabout interval_qualifier")
SPECIAL = words(
    "divide power root quotient diff partialdiff forall exists selector moment lambda set list interval vector matrix"
)
"""Operators with a notation of their own."""
OPERATORS = (
    (frozenset(INFIX) | frozenset(BETWEEN) | frozenset(BEHIND) | frozenset(BEFORE) | frozenset(NAMED) | FUNCTION_TAGS)
    | frozenset(BOUND)
    | SPECIAL
)
INTERVALS = {
    "interval_oo": "open", "interval_oc": "open-closed", "interval_co": "closed-open", "interval_cc": "closed",
    "integer_interval": "closed", "oriented_interval": "closed",
}  # fmt: skip
CONTENT_TAGS = (
    OPERATORS | CONSTANTS.keys() | words("apply reln bind ci cn csymbol piecewise lambda cs cbytes cerror fn")
)
