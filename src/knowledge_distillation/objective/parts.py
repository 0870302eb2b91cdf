"""Settings that a loss takes from the teacher itself: a term asks for them with the value "auto"."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from knowledge_distillation.capture.description import default_tensor, paths_by_module, probe
from knowledge_distillation.capture.paths import modules_by_path, unwrap
from knowledge_distillation.capture.reader import INPUT
from knowledge_distillation.errors import ConfigError
from knowledge_distillation.losses.features.ofd import margin_from_batch_norm
from knowledge_distillation.objective.layers import last_linear

HEADS = ("num_attention_heads", "num_heads", "n_heads")


def classifier(model: nn.Module, example: Any, paths: Sequence[str]) -> nn.Module:
    """The last linear layer of the teacher."""
    return modules_by_path(model)[last_linear("classifier", model, "teacher")]


def heads(model: nn.Module, example: Any, paths: Sequence[str]) -> int:
    """The attention heads of the module that holds the tapped layers; of the model's config where it does not say.

    Raises:
        ConfigError: if neither says.
    """
    holder = modules_by_path(model).get(paths[0].rpartition(".")[0])
    for owner in (holder, getattr(unwrap(model), "config", None)):
        for name in HEADS:
            count = getattr(owner, name, None)
            if isinstance(count, int):
                return count
    raise ConfigError(
        f"heads='auto' needs the number of attention heads, and neither {type(holder).__name__} nor the teacher's "
        f"config has one of {', '.join(HEADS)}. Set heads to the number."
    )


def margins(model: nn.Module, example: Any, paths: Sequence[str]) -> list[Tensor] | None:
    """For each tapped layer, the margins of the batch normalisation before it; None where one has none."""
    inner = unwrap(model)
    by_module = paths_by_module(inner)
    watched = {path.removeprefix(INPUT) for path in paths}
    latest: list[nn.Module] = []
    found: dict[str, nn.Module] = {}

    def read(module: nn.Module, output: Any) -> None:
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm)):
            latest[:] = [module]
        tensor = default_tensor(output)
        if by_module[module] in watched and latest and tensor is not None:
            (norm,) = latest
            if getattr(norm, "num_features", None) == tensor.shape[1]:
                found[by_module[module]] = norm
            latest.clear()  # it belongs to this stage, and none of the later ones may take it

    probe(inner, example, read)
    norms = [found[name] for path in paths if (name := path.removeprefix(INPUT)) in found]
    return [margin_from_batch_norm(norm) for norm in norms] if len(norms) == len(paths) else None


def stage_weights(model: nn.Module, example: Any, paths: Sequence[str]) -> list[float]:
    """1 for the last of the tapped layers, half as much for each one before it."""
    return [0.5 ** (len(paths) - 1 - stage) for stage in range(len(paths))]


PARTS: Mapping[str, Callable[[nn.Module, Any, Sequence[str]], Any]] = {
    "classifier": classifier,
    "heads": heads,
    "margins": margins,
    "stage_weights": stage_weights,
}
"""Setting -> (teacher's model, example batch, the term's signals of the teacher) -> its value."""
