"""Settings from the environment: where things lie and how they run. None of them is identity.

| variable | meaning | default |
|---|---|---|
| STILLHOUSE_STORE | URL of the store (`store`, `file:///...`, `s3://bucket/prefix`) | `store` |
| STILLHOUSE_SCRATCH | local directory for work under way and copies | in the store, or `store` |
| STILLHOUSE_S3_ENDPOINT | endpoint of an S3 server that is not AWS | none |
"""

import os
from pathlib import Path

from ops.store import Store


def open_store(url: str | None = None) -> Store:
    """The store at `url`, by default the one that the environment names."""
    url = url or os.environ.get("STILLHOUSE_STORE") or "store"
    scratch = os.environ.get("STILLHOUSE_SCRATCH")
    endpoint = os.environ.get("STILLHOUSE_S3_ENDPOINT")
    options = {"endpoint_url": endpoint} if endpoint and url.startswith("s3://") else {}
    return Store(url, scratch=Path(scratch) if scratch else None, storage_options=options)
