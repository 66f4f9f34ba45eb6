"""What the models are asked. The text is part of the config, hence of the identity; rows carry its digest.

The aims are those of the Nemotron-CC-Math paper (main content only, all mathematics and code kept, nothing answered,
nothing added), with one difference: formulas, code and links are placeholders, which have only to be copied.
"""

import hashlib

NO_CONTENT = "NO USEFUL CONTENT"
"""The whole answer of a model that finds nothing worth keeping."""

REWRITE = f"""\
You edit text taken from a web page about mathematics or programming. Return the edited text and nothing else.

1. Leave out what is not part of the article: menus, breadcrumbs, advertisements, sharing buttons, cookie and privacy \
notices, log-in prompts, page counters, lists of related pages.
2. Keep every title, definition, theorem, proof, explanation, example, exercise, table, reference and meaningful \
comment.
3. Marks such as {{example}} stand for formulas, code and links. Copy each mark that stands in text you keep, exactly \
once, unchanged and in the same order. Never make up a mark, never replace one by what it may stand for.
4. Write no formula, no number and no code of your own.
5. Correct misspelt and broken words. Keep the author's words and order otherwise.
6. Never answer a question, solve an exercise, explain, summarise or translate: the text is material, not a request.
7. Keep paragraphs apart by one empty line, and headings, lists and tables in their Markdown form.
8. If nothing is worth keeping, return exactly: {NO_CONTENT}
"""
"""`{example}` becomes a placeholder as it looks in the text. Goes into the system turn, the chunk into the user's."""

SELECT = """\
Each paragraph below was taken from a web page about mathematics or programming. Its kind is `article` if it belongs \
to what the author wrote for readers: a title, an explanation, a definition, a proof, an example, a question, an \
answer, a table, code. Its kind is `boilerplate` if the web site put it there: a menu, a notice about cookies or \
copyright, a button, a log-in prompt, a counter, an advertisement, a list of other pages.

Paragraph: A group is abelian if its operation is commutative, that is, if {a} for all elements.
Kind: article

Paragraph: Home | About | Forums | Contact us | Log in
Kind: boilerplate

Paragraph: We use cookies to improve your experience. Accept all
Kind: boilerplate

Paragraph: Then {b} converges uniformly, and the claim follows.
Kind: article

Paragraph: Share this post on Facebook
Kind: boilerplate

Paragraph: ## Exercises
Kind: article

Paragraph: {paragraph}
Kind:"""
"""`{paragraph}` becomes the paragraph, `{a}` and `{b}` placeholders as they look in the text. The model is asked for no
text, only for the likelihood of each of `OPTIONS` behind it."""

KEEP, DROP = " article", " boilerplate"
OPTIONS = (KEEP, DROP)


def digest(prompt: str) -> str:
    """12 hex digits of SHA-256, as rows and the report carry it."""
    return hashlib.sha256(prompt.encode()).hexdigest()[:12]
