"""Drop documents that hold evaluation items.

Inputs `deduplicated` (DEDUPLICATED parts of a bucket) and `eval_tasks` (its `items.parquet`), output CORPUS parts. Each
`contaminated` drop names the evidence as JSON: task, item, which of its texts, by which rule, and the matched tokens.

Rules over normalised tokens (`ops.decontaminate.tokens`: case, punctuation, white space, number format, LaTeX spelling
and the names of single-letter variables do not count):

- `ngram`: `ngram` tokens in a row that begin in the question.
- `answer`: `answer_ngram` tokens in a row of the gold answer.
- `item`: the whole question, if it is shorter than `ngram` but has `min_item_tokens`, anywhere in the text.
- `line`: the whole question, if it is shorter still or mostly formulas, where it fills whole lines or sentences (a
  label such as "Question 3:" aside). The shortest count as contaminated only with their gold answer behind them.
- `formula`: `latex_ngram` LaTeX tokens in a row of one formula of the question, operators included.
"""
