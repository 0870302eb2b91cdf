"""Values that people write where something else must stand."""

from __future__ import annotations

from typing import Any

NAN, INFINITY, HUGE = float("nan"), float("inf"), 10**400
NO_NUMBER: tuple[Any, ...] = (None, "1", "", "ß☃", True, [1], {}, (), 1j, b"1", NAN)
NOT_POSITIVE: tuple[Any, ...] = (0, -1, -1e-30, INFINITY, -INFINITY, HUGE, *NO_NUMBER)
NEGATIVE: tuple[Any, ...] = (-1, -1e-30, INFINITY, -INFINITY, HUGE, *NO_NUMBER)
NO_COUNT: tuple[Any, ...] = (0, -1, 1.5, 2.0, INFINITY, *NO_NUMBER)
NO_NAME: tuple[Any, ...] = (5, True, 1.5, NAN, [], ["kd"], b"kd", "", " ", "ß☃", "KD ", "a" * 3000, "../kd", "\0")
NO_FLAG: tuple[Any, ...] = (None, "no", "yes", 0, 1, 2.5, [], NAN)
NO_MAPPING: tuple[Any, ...] = (5, "x", [1], True, NAN, b"x")
NO_PATH: tuple[Any, ...] = (5, True, 1.5, b"x", ["x"], {}, "\0", "a" * 3000)
