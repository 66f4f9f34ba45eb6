"""The rule-based cleaner: lines of boilerplate, repeated lines, Unicode and white space, and whole-document rules."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

from ops.clean.config import RuleCleaner
from ops.clean.contract import ContractViolation, check_surroundings
from ops.clean.document import Decision, ProtectedDocument, Verdict

_NAVIGATION = r"(?:previous|prev|next|up|home|index|contents|back|top|first|last|modules|forward|genindex)"
_PLACE = r"(?:\ (?:page|post|topic|article|chapter|section|lesson|entry))?"
_ACTION = r"(?:share|tweet|pin|email|print|like|reply|comment|report|flag|quote|save|follow)"
_NETWORK = r"(?:facebook|twitter|x|linkedin|reddit|whatsapp|pinterest|e-?mail|mastodon|bluesky)"
_SIGN = r"(?:(?:log|sign)\ ?-?(?:in|out|up)|register|create\ (?:an\ )?account)"
_ALTERNATIVES = (
    # cookies and consent
    r"(?:this\ (?:web)?site|we|our\ (?:web)?site)\ uses?\ cookies\b.*",
    r"(?:accept|reject|manage|allow)\ (?:all\ )?(?:cookies|cookie\ (?:settings|preferences))\b.*",
    r"by\ (?:continuing|using)\b.*\bcookies?\b.*",
    r"cookie\ (?:policy|settings|preferences|consent)\W*",
    # ownership
    r"(?:copyright|©|\(c\))[\ ©,]*(?:\(c\)\ *)?(?:by\ )?\d{4}.*",
    r".*\ball\ rights\ reserved\b.*",
    r"(?:terms\ (?:of\ (?:use|service)|and\ conditions)|privacy\ (?:policy|notice)|legal\ notice|contact\ us)"
    r"(?:\ ?[|·•/,][\w\ ]*)*\W*",
    r"(?:powered|generated|hosted)\ (?:by|with|using|automatically\ by)\ .{1,60}",
    r"(?:page\ )?last\ (?:updated|modified|edited|changed)\b.{0,60}",
    # sharing and accounts
    rf"(?:share|tweet)(?:\ (?:this(?:\ (?:page|post|article))?|it))?(?:\ (?:on|via|to|with)\ {_NETWORK})?\W*",
    rf"{_ACTION}(?:\W+{_ACTION})+\W*",
    rf"(?:share|follow\ us|find\ us|join\ us)\ on\ {_NETWORK}(?:\W+(?:and\ |or\ )?{_NETWORK})*\W*",
    r"subscribe\ to\b.{0,60}(?:newsletter|feed|channel|updates|mailing).*",
    r"sign\ up\ (?:for|to)\b.{0,60}newsletter.*",
    rf"{_SIGN}(?:\W+(?:or\ )?{_SIGN})*\W*",
    # moving around
    rf"\W*(?:previous|prev|next|home){_PLACE}\W*",
    rf"\W*{_NAVIGATION}{_PLACE}(?:\W+{_NAVIGATION}{_PLACE})+\W*",
    r"(?:previous|next)(?:\ (?:topic|page|post|article|chapter))?\s*[:»›→>←«‹<].{1,80}",
    r"(?:(?:go\ )?back\ to\ (?:the\ )?(?:top|home|index|list|search|blog|main\ page)|(?:return|scroll)\ to\ top)\W*",
    r"(?:jump|skip)\ to\ (?:main\ )?(?:content|navigation|search)\W*",
    r"(?:edit|improve|view|show|report)\ (?:this\ page|page\ source|on\ github|an\ issue)(?:\ on\ \w+)?\W*",
    r"page\ \d+\ of\ \d+\W*",
    r"(?:read|show|see|load)\ (?:more|less)\W*",
    # what a script should have replaced
    r"(?:loading|please\ wait)\W*",
    r"(?:please\ )?(?:enable|turn\ on)\ javascript.*",
    r"(?:your\ browser\ does\ not\ support|javascript\ (?:is|must\ be)\ (?:disabled|enabled|required)).*",
    # advertisements and feedback
    r"advertisements?\W*",
    r"sponsored(?:\ (?:content|links?|post))?\W*",
    r"(?:was\ this\ (?:page|article|answer)\ helpful|did\ you\ find\ this\ (?:page|article)\ helpful).*",
    r"(?:leave|post|add|write)\ (?:a|your)\ (?:comment|reply)\W*",
)
_HEADINGS = (
    r"(?:navigation|main\ menu|quick\ search|table\ of\ contents|on\ this\ page|this\ page)\W*",
    r"(?:related\ (?:posts|articles|pages|links)|you\ (?:may|might)\ also\ like|(?:popular|recent)\ posts)\W*",
)
_BOILERPLATE = re.compile("|".join((*_ALTERNATIVES, *_HEADINGS)), re.IGNORECASE)
_BOILERPLATE_HEADING = re.compile("|".join(_HEADINGS), re.IGNORECASE)
_CRUMB = r"[A-Z][\w'&,/-]{2,25}(?: [\w'&,/-]{1,25}){0,4}"
_BREADCRUMB = re.compile(rf"(?:{_CRUMB}\s*[»›>|·•]\s*){{2,}}{_CRUMB}")
_MARK = re.compile(r"^[ >]*(?:#{1,6} |[-*] |\d+\. )?")
_HEADING = re.compile(r"^[ >]*#{1,6} ")
_LOOSE = re.compile(r"  | \n| \Z|\n\n|\A\n|\n\Z")
_SPACES = re.compile(r"(?<=\S)[ \t]+")
_CONTROL = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x9f\u00ad\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2060\ufeff\ufffe\uffff]"
)
_WIDE_SPACES = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000\t]")
_LETTERS = re.compile(r"[^\W\d_]+")
_WORDS = re.compile(r"\w+")


class Rules:
    """See `RuleCleaner` for the thresholds. Cleaning a cleaned document changes nothing."""

    name = "rules"
    version = "1"

    def __init__(self, config: RuleCleaner) -> None:
        self.config = config

    def clean(self, documents: Sequence[ProtectedDocument]) -> list[Verdict]:
        """One verdict a document; no cleaner state is shared between documents."""
        return [self._clean(document) for document in documents]

    def _clean(self, document: ProtectedDocument) -> Verdict:
        normal = [normalize(paragraph, document.placeholder) for paragraph in document.paragraphs]
        bare = [[(line, _MARK.sub("", line).strip()) for line in paragraph.split("\n")] for paragraph in normal]
        lines = Counter(line.casefold() for paragraph in bare for _, line in paragraph)
        seen: set[str] = set()
        decisions = [
            self._decide(paragraph, pairs, document, lines, seen) for paragraph, pairs in zip(normal, bare, strict=True)
        ]
        reason, detail = self.judge(document, normal, decisions)
        return Verdict(decisions=tuple(decisions), drop_reason=reason, drop_detail=detail)

    def _decide(
        self,
        paragraph: str,
        pairs: Sequence[tuple[str, str]],
        document: ProtectedDocument,
        lines: Counter[str],
        seen: set[str],
    ) -> Decision:
        """`pairs` are the lines of the paragraph, as they are and without the mark of a heading or list item."""
        kept: list[str] = []
        reason = ""
        for line, bare in pairs:
            key = bare.casefold()  # lines are compared by it
            if document.opening in line and document.placeholder.search(line):
                kept.append(line)
            elif self._is_boilerplate(line, bare):
                reason = "boilerplate"
            elif lines[key] > self.config.most_repeats and key in seen and len(_WORDS.findall(key)) >= 3:
                reason = "repeated_line"
            else:
                kept.append(line)
                seen.add(key)
        if len(kept) == len(pairs) and paragraph.strip():
            return Decision(keep=True, text=paragraph)
        if not any(line.strip() for line in kept):
            return Decision(keep=False, reason=reason or "empty")
        text = "\n".join(kept)
        return Decision(keep=True, text=text if _reads_alike(document.placeholder, paragraph, text) else paragraph)

    def _is_boilerplate(self, line: str, bare: str) -> bool:
        if not bare or len(bare) > self.config.longest_boilerplate or line.lstrip(" >").startswith("|"):
            return False
        if "#" in line and _HEADING.match(line):
            return _BOILERPLATE_HEADING.fullmatch(bare) is not None
        return _BOILERPLATE.fullmatch(bare) is not None or _BREADCRUMB.fullmatch(bare) is not None

    def judge(
        self, document: ProtectedDocument, before: Sequence[str], decisions: Sequence[Decision]
    ) -> tuple[str | None, str]:
        """Whether the document as a whole goes: reason and evidence. `before` are its paragraphs, normalised."""
        counted = Counter(paragraph.strip() for paragraph in before)
        total = sum(map(len, before))
        repeated = sum(len(paragraph) * (count - 1) for paragraph, count in counted.items() if count > 1)
        if len(before) >= 6 and repeated > self.config.most_duplicate * total:
            return "repetition", f"{repeated} of {total} characters in repeated paragraphs"
        paragraphs = [decision.text or "" for decision in decisions if decision.keep]
        names = [name for paragraph in paragraphs for name in document.placeholder.findall(paragraph)]
        prose = document.placeholder.sub("", "\n\n".join(paragraphs))
        num_chars = len(prose) + sum(len(document.spans[name].text) for name in names)
        if num_chars < self.config.least_chars:
            return "too_short", f"{num_chars} characters"
        if not any(document.spans[name].formulas for name in names):
            visible = sum(map(len, prose.split()))
            letters = sum(map(len, _LETTERS.findall(prose)))
            if letters < self.config.least_alphabetic * visible:
                return "no_alphabet", f"{letters} letters of {visible} visible characters"
        return None, ""


def normalize(paragraph: str, placeholder: re.Pattern[str]) -> str:
    """NFC, no control or invisible characters, single spaces inside lines, no empty lines; placeholders untouched.

    A paragraph that would read as other mathematics or code that way (an invisible character kept a backslash from a
    letter, or two formulas apart) stays as it is.
    """
    if _is_plain(placeholder.sub("", paragraph)) and not _LOOSE.search(paragraph):
        return paragraph
    pieces: list[str] = []
    position = 0
    for match in placeholder.finditer(paragraph):
        pieces += [_characters(paragraph[position : match.start()]), match.group()]
        position = match.end()
    pieces.append(_characters(paragraph[position:]))
    lines = [(_SPACES.sub(" ", line) if "  " in line else line).rstrip() for line in "".join(pieces).split("\n")]
    clean = "\n".join(line for line in lines if line)
    return clean if _reads_alike(placeholder, paragraph, clean) else paragraph


def _is_plain(text: str) -> bool:
    """Whether it holds nothing but printable ASCII and ends of lines: most text does, and nothing is to be done."""
    return text.isascii() and text.replace("\n", "").isprintable()


def _reads_alike(placeholder: re.Pattern[str], before: str, after: str) -> bool:
    """Whether mathematics and code read in `after` as in `before`."""
    try:
        if after != before:
            check_surroundings(placeholder, before, after)
    except ContractViolation:
        return False
    return True


def _characters(text: str) -> str:
    if _is_plain(text):
        return text
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = _WIDE_SPACES.sub(" ", _CONTROL.sub("", text))
    return text if unicodedata.is_normalized("NFC", text) else unicodedata.normalize("NFC", text)
