"""Freed memory stays with the process, so that a forward is timed and not the system's handing out of pages."""

from __future__ import annotations

import ctypes
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of glibc's malloc.h."""
LARGEST = 2**30


def keep_freed_memory() -> bool:
    """Tell glibc's allocator to give nothing back; False on other systems, which cannot be told.

    By default it returns the blocks of large tensors at once, and the next forward faults each page of them in anew,
    at a moment that depends on what ran before.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(option, LARGEST) for option in (MMAP_THRESHOLD, TRIM_THRESHOLD))
