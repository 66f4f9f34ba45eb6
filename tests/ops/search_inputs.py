"""The teacher of the tests of the search."""

from dataclasses import replace

from tests.ops.training_inputs import tiny_model

TEACHER = replace(tiny_model(320, pattern="M*-M-"), initializer_range=0.15)
