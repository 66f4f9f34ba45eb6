"""Evaluate: bits per byte on held-out text, multiple-choice and gold-answer tasks, and the speed of a checkpoint."""
