"""Distil: a pruned student learns the teacher's distribution over the whole vocabulary (forward KL).

Training goes on behind the last state in `--out` when it was killed, to the same bytes. Start it under `torchrun`
for data-parallel training.
"""
