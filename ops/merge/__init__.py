"""Merge: the weighted average of a run's checkpoints over a window of steps.

The run must have kept them (`keep_every_steps` of its config). `--input checkpoint=DIR` is the directory of the run.
"""
