"""Pretrain: a hybrid language model from a pattern string, with AdamW and a warmup-stable-decay schedule.

Training goes on behind the last state in `--out` when it was killed, to the same bytes. Start it under `torchrun`
for data-parallel training.
"""
