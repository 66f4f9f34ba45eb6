"""Stores on disk, in memory and on S3, and artefacts of the toy stage."""

import uuid
from pathlib import Path

import pytest

from ops.execute import Request, Stage, execute
from ops.stage import Execution
from ops.store import Record, Store
from tests.ops.toy import ToyConfig

TOY = Stage(package="tests.ops.toy", version="1")
HERE = Execution()


@pytest.fixture(params=["file", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "file":
        return Store(str(tmp_path / "store"))
    if request.param == "memory":
        return Store(f"memory://{uuid.uuid4().hex}", scratch=tmp_path / "scratch")
    from tests.ops.crawl_servers import put_s3  # not at the top: child processes of the tests import this file

    endpoint = request.getfixturevalue("s3_endpoint")
    url = put_s3(endpoint, {}) + f"/{uuid.uuid4().hex}"
    return Store(url, scratch=tmp_path / "scratch", storage_options={"endpoint_url": endpoint})


def request(asset: str = "a", **config) -> Request:
    return Request(asset=asset, stage=TOY, config=ToyConfig(**config))


def chain(store: Store) -> dict[str, Record]:
    made: dict[str, Record] = {}
    for name, parents in {"a": [], "b": ["a"], "c": ["b"], "d": ["a", "c"], "e": []}.items():
        inputs = {parent: [made[parent]] for parent in parents}
        made[name] = execute(store, Request(asset=name, stage=TOY, config=ToyConfig(), inputs=inputs), HERE).record
    return made
