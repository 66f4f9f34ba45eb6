"""Sets of names, written as one string."""


def words(text: str) -> frozenset[str]:
    """The words of `text`."""
    return frozenset(text.split())
