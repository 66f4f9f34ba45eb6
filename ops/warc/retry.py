"""Trying again, later and later: for servers that say they are busy."""

import logging
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from ops.errors import InputError, StillhouseError

T = TypeVar("T")
logger = logging.getLogger("stillhouse")

TRANSIENT_STATUS = frozenset({403, 408, 425, 429, 500, 502, 503, 504})
"""HTTP answers that may change. 403 is how Common Crawl's servers refuse clients that ask too fast."""


class FetchError(StillhouseError):
    """A remote file could not be read however often it was tried. Nothing is lost: run again to go on."""


class ShortRead(StillhouseError):
    """A ranged read gave another number of bytes than asked for."""


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """Exponential back-off with jitter: try `attempts` times, waiting up to `first_delay_s * 2**n` in between.

    With the defaults it waits two to three minutes in all.
    """

    attempts: int = 10
    first_delay_s: float = 0.5
    max_delay_s: float = 60.0
    stopped: threading.Event = field(default_factory=threading.Event)
    """Set from another thread, it ends all waiting: nothing is tried again."""

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise InputError(f"attempts: must be at least 1, got {self.attempts}")

    def call(self, action: Callable[[], T], what: str) -> T:
        """The result of `action`, tried again while it fails for a reason that may pass.

        Raises:
            FetchError: when the last attempt failed as well.
            InputError: when there are no credentials for an S3 request that is signed.
        """
        for attempt in range(self.attempts):
            try:
                return action()
            except Exception as error:
                if type(error).__name__ == "NoCredentialsError":
                    raise InputError(f"{what}: no AWS credentials were found") from error
                if not is_transient(error):
                    raise
                if attempt + 1 == self.attempts:
                    message = f"{what}: failed {self.attempts} times, last with {type(error).__name__}: {error}"
                    raise FetchError(message) from error
                longest = min(self.max_delay_s, self.first_delay_s * 2**attempt)
                delay = longest * random.uniform(0.5, 1.0)
                logger.info("%s: %s: %s; again in %.1f s", what, type(error).__name__, error, delay)
                if self.stopped.wait(delay):
                    raise FetchError(f"{what}: given up, as reading was stopped") from error
        raise AssertionError("unreachable: attempts is at least 1")


def is_transient(error: BaseException) -> bool:
    """Whether trying again may help: busy servers, broken connections, timeouts; never a file that is not there."""
    if isinstance(error, ShortRead):
        return True
    if isinstance(error, StillhouseError | FileNotFoundError | IsADirectoryError | NotADirectoryError):
        return False
    status = getattr(error, "status", None)
    if isinstance(status, int):
        return status in TRANSIENT_STATUS
    if isinstance(error, OSError):
        return True
    return type(error).__module__.partition(".")[0] in {"aiohttp", "botocore", "aiobotocore", "urllib3"}
