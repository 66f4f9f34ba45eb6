"""Clean: what is left of boilerplate goes, formulas, code and links stay as they are.

`python -m ops.clean --input documents=DIR --out DIR` runs the stage over parts.
"""

from ops.clean.config import CleanConfig, RuleCleaner

__all__ = ["CleanConfig", "RuleCleaner"]
