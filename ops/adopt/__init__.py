"""Adopt: a `nemotron_h` checkpoint from elsewhere becomes an artefact, so that it can be a teacher.

`--source` is its directory. It is read strictly: every tensor that its config.json asks for, and no other.
"""
