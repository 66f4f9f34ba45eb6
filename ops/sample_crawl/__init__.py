"""Sample crawl: WARC files as Common Crawl lays them out, made at first run from the documentation that installed
packages carry (docstrings of NumPy, SciPy, SymPy, mpmath, statsmodels and the standard library)."""
