"""Ranged reads and listings, local, over S3 and over HTTP, from servers that are busy at first."""

import errno
from pathlib import Path

import pytest

from ops.errors import InputError
from ops.warc.retry import FetchError, RetryPolicy, ShortRead, is_transient
from ops.warc.source import Source
from tests.ops import crawl_servers
from tests.ops.crawl_servers import FORBIDDEN, SLOW_DOWN, BusyProxy, RangeServer, put_s3, serving
from tests.ops.crawl_warcs import members, page

DATA = bytes(range(256)) * 40
NAMES = ["a/one.warc.gz", "a/b/two.warc", "notes.txt", "three.WARC.GZ"]
QUICK = RetryPolicy(attempts=5, max_delay_s=0.0)


moto_server, s3_endpoint = crawl_servers.moto_server, crawl_servers.s3_endpoint


@pytest.fixture(params=["local", "s3", "http"])
def source(request, tmp_path):
    files = {name: DATA for name in NAMES}
    if request.param == "s3":
        endpoint = request.getfixturevalue("s3_endpoint")
        put_s3(endpoint, files)
        yield Source(root="s3://crawl/root", endpoint_url=endpoint, retry=QUICK)
        return
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    if request.param == "local":
        yield Source(root=str(tmp_path), retry=QUICK)
        return
    with serving(RangeServer(tmp_path).handler()) as address:
        yield Source(root=address, retry=QUICK)


@pytest.mark.parametrize(("offset", "length"), [(0, 10), (1000, 5000), (len(DATA) - 3, 3), (0, len(DATA))])
def test_a_range_is_these_bytes(source, offset, length):
    assert source.read_range("a/one.warc.gz", offset, length) == DATA[offset : offset + length]


@pytest.mark.parametrize("beyond", [-2, 0, 50])
def test_a_range_that_reaches_behind_the_end_is_shorter(source, beyond):
    offset = len(DATA) + beyond
    assert source.read_range("a/one.warc.gz", offset, 10) == DATA[offset:]


def test_what_is_not_there_is_not_tried_again(source):
    with pytest.raises(FileNotFoundError):
        source.read_range("a/absent.warc.gz", 0, 10)


@pytest.mark.parametrize("name", ["../secret.warc.gz", "/etc/passwd", "a/../../x"])
def test_names_stay_below_the_root(source, name):
    with pytest.raises(InputError, match="below the source"):
        source.read_range(name, 0, 1)


def test_a_whole_file_is_a_seekable_stream(source):
    with source.open("a/b/two.warc") as file:
        assert file.read(100) == DATA[:100]
        assert file.seek(0, 2) == len(DATA)
        file.seek(5000)
        assert file.read() == DATA[5000:]


def test_listing(source):
    files = source.warc_files()
    deep = {"a/one.warc.gz", "a/b/two.warc"} if source.protocol != "http" else set()  # one page of links is read
    assert [file.name for file in files] == sorted({"three.WARC.GZ", *deep})
    assert {file.size for file in files} == {len(DATA)}
    assert all(file.version for file in files) is (source.protocol != "http")


def test_a_single_file_is_its_own_listing(source):
    single = Source(root=source.address("a/one.warc.gz"), endpoint_url=source.endpoint_url, retry=QUICK)
    (file,) = single.warc_files()
    assert (file.name, file.size) == ("one.warc.gz", len(DATA))
    assert single.read_range(file.name, 5, 10) == DATA[5:15]


@pytest.mark.parametrize("make", ["missing", "empty"])
def test_a_missing_or_empty_folder_is_an_error_that_names_it(tmp_path, make):
    folder = tmp_path / make
    if make == "empty":
        folder.mkdir()
    with pytest.raises(InputError, match=make):
        Source(root=str(folder)).warc_files()


def test_an_unknown_protocol():
    with pytest.raises(InputError, match="gopher"):
        Source(root="gopher://host/x")


@pytest.mark.parametrize("answers", [[SLOW_DOWN], [FORBIDDEN, SLOW_DOWN, SLOW_DOWN], [(500, b"oops"), (429, b"slow")]])
def test_s3_is_asked_again_later_and_later(s3_endpoint, answers, monkeypatch):
    put_s3(s3_endpoint, {"one.warc.gz": DATA})
    proxy = BusyProxy(s3_endpoint, lambda method, path: answers if method == "GET" else [])
    delays: list[float] = []
    policy = RetryPolicy(attempts=6, first_delay_s=1.0, max_delay_s=3.0)
    monkeypatch.setattr(policy.stopped, "wait", delays.append)
    with serving(proxy.handler()) as address:
        source = Source(root="s3://crawl/root", endpoint_url=address, retry=policy)
        assert source.read_range("one.warc.gz", 7, 100) == DATA[7:107]
    assert proxy.refused == len(answers)
    assert len(delays) == len(answers)
    for number, delay in enumerate(delays):
        assert min(3.0, 2.0**number) / 2 <= delay <= min(3.0, 2.0**number)


def test_a_server_that_stays_busy_ends_in_an_error_that_says_so(s3_endpoint):
    put_s3(s3_endpoint, {"one.warc.gz": DATA})
    proxy = BusyProxy(s3_endpoint, lambda method, path: [SLOW_DOWN] * 99)
    with serving(proxy.handler()) as address:
        source = Source(root="s3://crawl/root", endpoint_url=address, retry=QUICK)
        with pytest.raises(FetchError, match=r"one\.warc\.gz: failed 5 times.*request rate"):
            source.read_range("one.warc.gz", 0, 10)
    assert proxy.refused == 5


def test_http_is_asked_again(tmp_path):
    (tmp_path / "one.warc.gz").write_bytes(DATA)
    with serving(RangeServer(tmp_path).handler()) as upstream:
        proxy = BusyProxy(upstream, lambda method, path: [SLOW_DOWN, FORBIDDEN])
        with serving(proxy.handler()) as address:
            source = Source(root=address, retry=QUICK)
            assert source.read_range("one.warc.gz", 7, 100) == DATA[7:107]
    assert proxy.refused == 2


def test_a_server_that_ignores_ranges_is_refused(tmp_path):
    (tmp_path / "one.warc.gz").write_bytes(DATA)
    with (
        serving(RangeServer(tmp_path, ranges=False).handler()) as address,
        pytest.raises(InputError, match="ignores ranges"),
    ):
        Source(root=address, retry=QUICK).read_range("one.warc.gz", 5, 10)


class WithStatus(Exception):
    def __init__(self, status: int) -> None:
        self.status = status


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (FileNotFoundError(), False),
        (InputError("x"), False),
        (KeyError("bug"), False),
        (WithStatus(404), False),
        (WithStatus(416), False),
        (WithStatus(403), True),
        (WithStatus(503), True),
        (ShortRead("x"), True),
        (PermissionError(), True),
        (OSError(errno.EBUSY, "Please reduce your request rate."), True),
        (ConnectionResetError(), True),
        (TimeoutError(), True),
    ],
)
def test_what_is_tried_again(error, transient):
    assert is_transient(error) is transient


def test_bugs_are_not_tried_again():
    calls: list[int] = []

    def broken() -> None:
        calls.append(1)
        raise KeyError("bug")

    with pytest.raises(KeyError):
        QUICK.call(broken, "x")
    assert calls == [1]


def test_no_attempts_are_refused():
    with pytest.raises(InputError, match="attempts"):
        RetryPolicy(attempts=0)


def test_a_remote_file_is_read_like_a_local_one(s3_endpoint):
    from ops.warc.archive import read_archive

    data = members(*[page(number) for number in range(20)])
    put_s3(s3_endpoint, {"one.warc.gz": data})
    with Source(root="s3://crawl/root", endpoint_url=s3_endpoint).open("one.warc.gz") as file:
        items = list(read_archive(file, "one", max_block_bytes=10_000))
    assert [item.url for item in items] == [f"https://site.example/{number}" for number in range(20)]


def test_the_local_path_may_be_a_file_url(tmp_path: Path):
    (tmp_path / "one.warc").write_bytes(page(0))
    assert [file.name for file in Source(root=f"file://{tmp_path}").warc_files()] == ["one.warc"]
