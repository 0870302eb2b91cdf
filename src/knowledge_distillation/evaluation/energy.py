"""Energy of an answer, estimated by codecarbon without network (an extra)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from knowledge_distillation.errors import MissingExtraError


def measure_energy(
    call: Callable[[], Any], items: int, *, seconds: float = 3.0, country: str = "USA"
) -> dict[str, Any]:
    """Call again and again for some seconds, and divide the energy by the items.

    Args:
        call: answers `items` samples.
        items: samples a call, >= 1.
        seconds: how long, > 0; codecarbon reads the sensors, or reckons from the processor's model, all along.
        country: ISO code of three letters; for the emissions, not for the energy.

    Returns:
        {"joules_per_item", "kwh", "kg_co2", "items", "seconds", "how"}; of the whole machine, idle share included.

    Raises:
        MissingExtraError: if codecarbon is not installed; names the extra.
    """
    try:
        from codecarbon import OfflineEmissionsTracker
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "Energy estimates need codecarbon, which is not installed. Run: pip install "
            "'knowledge-distillation-toolkit[energy]', or leave out energy=True."
        ) from error
    logging.getLogger("codecarbon").setLevel(logging.CRITICAL)  # its own argument comes too late for its first lines
    tracker = OfflineEmissionsTracker(
        country_iso_code=country,
        save_to_file=False,
        log_level="critical",
        measure_power_secs=1,
        allow_multiple_runs=True,
    )
    calls = 0
    tracker.start()  # looks for sensors, which takes seconds
    started = time.perf_counter()
    try:
        while calls == 0 or time.perf_counter() - started < seconds:
            call()
            calls += 1
        spent = time.perf_counter() - started
    finally:
        emissions = tracker.stop()
    kwh = float(tracker.final_emissions_data.energy_consumed)
    return {
        "joules_per_item": kwh * 3.6e6 / (calls * items),
        "kwh": kwh,
        "kg_co2": None if emissions is None else float(emissions),
        "items": calls * items,
        "seconds": spent,
        "how": f"codecarbon, offline, {calls} calls of {items} items in {spent:.1f} s; power of the whole machine, "
        f"sensors where there are any, else reckoned from the processor; emissions for {country}",
    }
