"""Prune: a smaller network cut out of a teacher by importance, with the record of what each part was."""
