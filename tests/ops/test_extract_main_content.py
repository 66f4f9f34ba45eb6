"""What stays of a page and what goes. Every page here is made up, after the markup of real generators."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.extract import extract_page
from ops.extract.hints import BOILERPLATE, COMMENTS, FORUM, HIDDEN, MAIN, META, NAVIGATION, WEAK, hint

SENTENCE = "The sum of two even numbers is even, and so is their product whatever they are. "
ARTICLE = f"<p>{SENTENCE * 4}</p><p>{SENTENCE * 3}</p><p>{SENTENCE * 5}</p>"


def text_of(body: str, url: str | None = None) -> str:
    return extract_page(f"<html><body>{body}</body></html>", url=url).text


@pytest.mark.parametrize(
    ("names", "flag"),
    [
        ("site-footer", BOILERPLATE),
        ("relatedArticles", BOILERPLATE),
        ("jp-relatedposts", BOILERPLATE),
        ("breadcrumb-navigation", NAVIGATION),
        ("entry-meta", META),
        ("comments-area", COMMENTS),
        ("kommentarModul", COMMENTS),
        ("elementor-widget-wrap", 0),
        ("swiper-slide", WEAK),
        ("bbp-reply-content", FORUM),
        ("d-none", HIDDEN),
    ],
)
def test_names_say_what_an_element_is(names: str, flag: int) -> None:
    assert hint(names.split()) & flag == flag
    assert flag or not hint(names.split()) & ~MAIN


@pytest.mark.parametrize(
    ("names", "flag"),
    [
        ("has-sidebar", BOILERPLATE),
        ("no-comments", COMMENTS),
        ("ltx_tag ltx_tag_equation", META),
        ("commentary", COMMENTS),
        ("post hentry tag-algebra category-news", META),
        ("post original_post_author", META),
        ("node--promoted field--label-hidden", BOILERPLATE | HIDDEN),
        ("katex-html", BOILERPLATE | META | WEAK),
    ],
)
def test_names_that_only_look_like_it(names: str, flag: int) -> None:
    assert not hint(names.split()) & flag


GONE = {
    "cookie banner": '<div id="cookie-consent"><p>We use cookies to improve your visit to this site. OK?</p></div>',
    "breadcrumb": (
        '<ul class="breadcrumb"><li><a href="/">Start</a></li><li>Even numbers, an overview of them</li></ul>'
    ),
    "related": (
        '<div class="related-posts"><h3>Related</h3><ul><li><a '
        'href="a">Odd numbers and why they are odd</a></li></ul></div>'
    ),
    "share bar": '<div class="sharedaddy"><h3>Share this:</h3><ul><li><a href="t">Twitter</a></li></ul></div>',
    "author's biography": (
        '<section class="author-bio"><p>Emmy teaches algebra and lives with two cats by the sea.</p></section>'
    ),
    "tags": '<div class="entry-tags">Filed under: <a href="x">numbers</a>, <a href="y">parity</a></div>',
    "comment form": (
        '<div id="respond"><h3>Leave a Reply</h3><form><p>Your email address will not be published.</p></form></div>'
    ),
    "comments": (
        '<ol class="comment-list"><li class="comment"><p>Thanks, this was really useful for my homework!</p></li></ol>'
    ),
    "byline": '<p class="byline">By <a href="/emmy">Emmy</a> on 3 May 2020</p>',
    "date": "<p>03.05.2020, 14:15</p>",
    "photo credit": "<p>Photo: E. Noether / Agency</p>",
    "read more": '<p><a href="/more">Read also: prime numbers for beginners</a></p>',
    "legal notice": (
        '<div class="legal-notice privacy"><p>All content is provided without any warranty whatsoever.</p></div>'
    ),
    "sidebar": (
        '<div class="sidebar"><h4>Calendar</h4><p>Mo Tu We Th Fr Sa Su 1 2 3 4 5 6 7 8 9 10 11 12 13 14</p></div>'
    ),
    "hidden": '<div style="display:none"><p>Your session has expired, please sign in again now.</p></div>',
    "login": '<form class="login-form"><label>User name</label> <label>Password of at least ten letters</label></form>',
    "skip link": '<a class="skip-link" href="#main">Skip to content</a>',
    "footer": "<footer><p>Copyright 2020 by nobody at all, all rights reserved.</p></footer>",
    "pager": '<div class="pagination"><a href="1">Older entries</a> <a href="2">Newer entries</a></div>',
    "link list": '<h3>Elsewhere</h3><ul><li><a href="1">First link</a></li><li><a href="2">Second link</a></li></ul>',
}


@pytest.mark.parametrize("name", GONE)
@pytest.mark.parametrize("place", ["inside", "outside"])
def test_boilerplate_goes(name: str, place: str) -> None:
    inside, outside = (GONE[name], "") if place == "inside" else ("", GONE[name])
    text = text_of(f'<div id="page"><article class="post"><h1>Parity</h1>{ARTICLE}{inside}</article>{outside}</div>')
    assert text == extract_page(f"<article><h1>Parity</h1>{ARTICLE}</article>").text


STAYS = {
    "lead": '<p class="article-teaser">Whoever adds even numbers gets an even number, always.</p>',
    "lead in a header": (
        '<header class="entry-header"><p class="lead">Whoever adds even numbers gets an even number.</p></header>'
    ),
    "infobox": '<div class="info-box"><p>An even number is one that two divides without a remainder.</p></div>',
    "page builder": (
        '<div class="elementor-widget elementor-widget-text"><p>'
        "An even number is a multiple of two, zero too.</p></div>"
    ),
    "spoiler": '<div class="spoiler" style="display:none"><p>The answer is that zero is an even number.</p></div>',
    "caption of a figure": (
        "<figure><img src=a.png><figcaption>Figure 2. Even numbers on the line of all numbers.</figcaption></figure>"
    ),
    "reference": "<ul><li>Gauss, <a href=g>Disquisitiones</a>, Leipzig 1801, in Latin, section one and two.</li></ul>",
    "quotation": '<aside class="quote"><p>All is number, and the even ones are the better half.</p></aside>',
    "details": "<details><summary>Proof of the claim</summary><p>Write them as twice a number and add.</p></details>",
}


@pytest.mark.parametrize("name", STAYS)
def test_parts_of_the_article_stay(name: str) -> None:
    piece = STAYS[name]
    text = text_of(f'<div id="page"><article class="post"><h1>Parity</h1>{piece}{ARTICLE}</article></div>')
    alone = extract_page(f"<p>{'x ' * 400}</p>{piece}").text
    assert alone.splitlines()[-1] in text


def test_comments_with_mathematics_stay() -> None:
    comments = (
        '<ol class="comment-list"><li class="comment"><p>Thanks a lot for this explanation of it!</p></li>'
        r'<li class="comment"><p>Why not say \(2 \mid n\) at once?</p></li></ol>'
    )
    text = text_of(f'<article class="post"><h1>Parity</h1>{ARTICLE}</article><div id="comments">{comments}</div>')
    assert r"Why not say $2 \mid n$ at once?" in text
    assert "Thanks" not in text


FORUMS = {
    "Stack Exchange": (
        '<div class="question"><div class="s-prose js-post-body"><p>{q}</p></div><ul class="comments-list"><li '
        'class="comment"><span class="comment-copy">{c}</span></li></ul></div><div id="answers"><div class="answer">'
        '<div class="s-prose js-post-body"><p>{a}</p></div></div></div>'
    ),
    "Discourse": (
        '<div class="topic-body crawler-post"><div class="post"><p>{q}</p></div></div>'
        '<div class="topic-body crawler-post voting-post"><div class="post" itemprop="comment"><p>{c}</p></div></div>'
        '<div class="topic-body crawler-post"><div class="cooked"><p>{a}</p></div></div>'
    ),
    "Invision": (
        '<article class="cPost ipsComment" id="elComment_1"><p>{q}</p></article>'
        '<article class="cPost ipsComment" id="elComment_2"><p>{c}</p></article>'
        '<article class="cPost ipsComment" id="elComment_3"><p>{a}</p></article>'
    ),
    "bbPress": (
        '<ul class="bbp-replies"><li><div class="bbp-reply-content"><p>{q}</p></div></li><li><div '
        'class="bbp-reply-content"><p>{c}</p></div></li><li><div class="bbp-reply-content"><p>{a}</p></div></li></ul>'
    ),
    "XenForo": (
        '<article class="message message--post"><div class="bbWrapper">{q}</div></article><article class="message '
        'message--post"><div class="bbWrapper">{c}</div></article><article class="message message--post">{a}</article>'
    ),
}


@pytest.mark.parametrize("forum", FORUMS)
def test_a_discussion_keeps_its_posts(forum: str) -> None:
    posts = {
        "q": "Is zero even? " + SENTENCE * 2,
        "c": "What is your definition of an even number, please?",
        "a": "It is twice zero. " + SENTENCE * 6,
    }
    page = FORUMS[forum].format(**posts)
    user = '<div class="user-card signature"><a href="/u/1">emmy</a> 12 votes</div>'
    text = text_of(f"<h1>Zero</h1>{page}{user}", url="https://example.org/forum/topic/12-zero/")
    for post in posts.values():
        assert post.strip() in text
    assert "votes" not in text


def test_headings_go_with_what_is_below_them() -> None:
    below = (
        '<h2>Links</h2><div class="related"><ul><li><a href=a>One</a></li></ul></div><h2>Proof</h2><p>Twice one.</p>'
    )
    text = text_of(f"<article><h1>Parity</h1>{ARTICLE}{below}</article>")
    assert "Links" not in text
    assert text.endswith("## Proof\n\nTwice one.")


def test_a_page_that_is_all_of_one_name_is_kept() -> None:
    for names in ("sidebar", "related", "teaser", "meta", "comments", "widget", "hidden"):
        assert SENTENCE.strip() in text_of(f'<div class="{names}">{ARTICLE}</div>'), names


def test_a_long_noscript_is_the_page_and_a_short_one_is_not() -> None:
    assert SENTENCE.strip() in text_of(f"<div id=app></div><noscript>{ARTICLE}</noscript>")
    assert "JavaScript" not in text_of(f"{ARTICLE}<noscript>Please enable JavaScript.</noscript>")


def test_reading_aids_are_left_out() -> None:
    assert text_of("<p><ruby>数<rp>(</rp><rt>すう</rt><rp>)</rp></ruby>学</p>") == "数学"


BLOCKS = st.sampled_from([*GONE.values(), *STAYS.values(), f"<p>{SENTENCE}</p>", "<h2>Next</h2>"])


@given(st.lists(st.tuples(BLOCKS, st.sampled_from(["", "article", "section", "div"])), max_size=8), st.integers(0, 8))
def test_no_formula_of_running_text_is_lost(blocks: list[tuple[str, str]], place: int) -> None:
    formula = r"<p>Hence \(a^2 + b_7\) holds.</p>"
    pieces = [f"<{tag}>{piece}</{tag}>" if tag else piece for piece, tag in blocks]
    pieces.insert(place, formula)
    page = extract_page(f"<body>{''.join(pieces)}{ARTICLE}</body>")
    assert [found.latex for found in page.formulas] == ["a^2 + b_7"]
