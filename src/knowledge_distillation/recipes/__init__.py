"""Recipes: YAML files, one per result, and their reader. A recipe is data, never code."""
