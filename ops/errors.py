"""Errors a user can act on. Everything else is a bug and keeps its traceback."""


class StillhouseError(Exception):
    """Base of all errors that name what is wrong and what to do."""


class InputError(StillhouseError, ValueError):
    """A file, row, field or setting that cannot be used; the message names it."""


class StoreError(StillhouseError):
    """The store cannot serve or take an artefact."""


class ArtifactMissing(StoreError):
    """No accepted record for this identity: its stage has not run yet."""


class ArtifactRejected(StoreError):
    """The artefact exists but failed a blocking check, so it feeds no child."""


class ArtifactCorrupt(StoreError):
    """A record or file in the store is not what was written."""
