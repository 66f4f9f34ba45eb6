"""Importance: one forward-only pass of a teacher over calibration data scores its channels, heads and layers."""
