"""Breaks the losses on purpose, one small change at a time, to see whether the tests notice."""
