"""`kd capture MODEL`: which layers of a model a recipe can name, with the shapes they give."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

SAMPLES = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `kd capture`."""
    parser.add_argument("model", help="name of a model (see `kd list models`), or one of your --module")
    example = parser.add_mutually_exclusive_group(required=True)
    example.add_argument("--data", help="name of the data set whose first batch the model is called with")
    example.add_argument("--shape", help="of one input, such as 3x32x32; the model is called with random numbers")
    parser.add_argument("--set", action="append", default=[], metavar="A=VALUE", help="a setting of the model")
    parser.add_argument("--module", help="a Python file with your own models and data sets")
    parser.add_argument("--json", action="store_true", help="print as JSON")


def run(options: argparse.Namespace) -> None:
    """Print what can be tapped, in the order in which it is computed."""
    from knowledge_distillation.capture import describe
    from knowledge_distillation.domains.catalogue import build_model
    from knowledge_distillation.errors import ConfigError
    from knowledge_distillation.recipes.reading import settings_from
    from knowledge_distillation.recipes.running import own_names

    own = own_names(options.module) if options.module else {}
    example, facts = _of_data(options.data, own) if options.data else _of_shape(options.shape)
    model = build_model(options.model, facts, settings_from(options.set), own)
    try:
        points = describe(model, example, show=False)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{options.model!r} must run on {f'a batch of {options.data}' if options.data else options.shape}, and "
            f"raised {type(error).__name__}: {error}. Give --data or --shape that fit it."
        ) from error
    print(json.dumps([asdict(point) for point in points]) if options.json else points)


def _of_data(name: str, own: Mapping[str, Any]) -> tuple[Any, Mapping[str, int]]:
    from knowledge_distillation.domains.catalogue import build_data

    data = build_data(name, {}, own)
    return next(iter(data.train)), data.facts


def _of_shape(text: str) -> tuple[Any, Mapping[str, int]]:
    import torch

    from knowledge_distillation.errors import ConfigError

    sides = text.split("x")
    if not all(side.isdecimal() and int(side) for side in sides):
        raise ConfigError(
            f"--shape must be whole numbers above 0 with x between them, such as 3x32x32, got {text!r}. Leave the "
            "axis of the samples out."
        )
    shape = [int(side) for side in sides]
    facts = {"channels": shape[0], "size": shape[-1]} if len(shape) == 3 else {}
    return torch.randn(SAMPLES, *shape), facts
