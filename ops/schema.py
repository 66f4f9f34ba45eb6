"""Rows of the data stages as Arrow schemas. Every row leads back to its WARC record."""

import pyarrow as pa

PROVENANCE = [
    pa.field("doc_id", pa.string(), nullable=False),  # see `doc_id`
    pa.field("crawl", pa.string(), nullable=False),
    pa.field("url", pa.string(), nullable=False),
    pa.field("warc_filename", pa.string(), nullable=False),
    pa.field("warc_record_offset", pa.int64(), nullable=False),
    pa.field("warc_record_length", pa.int64(), nullable=False),
]

PAGES = pa.schema(
    [
        *PROVENANCE,
        pa.field("fetch_time", pa.string()),  # ISO 8601, from WARC-Date
        pa.field("http_status", pa.int32()),
        pa.field("content_mime_type", pa.string()),  # from the HTTP header, lower case, without parameters
        pa.field("content_charset", pa.string()),  # from the HTTP header, as declared
        pa.field("content_digest", pa.string()),  # WARC-Payload-Digest, verified
        pa.field("content_truncated", pa.string()),  # WARC-Truncated, null when whole
        pa.field("content", pa.binary(), nullable=False),  # the HTTP body, content encoding removed
    ]
)

FORMULA = pa.struct(
    [
        pa.field("latex", pa.string()),
        pa.field("display", pa.bool_()),
        pa.field("carrier", pa.string()),  # name of the carrier it was found in
        pa.field("start", pa.int32()),  # offset of its first character (delimiter included) in `text`
        pa.field("end", pa.int32()),  # offset behind its last character
    ]
)

DOCUMENTS = pa.schema(
    [
        *PROVENANCE,
        pa.field("title", pa.string()),
        pa.field("text", pa.string(), nullable=False),  # Markdown-like, formulas as $...$ and $$...$$
        pa.field("formulas", pa.list_(FORMULA), nullable=False),
        pa.field("encoding", pa.string()),  # the encoding that was used
        pa.field("num_replaced", pa.int32()),  # characters that could not be decoded
        pa.field("kind", pa.string()),  # html, notebook, text
        pa.field("declared_language", pa.string()),  # what the page states of itself, as it states it
        pa.field("canonical_url", pa.string()),
        pa.field("author", pa.string()),
        pa.field("date", pa.string()),
    ]
)

_TEXT = [
    *PROVENANCE,
    pa.field("title", pa.string()),
    pa.field("text", pa.string(), nullable=False),
    pa.field("num_formulas", pa.int32(), nullable=False),
    pa.field("cleaner", pa.string(), nullable=False),  # name and version of the cleaner that made this text
    pa.field("num_paragraphs_dropped", pa.int32(), nullable=False),
]

KEPT_FORMULA = pa.struct(
    [
        pa.field("index", pa.int32()),  # which formula of the document it is
        pa.field("start", pa.int32()),  # where it stands in the cleaned text, delimiters included
        pa.field("end", pa.int32()),
    ]
)

DROPPED_PARAGRAPH = pa.struct(
    [
        pa.field("index", pa.int32()),  # which paragraph of the document it was
        pa.field("reason", pa.string()),
        pa.field("text", pa.string()),
        pa.field("formulas", pa.list_(pa.int32())),  # which formulas of the document went with it
    ]
)

CLEANED = pa.schema(
    [
        *_TEXT,
        pa.field("formulas", pa.list_(KEPT_FORMULA), nullable=False),
        pa.field("dropped_paragraphs", pa.list_(DROPPED_PARAGRAPH), nullable=False),
        pa.field("num_chunks", pa.int32()),  # what was put to a model, one question each; 0 without one
        pa.field("rejected_chunks", pa.list_(pa.string())),  # why answers were not taken, one reason each
    ]
)

SCORED = pa.schema(
    [
        *_TEXT,
        pa.field("language", pa.string(), nullable=False),
        pa.field("language_score", pa.float32(), nullable=False),
        pa.field("math_score", pa.float32(), nullable=False),  # 0 to 5
        pa.field("math_int_score", pa.int8(), nullable=False),  # rounded math_score
    ]
)

DEDUPLICATED = pa.schema(
    [
        *SCORED,
        pa.field("cluster_id", pa.string(), nullable=False),  # doc_id of the cluster's survivor
        pa.field("cluster_size", pa.int32(), nullable=False),
    ]
)

CORPUS = DEDUPLICATED  # after decontamination: the same columns, fewer rows

LEDGER = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("url", pa.string(), nullable=False),
        pa.field("index", pa.int32(), nullable=False),  # which formula of the document it is
        pa.field("carrier", pa.string(), nullable=False),
        pa.field("display", pa.bool_(), nullable=False),
        pa.field("latex", pa.string(), nullable=False),  # as extracted
        pa.field("invalid", pa.string()),  # why it cannot be typeset (`ops.extract.validity`); null: it can
        pa.field("fate", pa.string(), nullable=False),  # kept, changed, lost, document_dropped
        pa.field("stage", pa.string()),  # the stage that did it
        pa.field("reason", pa.string()),
        pa.field("latex_after", pa.string()),  # of a changed one, as it stands in the corpus
    ]
)

DROPPED = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False),
        pa.field("url", pa.string(), nullable=False),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),  # one of few: it becomes a counter
        pa.field("detail", pa.string(), nullable=False),  # evidence for a person
    ]
)


def doc_id(crawl: str, warc_filename: str, warc_record_offset: int) -> str:
    """A document's name for life: 16 hex digits of SHA-256 over crawl, file and offset of its WARC record."""
    import hashlib

    return hashlib.sha256(f"{crawl}\n{warc_filename}\n{warc_record_offset}".encode()).hexdigest()[:16]
