"""One claim tried: arms, seeds, null distributions, and what may be said."""
