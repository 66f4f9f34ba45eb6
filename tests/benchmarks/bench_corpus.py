"""A large crawl through every stage of the corpus on this machine: pages per second, peak memory, what was dropped.

`CORPUS_GIGABYTES` (default 1.0) is the size of its pages, `CORPUS_PROCESSES` (default: all cores) that of the pool.
Each stage is a process of its own, so that its peak memory is its own.
"""

import json
import os
import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from ops.crawl_manifest.config import CrawlManifestConfig, WarcFiles
from ops.identity import encode
from tests.benchmarks.sample import sample_pages

BYTES = int(float(os.environ.get("CORPUS_GIGABYTES", "1.0")) * 1e9)
PROCESSES = int(os.environ.get("CORPUS_PROCESSES", str(os.cpu_count() or 1)))
FILE_PAGES = 1_000
MEAN_BYTES = 60_000
"""Of a page before compression."""
CRAWL_PAGES = 2.4e9
"""HTML pages of one Common Crawl (CC-MAIN-2024-22 holds 2.7 billion pages, about nine tenths of them HTML)."""

_BODY = re.compile(rb"<body.*</body>", re.DOTALL)
_WORD = re.compile(rb"(?<=[> ])[a-z]{5,12}(?=[ <.,])")
_SYLLABLES = [a + b for a in b"bcdfghklmnprstvz".decode() for b in "aeiou"]


def variants(pages: list[bytes], num_bytes: int) -> Iterator[bytes]:
    """Pages made of the bodies of several of `pages`, every other word exchanged for one of the new page's own."""
    bodies = [match.group() for page in pages if (match := _BODY.search(page))]
    number = total = 0
    while total < num_bytes:
        rng = random.Random(number)
        names: dict[bytes, bytes] = {}

        def other(match: re.Match[bytes], rng: random.Random = rng, names: dict[bytes, bytes] = names) -> bytes:
            word = match.group()
            if word not in names:
                exchanged = rng.random() < 0.5
                names[word] = "".join(rng.choices(_SYLLABLES, k=rng.randint(2, 5))).encode() if exchanged else word
            return names[word]

        size = rng.expovariate(1 / MEAN_BYTES)
        parts: list[bytes] = []
        while sum(map(len, parts)) < size:
            parts.append(_WORD.sub(other, rng.choice(bodies)))
        page = b"<!DOCTYPE html><html><head><title>Page %d</title></head>" % number + b"".join(parts)
        yield page
        total += len(page)
        number += 1


def write_crawl(folder: Path, pages: list[bytes], num_bytes: int) -> int:
    """WARC files of `variants`; how many pages."""
    folder.mkdir(parents=True)
    made = variants(pages, num_bytes)
    count = 0
    while some := list(islice(made, FILE_PAGES)):
        with (folder / f"synthetic-{count:07d}.warc.gz").open("wb") as file:
            writer = WARCWriter(file, gzip=True)
            for page in some:
                headers = StatusAndHeaders("200 OK", [("Content-Type", "text/html")], protocol="HTTP/1.1")
                url = f"https://site{count % 997}.example.org/page/{count}"
                payload = BytesIO(page)
                writer.write_record(writer.create_warc_record(url, "response", payload=payload, http_headers=headers))
                count += 1
    return count


def stage(name: str, out: Path, inputs: dict[str, list[Path]], config: Any = None, *flags: str) -> dict[str, Any]:
    """Run a stage as a command; its result, wall and CPU seconds, and the largest resident set of its processes."""
    command = [sys.executable, "-m", f"ops.{name}", "--out", str(out), "--num-processes", str(PROCESSES), *flags]
    if config is not None:
        path = out.with_suffix(".config.json")
        path.write_text(json.dumps(encode(config)))
        command += ["--config", str(path)]
    for key, folders in inputs.items():
        command += [part for folder in folders for part in ("--input", f"{key}={folder}")]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    peak = [0.0]
    watcher = threading.Thread(target=_watch, args=(process.pid, peak), daemon=True)
    watcher.start()
    printed = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    watcher.join()
    assert process.returncode == 0, f"{name} failed"
    return {
        **json.loads(printed),
        "seconds": time.perf_counter() - start,
        "cpu": used.ru_utime + used.ru_stime,
        "megabytes": peak[0],
    }


def _watch(pid: int, peak: list[float]) -> None:
    """The largest resident set of a process and its children, each alone, while it lives."""
    while True:
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            for process in (str(pid), *children):
                match = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
                if match:
                    peak[0] = max(peak[0], int(match.group(1)) * 1024 / 1e6)
        except (FileNotFoundError, ProcessLookupError):
            if not Path(f"/proc/{pid}").exists():
                return
        time.sleep(0.1)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc")
def bench_corpus(tmp_path: Path) -> None:
    num_pages = write_crawl(tmp_path / "warc", sample_pages(tmp_path / "sample"), BYTES)
    print(f"\n{num_pages:,} pages of {BYTES / 1e9:.1f} GB through the stages of the corpus, {PROCESSES} processes")
    print(f"  {'stage':<16}{'in':>9}{'out':>9}{'dropped':>9}{'wall s':>9}{'CPU s':>9}{'in/CPU s':>10}{'peak MB':>9}")
    made: dict[str, Path] = {}
    cpu = 0.0

    def go(name: str, inputs: dict[str, str], config: Any = None, *flags: str) -> None:
        nonlocal cpu
        out = made[name] = tmp_path / name
        result = stage(name, out, {key: [made[parent]] for key, parent in inputs.items()}, config, *flags)
        counts = result["counts"]
        dropped = sum(value for key, value in counts.items() if key.startswith("dropped"))
        taken, given = counts.get("documents_in", counts.get("in", 0)), counts.get("documents", counts.get("out", 0))
        cpu += result["cpu"]
        print(
            f"  {name:<16}{taken:>9,}{given:>9,}{dropped:>9,}{result['seconds']:>9.1f}{result['cpu']:>9.1f}"
            f"{taken / result['cpu']:>10.1f}{result['megabytes']:>9.0f}"
        )

    go(
        "crawl_manifest",
        {},
        CrawlManifestConfig(crawl="SYNTHETIC", source=WarcFiles(), num_buckets=1),
        "--read-from",
        str(tmp_path / "warc"),
    )
    go(
        "crawl_pages",
        {"crawl_manifest": "crawl_manifest"},
        None,
        "--bucket",
        "0",
        "--read-from",
        str(tmp_path / "warc"),
    )
    go("extract", {"pages": "crawl_pages"})
    go("clean", {"documents": "extract"})
    go("score", {"cleaned": "clean"})
    go("minhash", {"scored": "score"})
    go("dedup_clusters", {"minhash": "minhash"})
    go("deduplicate", {"scored": "score", "dedup_clusters": "dedup_clusters"})
    go("eval_tasks", {})
    go("decontaminate", {"deduplicated": "deduplicate", "eval_tasks": "eval_tasks"})
    go("tokenizer", {"corpus": "decontaminate"})
    go("tokenize", {"corpus": "decontaminate", "tokenizer": "tokenizer"})
    made["corpus"] = made["decontaminate"]
    stages = {"documents": "extract", "cleaned": "clean", "scored": "score", "deduplicated": "deduplicate"}
    go("ledger", {**stages, "corpus": "corpus"})
    go("export_corpus", {"corpus": "corpus"})
    hours = cpu / num_pages * CRAWL_PAGES / 3600
    print(f"  all stages: {num_pages / cpu:.1f} pages per CPU second; {CRAWL_PAGES:.1e} pages: {hours:,.0f} core-hours")
