"""Where WARC files lie: a folder, a single file, an S3 prefix or a web server. Named files, read whole or by range."""

import errno
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec

from ops.errors import InputError
from ops.warc.retry import RetryPolicy, ShortRead

SUFFIXES = (".warc", ".warc.gz")
BLOCK_BYTES = 8 * 1024 * 1024
TIMEOUT_S = 60
REMOTE = ("s3", "http", "https")


@dataclass(frozen=True, kw_only=True, slots=True)
class FileInfo:
    """A file below the root. `version`: what changes when it is replaced (ETag, or time of the last change in ns)."""

    name: str
    size: int
    version: str | None


@dataclass(frozen=True, kw_only=True)
class Source:
    """Files below `root`, by their name relative to it.

    `root` is a local path, `s3://bucket/prefix` or `https://host/path`. S3 requests are signed when the usual AWS
    settings hold credentials, and anonymous otherwise.
    """

    root: str
    endpoint_url: str | None = None
    retry: RetryPolicy = field(default_factory=RetryPolicy)

    def __post_init__(self) -> None:
        if self.protocol not in ("file", *REMOTE):
            raise InputError(f"source: {self.root!r} is no local path, s3://, http:// or https:// address")

    @property
    def protocol(self) -> str:
        return self.root.partition("://")[0] if "://" in self.root else "file"

    @property
    def is_remote(self) -> bool:
        return self.protocol in REMOTE

    def filesystem(self) -> Any:
        """The fsspec file system of the root. Retries are this module's alone, so that they do not multiply."""
        if self.protocol == "s3":
            filesystem = fsspec.filesystem(
                "s3",
                anon=not has_aws_credentials(),
                endpoint_url=self.endpoint_url,
                use_listings_cache=False,
                config_kwargs={
                    "retries": {"total_max_attempts": 1},
                    "connect_timeout": TIMEOUT_S,
                    "read_timeout": TIMEOUT_S,
                },
            )
            filesystem.retries = 1
            return filesystem
        if self.is_remote:
            import aiohttp

            timeout = aiohttp.ClientTimeout(total=10 * TIMEOUT_S, connect=TIMEOUT_S, sock_read=TIMEOUT_S)
            return fsspec.filesystem("http", client_kwargs={"timeout": timeout}, use_listings_cache=False)
        return fsspec.filesystem("file")

    def address(self, name: str) -> str:
        """Full path or URL of a file.

        Raises:
            InputError: for a name that leads out of the root.
        """
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise InputError(f"{name!r}: not a path below the source")
        if not self.is_remote:
            root = Path(self.root.removeprefix("file://"))
            return str(root if root.is_file() and name == root.name else root / name)
        root = self.root.rstrip("/")
        return root if _is_warc(root) and name == root.rpartition("/")[2] else f"{root}/{name}"

    def warc_files(self) -> list[FileInfo]:
        """Every `*.warc` and `*.warc.gz` below the root, or the root itself when it is a file, sorted by name.

        A web server is asked for one page of links; the files must be on it.

        Raises:
            InputError: when the root does not exist or has none.
        """
        found = [self._local_info(path) for path in self._local_paths()] if not self.is_remote else self._remote_infos()
        if not found:
            raise InputError(f"{self.root}: no {' or '.join('*' + suffix for suffix in SUFFIXES)} file below it")
        return sorted(found, key=lambda info: info.name)

    def size(self, name: str) -> int:
        """Bytes of a file.

        Raises:
            FileNotFoundError: when it is not there.
            FetchError: when the server did not answer.
        """
        address = self.address(name)
        if not self.is_remote:
            return Path(address).stat().st_size
        size = self.retry.call(lambda: self.filesystem().info(address)["size"], address)
        if size is None:
            raise InputError(f"{address}: the server does not say how large it is")
        return size

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        """`length` bytes from `offset`; fewer when the file ends before that.

        Raises:
            FileNotFoundError: when it is not there.
            FetchError: when the server did not give the bytes.
        """
        address = self.address(name)
        if not self.is_remote:
            with open(address, "rb") as file:
                file.seek(offset)
                return file.read(length)

        def fetch() -> bytes:
            filesystem = self.filesystem()
            try:
                data = filesystem.cat_file(address, start=offset, end=offset + length)
            except Exception as error:
                if not _is_behind_end(error):
                    raise
                data = b""
            if len(data) > length:
                raise InputError(f"{address}: the server ignores ranges: {len(data)} bytes for {length}")
            if len(data) < length and len(data) != max(0, filesystem.info(address)["size"] - offset):
                raise ShortRead(f"{address}: {len(data)} bytes for the range {offset}+{length}")
            return data

        return self.retry.call(fetch, address)

    def open(self, name: str) -> io.BufferedReader:
        """The file, seekable, for reading from front to end; a remote one is read in large ranges.

        Raises:
            FileNotFoundError: when it is not there.
        """
        if not self.is_remote:
            return open(self.address(name), "rb")
        raw = _RangedFile(self, name, self.size(name))
        return io.BufferedReader(raw, buffer_size=BLOCK_BYTES)

    def _local_paths(self) -> list[Path]:
        root = Path(self.root.removeprefix("file://"))
        if root.is_file():
            return [root]
        if not root.is_dir():
            raise InputError(f"{root}: no such file or folder")
        return [path for path in root.rglob("*") if _is_warc(path.name) and path.is_file()]

    def _local_info(self, path: Path) -> FileInfo:
        root = Path(self.root.removeprefix("file://"))
        status = path.stat()
        name = path.name if path == root else path.relative_to(root).as_posix()
        return FileInfo(name=name, size=status.st_size, version=str(status.st_mtime_ns))

    def _remote_infos(self) -> list[FileInfo]:
        root = self.root.rstrip("/")
        filesystem = self.filesystem()
        if _is_warc(root):
            try:
                details = [self.retry.call(lambda: filesystem.info(root), root)]
            except FileNotFoundError:
                raise InputError(f"{root}: no such file") from None
            return [self._remote_info(details[0], root.rpartition("/")[2])]
        depth = None if self.protocol == "s3" else 1
        try:
            listing = self.retry.call(lambda: filesystem.find(root, maxdepth=depth, detail=True), root)
        except FileNotFoundError:
            raise InputError(f"{root}: nothing there") from None
        prefix = filesystem._strip_protocol(root) + "/"
        infos = []
        for path, details in sorted(listing.items()):
            if _is_warc(path):
                if details.get("size") is None:
                    details = self.retry.call(lambda path=path: filesystem.info(path), path)
                infos.append(self._remote_info(details, path.removeprefix(prefix)))
        return infos

    def _remote_info(self, details: Mapping[str, Any], name: str) -> FileInfo:
        if details.get("size") is None:
            raise InputError(f"{self.address(name)}: the server does not say how large it is")
        etag = details.get("ETag")
        return FileInfo(name=name, size=details["size"], version=etag.strip('"') if etag else None)


class _RangedFile(io.RawIOBase):
    """A remote file as a raw stream of ranged reads."""

    def __init__(self, source: Source, name: str, size: int) -> None:
        self._source, self._name, self._size, self._position = source, name, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = start + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        length = min(len(buffer), self._size - self._position)
        if length <= 0:
            return 0
        data = self._source.read_range(self._name, self._position, length)
        if len(data) != length:
            raise InputError(f"{self._source.address(self._name)}: it became shorter while it was read")
        buffer[:length] = data
        self._position += length
        return length


def has_aws_credentials() -> bool:
    """Whether the usual AWS settings (environment, files, instance role) hold credentials."""
    import botocore.session

    return botocore.session.get_session().get_credentials() is not None


def _is_behind_end(error: Exception) -> bool:
    """Whether the server says that the range begins behind the end of the file (416, `InvalidRange`)."""
    return getattr(error, "status", None) == 416 or getattr(error, "errno", None) == errno.EINVAL


def _is_warc(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)
