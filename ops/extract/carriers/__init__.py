"""All carriers. Importing this registers them; a carrier claims what the earlier ones of its list did not."""

from ops.extract.carriers import image, katex, mathjax, mathml, tex, wikipedia

__all__ = ["image", "katex", "mathjax", "mathml", "tex", "wikipedia"]
