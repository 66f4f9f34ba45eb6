"""Extraction beside the peers that are installed here: speed, formulas and main content, one process, the same pages.

Pages come from a sample crawl; from the formula benchmark and, where `EXTRACT_EVAL` names a checkout of trafilatura's
`tests` folder (`evaldata.json`, `eval/`, `cache/`), from its evaluation set, scored with its own rule.
"""

import importlib
import importlib.util
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from ops.extract import ExtractConfig, PageRejected, extract_page
from tests.benchmarks.sample import sample_pages
from tests.ops.mathbench import BENCH, load, score_pages

Extractor = Callable[[bytes], str]
MOST_TIMED = 80
MEAN_BYTES = 190_000
"""Pages that are timed, and how large they are on average."""
MEMORY_PAGES = 2_000


def _ours(config: ExtractConfig) -> Extractor:
    def extract(page: bytes) -> str:
        try:
            return extract_page(page, config=config).text
        except PageRejected:
            return ""

    return extract


def _contenders() -> dict[str, Extractor]:
    """Ours, and the peers that are installed; the others are named."""
    contenders = {"stillhouse": _ours(ExtractConfig())}
    if importlib.util.find_spec("trafilatura"):
        trafilatura = importlib.import_module("trafilatura")
        contenders["trafilatura"] = lambda page: trafilatura.extract(page, include_comments=False) or ""
    if importlib.util.find_spec("resiliparse"):
        extract_plain_text = importlib.import_module("resiliparse.extract.html2text").extract_plain_text
        encoding = importlib.import_module("resiliparse.parse.encoding")
        contenders["resiliparse"] = lambda page: extract_plain_text(
            encoding.bytes_to_str(page, encoding.detect_encoding(page)), main_content=True
        )
    if shutil.which("lynx"):
        contenders["lynx"] = _ours(ExtractConfig(renderer="lynx"))
    for name in ("trafilatura", "resiliparse", "lynx"):
        if name not in contenders:
            print(f"  {name:<14}not installed")
    return contenders


def _cpu_seconds(extract: Extractor, pages: list[bytes]) -> float:
    """Seconds of one core, of this process and of the children it waited for; the better of two runs."""
    seconds: list[float] = []
    for _ in range(2):
        before = os.times()
        for page in pages:
            extract(page)
        after = os.times()
        seconds.append(sum(after[:4]) - sum(before[:4]))
    return min(seconds)


def _show_speed(title: str, contenders: Mapping[str, Extractor], pages: list[bytes]) -> None:
    print(f"\n{title}: {len(pages)} pages of {sum(map(len, pages)) / len(pages) / 1e3:.0f} kB, CPU seconds of one core")
    for name, extract in contenders.items():
        seconds = _cpu_seconds(extract, pages)
        print(f"  {name:<14}{1e3 * seconds / len(pages):>9.1f} ms/page{len(pages) / seconds:>9.1f} pages/s")


def bench_speed_on_a_sample_crawl(tmp_path: Path) -> None:
    pages = sample_pages(tmp_path)
    _show_speed("sample crawl", _contenders(), pages[:MOST_TIMED])


@pytest.mark.skipif(not BENCH.is_dir(), reason=f"no formula benchmark at {BENCH.name} beside the checkout")
def bench_formulas() -> None:
    pages = load("dev.jsonl.gz")
    print(f"\nformulas between delimiters, {len(pages)} pages of {BENCH.name}/dev")
    for name, extract in _contenders().items():
        total = score_pages(pages, lambda html, extract=extract: extract(html.encode()))["all"]
        print(f"  {name:<14}recall {total.recall:.3f}  precision {total.precision:.3f}")


def _evaluation_set() -> tuple[dict[str, dict[str, Any]], dict[str, bytes]] | None:
    folder = Path(os.environ.get("EXTRACT_EVAL", ""))
    if not os.environ.get("EXTRACT_EVAL") or not (folder / "evaldata.json").is_file():
        return None
    items: dict[str, dict[str, Any]] = json.loads((folder / "evaldata.json").read_text())
    pages: dict[str, bytes] = {}
    for url, item in sorted(items.items()):
        path = next(
            path for path in (folder / "cache" / item["file"], folder / "eval" / item["file"]) if path.is_file()
        )
        pages[url] = path.read_bytes()
    return items, pages


def main_content_counts(item: Mapping[str, Any], text: str) -> tuple[int, int, int]:
    """Right, wrong and missing segments of a page, as trafilatura's `count_item` counts them."""
    normal = re.sub(r"\s+", " ", text).strip()
    wanted = [re.sub(r"\s+", " ", segment).strip() in normal for segment in item["with"]]
    unwanted = [re.sub(r"\s+", " ", segment).strip() in normal for segment in item["without"]]
    return sum(wanted), sum(unwanted), len(wanted) - sum(wanted)


def bench_main_content() -> None:
    evaluation = _evaluation_set()
    if evaluation is None:
        pytest.skip("EXTRACT_EVAL names no checkout of trafilatura's tests")
    items, pages = evaluation
    contenders = _contenders()
    large = sorted(pages.values(), key=lambda page: abs(len(page) - MEAN_BYTES))[:MOST_TIMED]
    _show_speed("trafilatura's evaluation set", contenders, large)
    print(f"\nmain content, trafilatura's evaluation set: {len(pages)} pages, its own scorer")
    for name, extract in contenders.items():
        if name == "lynx":
            continue
        start = time.process_time()
        counts = [main_content_counts(items[url], extract(page)) for url, page in pages.items()]
        right, wrong, missing = (sum(column) for column in zip(*counts, strict=True))
        f1 = 2 * right / (2 * right + wrong + missing)
        print(
            f"  {name:<14}F1 {f1:.4f}  precision {right / (right + wrong):.4f}  recall {right / (right + missing):.4f}"
            f"  {len(pages) / (time.process_time() - start):>7.1f} pages/s"
        )


def _resident_megabytes() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc")
def bench_memory(tmp_path: Path) -> None:
    """Resident memory of this process while pages pass through it."""
    evaluation = _evaluation_set()
    pages = sample_pages(tmp_path) if evaluation is None else list(evaluation[1].values())
    extract = _ours(ExtractConfig())
    start = _resident_megabytes()
    print(f"\nresident memory, with {sum(map(len, pages)) / 1e6:.0f} MB of pages held: {start:.0f} MB at the start")
    for number in range(1, MEMORY_PAGES + 1):
        extract(pages[number % len(pages)])
        if number in (MEMORY_PAGES // 10, MEMORY_PAGES // 2, MEMORY_PAGES):
            print(f"  after {number:>6} pages {_resident_megabytes() - start:>8.1f} MB more")
