"""A student with narrower layers: the teacher's most important channels, by structured pruning."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from knowledge_distillation.accepted import is_finite_number
from knowledge_distillation.capture.calls import call, undisturbed
from knowledge_distillation.capture.paths import modules_by_path, unwrap
from knowledge_distillation.errors import ConfigError, MissingExtraError, nearest
from knowledge_distillation.students.configurations import check_configuration
from knowledge_distillation.students.heads import Attention, attentions

logger = logging.getLogger(__name__)

INNER_WIDTHS = (
    "intermediate_size", "encoder_ffn_dim", "decoder_ffn_dim", "ffn_dim", "d_ff", "hidden_dim", "n_inner",
)  # fmt: skip
"""Names under which Hugging Face configurations keep the inner width of the feed-forward blocks."""


def narrow(
    teacher: nn.Module, example: Any, ratio: float | Mapping[str, float] = 0.5, *, ignored: Sequence[str] = ()
) -> nn.Module:
    """A copy of the teacher with fewer channels in each layer: those with the largest weights.

    Torch-Pruning finds which layers share their channels, through shortcuts, depthwise convolutions, concatenations
    and norms, and takes the same channels out of all of them. What the model takes in and gives out keeps its size.
    Transformers keep the width that their blocks hand on; whole attention heads and the inner channels of the
    feed-forward blocks go. Where the heads cannot be taken out, only the feed-forward blocks are narrowed, with a
    warning: Torch-Pruning cannot follow rotary positions through them, for one.

    Args:
        teacher: convolutional networks and transformers of linear layers, as far as Torch-Pruning can follow them.
        example: one batch on the teacher's device: a tensor, a tuple of positional inputs, a mapping of keyword inputs.
        ratio: share of the channels that stay, between 0 and 1; or module path or glob -> share, and all other layers
            keep theirs.
        ignored: module paths or globs of layers that keep their outputs' width.

    Returns:
        The student, in the teacher's mode. A layer keeps at least one channel.

    Raises:
        ConfigError: if a share does not lie between 0 and 1, a path matches nothing, or the model cannot be narrowed.
        MissingExtraError: if torch-pruning is not installed.

    Reference: Fang et al. (2023), DepGraph, arXiv:2301.12900; importance is the L2 norm over a group of layers.
    """
    shares = ratio if isinstance(ratio, Mapping) else {"": ratio}
    for share in shares.values():
        if not is_finite_number(share) or not 0 < share < 1:
            raise ConfigError(f"ratio is the share of the channels that stay, between 0 and 1; got {share!r}.")
    source = unwrap(teacher)
    found = list(attentions(source))
    attempts = [False]
    if any(attention.heads > 1 for attention in found):
        rotary = any("rotary" in type(module).__name__.lower() for module in source.modules())
        if rotary:  # Torch-Pruning walks in circles through the halves that rotation swaps
            logger.warning("%s has rotary positions: its attention heads stay.", type(source).__name__)
        attempts = [False] if rotary else [True, False]
    for with_heads in attempts:
        student = copy.deepcopy(source)
        try:
            with torch.enable_grad(), warnings.catch_warnings():
                # such parameters lie on the width that blocks hand on, which stays
                warnings.filterwarnings("ignore", message="Unwrapped parameters detected")
                _prune(student, example, ratio, ignored, with_heads)
            _check(source, student, example)
        except (ConfigError, MissingExtraError):
            raise
        except Exception as error:
            failure = error
            if with_heads:
                logger.warning(
                    "The attention heads of this %s could not be taken out (%s: %s); only its feed-forward blocks are "
                    "narrowed.", type(source).__name__, type(error).__name__, _first_line(error),
                )  # fmt: skip
        else:
            check_configuration(student)
            return student
    raise ConfigError(
        f"{type(source).__name__} cannot be narrowed: {type(failure).__name__}: {_first_line(failure)}. Torch-Pruning "
        "could not follow its layers, or a layer that gives out results was narrowed. Name layers that keep their "
        "width in ignored=, or take fewer layers (keep_layers) or low rank (factorise)."
    ) from failure


def _prune(
    student: nn.Module, example: Any, ratio: float | Mapping[str, float], ignored: Sequence[str], with_heads: bool
) -> None:
    pruning = _torch_pruning()
    modes = {module: module.training for module in student.modules()}
    trained = {name: value.requires_grad for name, value in student.named_parameters()}
    student.requires_grad_(True)  # layers are followed along the graph of gradients
    keep = _matching(student, ignored)
    found = list(attentions(student))
    heads = [attention for attention in found if with_heads and attention.heads > 1]
    roots = [module for module in student.modules() if isinstance(module, (nn.Linear, nn.modules.conv._ConvNd))]
    inside = [layer for attention in found if attention not in heads for layer in attention.projections]
    keep = [*keep, *inside, *_last_layers(student, example)]
    if found or any(isinstance(module, nn.MultiheadAttention) for module in student.modules()):
        projections = [layer for attention in found for layer in attention.projections]
        keep += _handing_on(pruning, student, example, [layer for layer in roots if layer not in [*keep, *projections]])
    whole = not isinstance(ratio, Mapping)
    wanted = ratio if isinstance(ratio, Mapping) else {"*": ratio}
    shares = {layer: 1 - share for path, share in wanted.items() for layer in _matching(student, [path])}
    # Of a layer that would lose all its channels, the library would take none; of heads it would take the last.
    head_shares = {
        layer: min(shares[layer], _all_but_one(attention.heads))
        for attention in heads
        for layer in attention.projections
        if layer in shares
    }
    shares |= {layer: min(shares[layer], _most(layer)) for layer in roots if layer in shares}
    before = [layer.weight.shape for layer in roots]
    pruner = pruning.pruner.BasePruner(
        student,
        example,
        importance=pruning.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=0.0,
        pruning_ratio_dict=shares,
        ignored_layers=keep,
        in_channel_groups={},  # the library's defaults are shared between calls
        out_channel_groups={},
        num_heads={layer: attention.heads for attention in heads for layer in attention.projections},
        prune_num_heads=True,
        prune_head_dims=False,
        head_pruning_ratio=0.0,
        head_pruning_ratio_dict=head_shares,
        root_module_types=[nn.modules.conv._ConvNd, nn.Linear],
        forward_fn=_tensors,
    )
    pruner.step()
    for attention in heads:
        attention.narrowed(pruner.num_heads[attention.projections[0]])
    for module, training in modes.items():
        module.training = training
    for name, value in student.named_parameters():
        value.requires_grad_(trained[name])
    if before == [layer.weight.shape for layer in roots]:
        raise ConfigError(
            f"Nothing in {type(student).__name__} could be narrowed{'' if whole else ' by these paths'}: every layer "
            "either gives out results, hands on the width of a transformer's blocks, or was ignored."
        )
    _count_anew(student, heads, before, roots)


def _most(layer: Any) -> float:
    """The largest share of its channels that a layer can lose: one channel stays, or one of each group."""
    groups: int = getattr(layer, "groups", 1)
    outputs = layer.weight.shape[1] * groups if getattr(layer, "transposed", False) else layer.weight.shape[0]
    return _all_but_one(outputs // groups)


def _all_but_one(count: int) -> float:
    """A share of `count` things that takes all but one, however the product is rounded."""
    return 1 - 1 / count - 1e-6


def _handing_on(pruning: Any, student: nn.Module, example: Any, roots: Iterable[nn.Module]) -> list[nn.Module]:
    """Layers whose channels a norm, an embedding or a bare parameter shares: the width that blocks hand on."""
    graph = pruning.DependencyGraph().build_dependency(student, example, forward_fn=_tensors, verbose=False)
    found = []
    for layer in roots:
        if layer not in graph.module2node:
            continue
        group = graph.get_pruning_group(layer, graph.get_pruner_of_module(layer).prune_out_channels, [0])
        for dependency, _ in group:
            target = dependency.target.module
            shares = isinstance(target, nn.Parameter) or (
                graph.is_out_channel_pruning_fn(dependency.handler)
                and not isinstance(target, nn.Linear)
                and any(True for _ in target.parameters())
            )
            if shares:
                found.append(layer)
                break
    return found


def _last_layers(student: nn.Module, example: Any) -> list[nn.Module]:
    """Layers whose output the model gives out as it is, and the one that is called last."""
    calls: list[tuple[nn.Module, int]] = []

    def note(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            calls.append((module, output.untyped_storage().data_ptr()))
            alive.append(output)

    alive: list[Tensor] = []  # so that no storage is used twice while the model runs
    kinds = (nn.Linear, nn.modules.conv._ConvNd)
    handles = [module.register_forward_hook(note) for module in student.modules() if isinstance(module, kinds)]
    try:
        with undisturbed(student):
            given = {tensor.untyped_storage().data_ptr() for tensor in _flat(call(student, example))}
    finally:
        for handle in handles:
            handle.remove()
    return [module for module, place in calls if place in given] + [module for module, _ in calls[-1:]]


def _check(teacher: nn.Module, student: nn.Module, example: Any) -> None:
    with undisturbed(teacher), undisturbed(student):
        theirs, ours = ([tuple(tensor.shape) for tensor in _flat(call(model, example))] for model in (teacher, student))
    if theirs != ours:
        raise ValueError(f"its outputs would change their sizes from {theirs} to {ours}")


def _tensors(model: nn.Module, example: Any) -> list[Tensor]:
    return [tensor for tensor in _flat(call(model, example)) if tensor.grad_fn is not None]


def _flat(output: Any) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output]
    if isinstance(output, Mapping):
        output = list(output.values())
    return [tensor for entry in output for tensor in _flat(entry)] if isinstance(output, (list, tuple)) else []


def _matching(student: nn.Module, patterns: Sequence[str]) -> list[nn.Module]:
    known = modules_by_path(student)
    found: list[nn.Module] = []
    for pattern in patterns:
        matches = [module for path, module in known.items() if path and fnmatchcase(path, pattern)]
        if not matches:
            raise ConfigError(f"{pattern!r} matches no module. {nearest(pattern, (path for path in known if path))}")
        found += matches
    return found


def _count_anew(
    student: nn.Module, heads: Sequence[Attention], before: Sequence[torch.Size], roots: Sequence[Any]
) -> None:
    """Let a Hugging Face configuration say the new inner width and number of heads, where there is one for all."""
    config = getattr(student, "config", None)
    if not hasattr(config, "to_dict"):
        return
    projections = {layer for attention in heads for layer in attention.projections}
    widths: dict[int, set[int]] = {}
    for shape, layer in zip(before, roots, strict=True):
        if layer not in projections and shape[0] != layer.weight.shape[0]:
            widths.setdefault(shape[0], set()).add(layer.weight.shape[0])
    said = {name: widths.get(getattr(config, name, None) or 0, set()) for name in INNER_WIDTHS}
    for name, new in said.items():
        if len(new) == 1:
            before_it = getattr(config, name)
            setattr(config, name, next(iter(new)))
            for module in student.modules():
                if vars(module).get(name) == before_it:
                    setattr(module, name, next(iter(new)))
    counts = {vars(attention.module).get(name) for attention in heads for name in HEADS_OF_CONFIG}
    left = counts - {None}
    if len(left) == 1 and getattr(config, "head_dim", None):
        for name in ("num_attention_heads", "num_key_value_heads"):
            if hasattr(config, name):
                setattr(config, name, next(iter(left)))


HEADS_OF_CONFIG = ("num_attention_heads", "num_heads", "n_heads")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _torch_pruning() -> Any:
    try:
        import torch_pruning  # type: ignore[import-untyped,unused-ignore]
    except ImportError as error:
        raise MissingExtraError(
            "Narrower students need torch-pruning: pip install 'knowledge-distillation-toolkit[prune]'"
        ) from error
    return torch_pruning
