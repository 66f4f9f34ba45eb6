"""Text in other languages: the translations of its messages that Sphinx carries."""

import html
import re
from dataclasses import dataclass

from ops.errors import InputError
from ops.sample_crawl.config import SampleCrawlConfig
from ops.sample_crawl.sources import package_root

ISO_639_3 = {
    "de": "deu",
    "el": "ell",
    "es": "spa",
    "fr": "fra",
    "it": "ita",
    "ja": "jpn",
    "ko": "kor",
    "nl": "nld",
    "pl": "pol",
    "pt_BR": "por",
    "ru": "rus",
    "sv": "swe",
    "tr": "tur",
    "zh_CN": "zho",
}
MIN_MESSAGE_CHARS = 50
"""Of the English message: shorter ones are labels, not sentences."""

_PLACEHOLDER = re.compile(r"%(\(\w+\))?[rsd]|\{[\w.!]*\}")


@dataclass(frozen=True, kw_only=True)
class TranslatedPage:
    """One page in one language."""

    language: str
    number: int
    title: str
    body: str  # HTML


def translated_pages(config: SampleCrawlConfig) -> list[TranslatedPage]:
    """`pages_per_language` pages in every language for every crawl, no two alike.

    Raises:
        InputError: for a language without catalogue, or one with too few messages.
    """
    return [page for language in config.languages for page in _pages(config, language)]


def _pages(config: SampleCrawlConfig, language: str) -> list[TranslatedPage]:
    from babel.messages.mofile import read_mo

    path = package_root("sphinx") / "locale" / language / "LC_MESSAGES" / "sphinx.mo"
    if language not in ISO_639_3 or not path.is_file():
        raise InputError(f"languages: {language!r}: not one of {sorted(ISO_639_3)}, or Sphinx has no catalogue for it")
    with path.open("rb") as stream:
        catalogue = read_mo(stream)
    texts = [
        _PLACEHOLDER.sub("…", message.string)
        for message in catalogue
        if isinstance(message.id, str)
        and isinstance(message.string, str)
        and len(message.id) >= MIN_MESSAGE_CHARS
        and message.string not in ("", message.id)
    ]
    count = config.pages_per_language * len(config.crawls)
    if len(texts) < 4 * count:
        raise InputError(f"languages: {language!r} has {len(texts)} messages, too few for {count} pages")
    pages = []
    for number in range(count):
        chosen = texts[number::count]
        pages.append(
            TranslatedPage(
                language=language,
                number=number,
                title=min(chosen, key=len),
                body="\n".join(f"<p>{html.escape(text, quote=False)}</p>" for text in chosen),
            )
        )
    return pages
