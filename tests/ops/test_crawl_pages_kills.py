"""Pages of a bucket from many goes: stopped or killed anywhere and taken up again, the bytes are the same."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.crawl_pages.pages import PageReader
from ops.stage import Execution
from tests.ops.crawl_stages import CRAWL, captures, digests, make_manifest, read_pages, select
from tests.ops.crawl_warcs import write_common_crawl

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    """Two manifests, `files` and `ranges`, of the same crawl, and the pages of both."""
    root = tmp_path_factory.mktemp("undisturbed")
    write_common_crawl(root / "cc", CRAWL, captures(20), files=4)
    with next((root / "cc").rglob("*-00002.warc.gz")).open("ab") as stream:
        stream.write(b"a tail of garbage")
    execution = Execution(source=str(root / "cc"))
    make_manifest(root / "cc", root / "files")
    select(execution, root / "ranges")
    for kind in ("files", "ranges"):
        read_pages(root / kind, root / f"pages_of_{kind}", execution)
    return root


class Killed(BaseException):
    pass


@settings(max_examples=20)
@given(moments=st.lists(st.integers(1, 90), max_size=4), kind=st.sampled_from(["files", "ranges"]))
def test_stopped_anywhere_and_taken_up_again_the_bytes_are_the_same(undisturbed, tmp_path_factory, moments, kind):
    out = tmp_path_factory.mktemp("resumed")
    execution = Execution(source=str(undisturbed / "cc"))
    add = PageReader.add
    for moment in moments:
        left = [moment]

        def dies(self, item, batch, left=left):
            left[0] -= 1
            if left[0] == 0:
                raise Killed
            add(self, item, batch)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(PageReader, "add", dies)
            try:
                read_pages(undisturbed / kind, out, execution)
            except Killed:
                assert left[0] == 0
    read_pages(undisturbed / kind, out, execution)
    assert digests(out) == digests(undisturbed / f"pages_of_{kind}")


DIES = """
import os, signal, sys
from pathlib import Path
from ops.crawl_pages.config import CrawlPagesConfig
from ops.crawl_pages.pages import PageReader
from ops.crawl_pages.run import run
from ops.stage import Execution

manifest, out, source, left = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
add = PageReader.add

def dies(self, item, batch):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    add(self, item, batch)

PageReader.add = dies
run(CrawlPagesConfig(bucket=0, max_page_bytes=50_000), {"crawl_manifest": [manifest]}, out, Execution(source=source))
"""


def test_killed_processes_leave_nothing_that_shows(undisturbed, tmp_path):
    out = tmp_path / "out"
    for moment in (3, 25):
        command = [
            sys.executable,
            "-c",
            DIES,
            str(undisturbed / "files"),
            str(out),
            str(undisturbed / "cc"),
            str(moment),
        ]
        result = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False)
        assert result.returncode == -signal.SIGKILL
    for path in out.rglob(".*.tmp"):  # what the store sweeps away before a stage goes on
        path.unlink()
    read_pages(undisturbed / "files", out, Execution(source=str(undisturbed / "cc")))
    assert digests(out) == digests(undisturbed / "pages_of_files")
