"""Stages as commands: what the flags say reaches the stage."""

import json
from pathlib import Path

import pytest

from ops.cli import stage_main
from ops.crawl_manifest.config import CrawlManifestConfig
from tests.ops.crawl_warcs import members, page


def test_a_stage_reads_from_where_the_flag_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "warc").mkdir()
    (tmp_path / "warc" / "a.warc.gz").write_bytes(members(page(1), page(2)))
    flags = ["--crawl", "MINE", "--source", '{"class": "WarcFiles"}', "--num-buckets", "1"]
    place = ["--out", str(tmp_path / "out"), "--read-from", str(tmp_path / "warc")]
    assert stage_main("ops.crawl_manifest", CrawlManifestConfig, input_names=(), argv=[*flags, *place]) == 0
    assert json.loads(capsys.readouterr().out)["counts"]["files"] == 1
    assert (tmp_path / "out" / "manifest.parquet").is_file()


def test_a_bad_flag_is_refused_with_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--out", str(tmp_path), "--crawl", "MINE", "--num-buckets", "0"]
    assert stage_main("ops.crawl_manifest", CrawlManifestConfig, input_names=(), argv=argv) == 1
    assert "num_buckets" in capsys.readouterr().err
