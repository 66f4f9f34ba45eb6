"""Recipes by name: Python functions that return the whole of what decides a family."""

from collections.abc import Callable

from assets.recipes.demo import demo
from assets.recipes.half_hour import half_hour
from assets.recipes.paper import nano_9b_v2, nemotron_h_8b
from assets.recipes.recipe import Recipe, Student
from assets.recipes.small import small

RECIPES: dict[str, Callable[[], Recipe]] = {
    "demo": demo,
    "half_hour": half_hour,
    "small": small,
    "nemotron_h_8b": nemotron_h_8b,
    "nano_9b_v2": nano_9b_v2,
}

__all__ = ["RECIPES", "Recipe", "Student"]
