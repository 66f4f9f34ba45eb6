"""The formula ledger: for every formula that extraction found, where it came from, whether it is valid LaTeX, and what
each later stage made of it."""
