"""What the names in `class` and `id` say of an element: boilerplate, comments, a byline, the article.

Names are split at hyphens, underscores and changes of case, and each word is looked up; the answers are remembered, as
the same names come again and again. A hint decides nothing alone: `ops.extract.main_content` weighs it with the sizes.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from ops.extract.words import words

BOILERPLATE = 1
"""Footers, banners, advertisements, forms, links to share or to other pages."""
COMMENTS = 2
"""Readers' comments, or the form for them."""
META = 4
"""A byline, a date, tags, a licence: small things about the article."""
TEASER = 8
"""An excerpt: of this article (its lead) or, with a link, of another."""
CAPTION = 16
HIDDEN = 32
MAIN = 64
HEADER = 128
"""The head of the site or of the article."""
NAVIGATION = 256
WEAK = 512
"""Names of boilerplate and of other things: they hold for what has links in it and little text."""
FORUM = 1024
"""A discussion: what is called comments in it is its content."""

_WORD = re.compile(r"[A-Z]?[a-zà-ÿ]+|[A-Z]+(?![a-z])")
_NEGATION = words("no has with without show not non is type toggle close open enable enabled allow hide")
"""Words that say that the next one is not what the element is, but something about it (`has-sidebar`)."""
_POST = 1 << 20
_PROTECTED = 1 << 21
_SPECIAL = _POST | _PROTECTED
_POST_NAMES = words("hentry type-post type-page status-publish")
"""WordPress's article, whose class names also list its tags and categories."""
_FOREIGN = ("ltx_", "toc-backref", "mjx", "MathJax", "katex", "MJX", "elementor")
"""First letters of names given by renderers of TeX and builders of pages, whose words (`ltx_tag`) mean other things."""
_HIDDEN = words("hidden invisible is-hidden element-invisible hide d-none")
_PROTECTED_NAMES = words(
    "post article entry story message answer question comment-body commentbody post-body post-content entry-content "
    "article-body article-content richtext ztext quote footnote footnotes footnote-list admonition s-prose "
    "js-post-body bbwrapper message-body postbody post_message cooked postcontent mw-parser-output"
)
"""Whole names of a text: what other names of the element say of small things does not hold for it."""
_FOLDED = re.compile(r"spoiler|solution|answer|hint|proof|collaps|accordion|tab|panel|toggle|more|fold|hidden-content")
"""Names of what a reader opens: hidden at first, and content."""

_WORDS: dict[str, int] = {}
for _flag, _names in (
    (
        NAVIGATION,
        "nav navi navbar navbox navigation navpath subnav topnav menu menubar submenu sidenav breadcrumb breadcrumbs "
        "crumbs crumb toc tableofcontents pagination pager pagenav postnav prevnext nextprev nextpost prevpost skip "
        "skiplink sitemap megamenu hamburger flyout rellinks catlinks jumplink backlink backtotop totop scrolltop",
    ),
    (
        BOILERPLATE,
        "sidebar rail foot footer footers masthead toolbar topbar cookie cookies consent gdpr onetrust "
        "share shares shareable sharing sharebar sharedaddy social socials addthis addtoany sociable ssba shariff "
        "related relatedposts relatedarticles recommended recommendation recommendations recommend suggested "
        "yarpp outbrain taboola viral syndication trending mostread reco ticker "
        "advert advertisement advertising advertorial ad ads adsense adbox adslot sponsor sponsored "
        "sponsors promo promotion affiliate anzeige werbung cta "
        "popup popover newsletter newsletters subscribe subscription abo paywall donate "
        "donation spenden search searchform suche login signin signup register registration widgets "
        "disclaimer colophon imprint impressum privacy legal "
        "feedback votecell bookmark wishlist basket captcha tooltip playlist "
        "relatedlinks morelinks linklist furtherreading teilen kontakt",
    ),
    (
        COMMENTS,
        "comment comments commentlist commentform comentarios commentaires commentaire kommentar kommentare respond "
        "disqus livefyre reactions reacties reply replies trackback trackbacks pingback pingbacks akismet nocomments",
    ),
    (
        META,
        "meta metadata postmetadata postmeta entrymeta byline dateline author authors autor auteur authorbox bio "
        "biography vcard date datum pubdate timestamp time copyright copyrights tag tags tagcloud taglist schlagworte "
        "categories license licence lizenz permalink utility credits credit readtime views viewcount usercard "
        "signature userinfo userdetails postprofile",
    ),
    (
        WEAK,
        "widget similar latest popular trend picks banner banners modal overlay lightbox account rating ratings vote "
        "votes voting poll survey quiz favorite favourite cart carousel swiper slick owl info infos infobar notice "
        "profile jobs tabs partner partners links services cats facebook twitter linkedin whatsapp pinterest instagram "
        "follow",
    ),
    (TEASER, "teaser teasers excerpt card cards tile tiles promobox listing"),
    (CAPTION, "caption figcaption legend legende bildunterschrift imagecaption annotation"),
    (HEADER, "header"),
    (
        FORUM,
        "forum forums bbs bbp bbpress phpbb discourse flarum xenforo vbulletin vanilla kunena ips postbit answer "
        "answers answercell question questions discussion discussions",
    ),
    (
        MAIN,
        "article articlebody articletext articlecontent story storybody entry post content main body maincontent "
        "postcontent entrycontent artikel beitrag",
    ),
):
    for _name in _names.split():
        _WORDS[_name] = _WORDS.get(_name, 0) | _flag
_PREFIXES = (
    (re.compile(r"comment(?!ar(?:y|ies)$)|kommentar"), COMMENTS),
    (re.compile(r"breadcrumb|paginat|navig|nav(?:bar|list|link)"), NAVIGATION),
    (
        re.compile(
            r"relatedp|relateda|relatedc|recommend|newslett|cookie|social|advert|footer|sidebar|sponsor|taboola|"
            r"outbrain"
        ),
        BOILERPLATE,
    ),
    (re.compile(r"author|byline|postmeta|tagcloud|taglist"), META),
    (re.compile(r"teaser"), TEASER),
    (re.compile(r"caption"), CAPTION),
)
TAG_HINTS = {
    "nav": NAVIGATION,
    "aside": BOILERPLATE,
    "footer": BOILERPLATE,
    "form": BOILERPLATE,
    "header": HEADER,
    "time": META,
    "figcaption": CAPTION,
    "main": MAIN,
    "article": MAIN,
}
_ROLES = {
    "navigation": NAVIGATION,
    "menu": NAVIGATION,
    "menubar": NAVIGATION,
    "banner": HEADER,
    "contentinfo": BOILERPLATE,
    "search": BOILERPLATE,
    "complementary": BOILERPLATE,
    "dialog": BOILERPLATE,
    "alertdialog": BOILERPLATE,
    "main": MAIN,
    "article": MAIN,
}
_PROPERTIES = {"articleBody": MAIN, "mainEntity": MAIN, "comment": COMMENTS, "author": META, "datePublished": META}
_NOT_SHOWN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden")


def hint(names: Sequence[str]) -> int:
    """The flags of the names in a `class` or `id` attribute."""
    flags = 0
    for name in names:
        flags |= _name_hint(name)
    if flags & _SPECIAL:
        if flags & _POST:
            return MAIN
        flags = (flags | MAIN) & ~(META | TEASER | CAPTION | WEAK | HIDDEN | _PROTECTED)
    return flags


@lru_cache(maxsize=1 << 16)
def _name_hint(name: str) -> int:
    if name in _POST_NAMES:
        return _POST
    flags = _PROTECTED if name.lower() in _PROTECTED_NAMES else 0
    if name in _HIDDEN:
        return flags | HIDDEN
    if name.startswith(_FOREIGN):
        return flags
    before = ""
    for word in _WORD.findall(name):
        word = word.lower()
        if before not in _NEGATION:
            flags |= _word_hint(word)
        before = word
    return flags


@lru_cache(maxsize=1 << 15)
def _word_hint(word: str) -> int:
    known = _WORDS.get(word)
    if known is not None:
        return known
    for pattern, flag in _PREFIXES:
        if pattern.match(word):
            return flag
    return 0


def attribute_hint(attrs: Mapping[str, str | None]) -> int:
    """The flags of an element's other attributes."""
    flags = 0
    if "id" in attrs:
        flags = hint((attrs["id"] or "",))
    if "role" in attrs:
        flags |= _ROLES.get(attrs["role"] or "", 0)
    if "itemprop" in attrs:
        flags |= _PROPERTIES.get(attrs["itemprop"] or "", 0)
    if ("hidden" in attrs or ("style" in attrs and _NOT_SHOWN.search(attrs["style"] or ""))) and not _FOLDED.search(
        f"{attrs.get('class')} {attrs.get('id')}".lower()
    ):
        flags |= HIDDEN
    return flags
