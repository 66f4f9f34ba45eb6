"""Every carrier of mathematics, written as its generator writes it. The markup is our own."""

from tests.ops.carriers.formula import Carrier
from tests.ops.carriers.images import IMAGES
from tests.ops.carriers.mathjax import MATHJAX
from tests.ops.carriers.mathml import MATHML
from tests.ops.carriers.sites import SITES
from tests.ops.carriers.tex import TEX

CARRIERS: dict[str, Carrier] = {**MATHJAX, **TEX, **MATHML, **IMAGES, **SITES}
