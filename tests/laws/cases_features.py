"""Cases of the losses from feature maps; learned parts are computed again in NumPy."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from knowledge_distillation.losses import Loss
from knowledge_distillation.losses.features.ab import AB, ab
from knowledge_distillation.losses.features.connectors import connect, connect_stages
from knowledge_distillation.losses.features.ft import FT, ft
from knowledge_distillation.losses.features.hint import Hint, hint
from knowledge_distillation.losses.features.maps import one_size, paired
from knowledge_distillation.losses.features.mgd import MGD, mgd
from knowledge_distillation.losses.features.ofd import OFD, ofd
from knowledge_distillation.losses.features.reviewkd import ReviewKD, reviewkd
from knowledge_distillation.losses.features.semckd import SemCKD, semckd
from knowledge_distillation.losses.features.simkd import SimKD, simkd
from knowledge_distillation.losses.features.srrl import SRRL, srrl
from knowledge_distillation.losses.features.vid import VID, vid
from tests.laws.case import Case, Inputs

Array = NDArray[np.float64]
Shape = tuple[int, int, int]
Settings = Mapping[str, Any]


def maps(student: Shape, teacher: Shape | None = None) -> Callable[[torch.Generator, int], Inputs]:
    """One map [batch, channels, height, width] on each side."""

    def draw(generator: torch.Generator, batch: int) -> Inputs:
        one, other = (
            torch.randn(batch, *shape, generator=generator, dtype=torch.float64)
            for shape in (student, teacher or student)
        )
        return Inputs(student=one, teacher=other)

    return draw


def stages(
    students: Sequence[Shape], teachers: Sequence[Shape] | None = None
) -> Callable[[torch.Generator, int], Inputs]:
    """Several maps on each side."""

    def draw(generator: torch.Generator, batch: int) -> Inputs:
        sides = [
            [torch.randn(batch, *shape, generator=generator, dtype=torch.float64) for shape in side]
            for side in (students, teachers or students)
        ]
        return Inputs(student=sides[0], teacher=sides[1])

    return draw


def arrays(signal: Tensor | Sequence[Tensor]) -> list[Array]:
    return [tensor.detach().numpy() for tensor in ([signal] if isinstance(signal, Tensor) else signal)]


def pairs(inputs: Inputs) -> list[tuple[Array, Array]]:
    return list(zip(arrays(inputs.student), arrays(inputs.teacher), strict=True))


def pool(x: Array, height: int, width: int, how: Callable[..., Any] = np.mean) -> Array:
    """Adaptive pooling: cell i covers floor(i * size / cells) up to ceil((i + 1) * size / cells)."""
    rows = [(i * x.shape[2] // height, -(-(i + 1) * x.shape[2] // height)) for i in range(height)]
    columns = [(i * x.shape[3] // width, -(-(i + 1) * x.shape[3] // width)) for i in range(width)]
    cells = [[how(x[:, :, a:b, c:d], axis=(2, 3)) for c, d in columns] for a, b in rows]
    return np.array(cells).transpose(2, 3, 0, 1)


def to_smaller(one: Array, other: Array, how: Callable[..., Any] = np.mean) -> tuple[Array, Array]:
    height, width = min(one.shape[2], other.shape[2]), min(one.shape[3], other.shape[3])
    return pool(one, height, width, how), pool(other, height, width, how)


def directions(x: Array, axis: int | tuple[int, ...] = -1) -> Array:
    return x / np.sqrt((x**2).sum(axis=axis, keepdims=True))


def convolve(x: Array, layer: nn.Conv2d) -> Array:
    weight, pad = layer.weight.detach().numpy(), int(layer.padding[0])
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, weight.shape[2:], axis=(2, 3))
    bias = 0.0 if layer.bias is None else layer.bias.detach().numpy()[None, :, None, None]
    return np.einsum("nchwij,ocij->nohw", windows, weight) + bias


def run(layers: nn.Module, x: Array) -> Array:
    """A stack of layers in training mode, in NumPy."""
    for layer in layers.children():
        if isinstance(layer, nn.Conv2d):
            x = convolve(x, layer)
        elif isinstance(layer, nn.BatchNorm2d):
            centred = x - x.mean(axis=(0, 2, 3), keepdims=True)
            x = centred / np.sqrt((centred**2).mean(axis=(0, 2, 3), keepdims=True) + layer.eps)
            weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
            x = x * weight[None, :, None, None] + bias[None, :, None, None]
        elif isinstance(layer, nn.Linear):
            x = x @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
        elif isinstance(layer, nn.Sigmoid):
            x = 1 / (1 + np.exp(-x))
        elif isinstance(layer, nn.LeakyReLU):
            x = np.where(x > 0, x, layer.negative_slope * x)
        else:
            assert isinstance(layer, nn.ReLU)
            x = np.maximum(x, 0)
    return x


def weighted(values: Sequence[float], settings: Settings) -> float:
    weights = settings.get("stage_weights") or [1.0] * len(values)
    return float(sum(weight * value for weight, value in zip(weights, values, strict=True)))


def squared(x: Array, settings: Settings, default: str) -> float:
    """Squares joined within each sample, then the mean over the samples."""
    how = np.sum if settings.get("elements", default) == "sum" else np.mean
    return float(np.mean([how(sample**2) for sample in x]))


def with_teacher(make: Callable[[Inputs], Any]) -> Callable[[Inputs], Inputs]:
    """Equality for losses with learned parts: the teacher says what the projected student says."""

    def equal(inputs: Inputs) -> Inputs:
        with torch.no_grad():
            return Inputs(student=inputs.student, teacher=make(inputs), needs=inputs.needs)

    return equal


def seeded(make: Callable[..., Loss]) -> Any:
    """The module as the laws build it, in double precision."""
    torch.manual_seed(0)
    return make().double()


def hint_oracle(inputs: Inputs, settings: Settings) -> float:
    [(student, teacher)] = pairs(inputs)
    return squared(run(settings["module"].regressor, student) - teacher, settings, "mean")


def hint_regressed(**settings: Any) -> Hint:
    return Hint(2, 3, kernel_size=3, **settings)


def hint_call(inputs: Inputs, module: Any, settings: Settings, **keywords: Any) -> Tensor:
    student = connect(module.regressor, inputs.student, keywords.get("mask"))
    return hint(student, inputs.teacher, **settings, **keywords)


def at_oracle(inputs: Inputs, settings: Settings) -> float:
    values = []
    for pair in pairs(inputs):
        looks = [(np.abs(x) ** settings.get("power", 2.0)).sum(axis=1) for x in to_smaller(*pair)]
        one, other = (directions(x.reshape(len(x), -1)) for x in looks)
        gaps = ((one - other) ** 2).sum(axis=1)
        squares = settings.get("distance") == "mean_squared"
        values.append(float(np.mean(gaps / one.shape[1] if squares else np.sqrt(gaps))))
    return weighted(values, settings)


def nst_oracle(inputs: Inputs, settings: Settings) -> float:
    values = []
    for pair in pairs(inputs):
        student, teacher = (directions(x.reshape(*x.shape[:2], -1)) for x in to_smaller(*pair))
        values.append(
            float(np.mean([discrepancy(s, t, settings["kernel"]) for s, t in zip(student, teacher, strict=True)]))
        )
    return weighted(values, settings)


def discrepancy(student: Array, teacher: Array, kernel: str) -> float:
    spread = np.mean([((s - t) ** 2).sum() for s in student for t in teacher])

    def similarity(x: Array, y: Array) -> float:
        if kernel == "gaussian":
            return math.exp(-((x - y) ** 2).sum() / (2 * spread))
        return float(x @ y) ** (2 if kernel == "polynomial" else 1)

    def mean(xs: Array, ys: Array) -> float:
        return float(np.mean([similarity(x, y) for x in xs for y in ys]))

    return mean(student, student) + mean(teacher, teacher) - 2 * mean(student, teacher)


def ofd_oracle(inputs: Inputs, settings: Settings) -> float:
    values = []
    for stage, (student, teacher) in enumerate(pairs(inputs)):
        connectors = settings["module"].connectors
        student = run(connectors[stage], student) if len(connectors) else student
        if settings.get("margins") is None:
            margin = np.array([x[x < 0].sum() / max(1, (x < 0).sum()) for x in teacher.transpose(1, 0, 2, 3)])
        else:
            margin = settings["margins"][stage].numpy()
        target = np.maximum(teacher, margin[None, :, None, None])
        hidden = (student <= target) & (target <= 0)
        values.append(squared(np.where(hidden, 0.0, student - target), settings, "sum"))
    return weighted(values, settings)


def ofd_connected(**settings: Any) -> OFD:
    return OFD([2], [3], **settings)


def ofd_call(inputs: Inputs, module: Any, settings: Settings, **keywords: Any) -> Tensor:
    student = connect_stages(module.connectors, inputs.student, keywords.get("mask"))
    return ofd(student, inputs.teacher, **settings, **keywords)


def ab_oracle(inputs: Inputs, settings: Settings) -> float:
    values, margin = [], settings["margin"]
    for stage, (student, teacher) in enumerate(pairs(inputs)):
        connectors = settings["module"].connectors
        student = run(connectors[stage], student) if len(connectors) else student
        fires = teacher > 0
        short = fires * np.maximum(0, margin - student) + ~fires * np.maximum(0, margin + student)
        values.append(squared(short, settings, "sum"))
    return weighted(values, settings)


def ab_connected(**settings: Any) -> AB:
    return AB([2, 3], [3, 2], **settings)


def ab_call(inputs: Inputs, module: Any, settings: Settings, **keywords: Any) -> Tensor:
    student = connect_stages(module.connectors, inputs.student, keywords.get("mask"))
    return ab(student, inputs.teacher, **settings, **keywords)


def ft_twins(**settings: Any) -> FT:
    """A translator that starts as the paraphraser, so that equal features give equal factors."""
    module = FT(4, 4, **settings)
    module.translator.load_state_dict(module.paraphraser.encoder.state_dict())
    return module


def ft_oracle(inputs: Inputs, settings: Settings) -> float:
    [(student, teacher)] = pairs(inputs)
    factors = run(settings["module"].translator, student), run(settings["module"].paraphraser.encoder, teacher)
    one, other = (directions(x.reshape(len(x), -1)) for x in to_smaller(*factors))
    order = settings.get("p", 1.0)
    norms = (np.abs(one - other) ** order).sum(axis=1) ** (1 / order)
    return float(np.mean(norms if settings.get("elements") == "sum" else norms / one.shape[1] ** (1 / order)))


def ft_call(inputs: Inputs, module: Any, settings: Settings, **keywords: Any) -> Tensor:
    mask = keywords.get("mask")
    factors = (
        connect(module.translator, inputs.student, mask),
        connect(module.paraphraser.encoder, inputs.teacher, mask),
    )
    return ft(*factors, **settings, **keywords)


def fsp_oracle(inputs: Inputs, settings: Settings) -> float:
    chosen = settings.get("pairs") or [(0, 1), (1, 2)]
    how = np.mean if settings.get("pooling") == "average" else np.max
    values = []
    for first, second in chosen:
        flows = []
        for side in (arrays(inputs.student), arrays(inputs.teacher)):
            one, other = to_smaller(side[first], side[second], how)
            flows.append(np.einsum("nihw,njhw->nij", one, other) / (one.shape[2] * one.shape[3]))
        values.append(squared(flows[0] - flows[1], settings, "sum"))
    return weighted(values, settings)


def mgd_inputs(generator: torch.Generator, batch: int) -> Inputs:
    pair = maps((2, 4, 3), (3, 4, 3))(generator, batch)
    visible = torch.rand(batch, 1, 4, 3, generator=generator, dtype=torch.float64).round()
    return Inputs(student=pair.student, teacher=pair.teacher, needs={"visible": visible})


def mgd_oracle(inputs: Inputs, settings: Settings) -> float:
    [(student, teacher)] = pairs(inputs)
    module, visible = settings["module"], inputs.needs["visible"].numpy()
    generated = run(module.generation, run(module.align, student) * visible)
    return squared(generated - teacher, settings, "sum")


def mgd_module(**settings: Any) -> MGD:
    return MGD(2, 3, **settings)


def mgd_call(inputs: Inputs, module: Any, settings: Settings, **keywords: Any) -> Tensor:
    student = connect(module.align, inputs.student, keywords.get("mask"))
    return mgd(student, inputs.teacher, generation=module.generation, **inputs.needs, **settings, **keywords)


def enlarge(x: Array, height: int, width: int) -> Array:
    rows, columns = np.arange(height) * x.shape[2] // height, np.arange(width) * x.shape[3] // width
    return x[:, :, rows][:, :, :, columns]


def reviewkd_oracle(inputs: Inputs, settings: Settings) -> float:
    values = []
    deeper: Array | None = None
    for fusion, (student, teacher) in reversed(list(zip(settings["module"].fusions, pairs(inputs), strict=True))):
        mixed = run(fusion.enter, student)
        if deeper is not None:
            deeper = enlarge(deeper, *mixed.shape[2:])
            share = run(fusion.attention, np.concatenate([mixed, deeper], axis=1))
            mixed = mixed * share[:, :1] + deeper * share[:, 1:]
        deeper = enlarge(mixed, *teacher.shape[2:])
        values.append(context(run(fusion.leave, deeper), teacher))
    return weighted(values[::-1], settings)


def context(student: Array, teacher: Array) -> float:
    errors, weights = [float(((student - teacher) ** 2).mean())], [1.0]
    for side in (4, 2, 1):
        if side < min(student.shape[2:]):
            errors.append(float(((pool(student, side, side) - pool(teacher, side, side)) ** 2).mean()))
            weights.append(weights[-1] / 2)
    return float(np.average(errors, weights=weights))


def reviewkd_module(**settings: Any) -> ReviewKD:
    return ReviewKD([2, 3, 2], [3, 2, 4], **settings)


def reviewkd_call(inputs: Inputs, module: Any, settings: Settings, **keywords: Any) -> Tensor:
    student = module.fused(inputs.student, inputs.teacher, keywords.get("mask"))
    return reviewkd(student, inputs.teacher, **settings, **keywords)


def simkd_oracle(inputs: Inputs, settings: Settings) -> float:
    [pair] = pairs(inputs)
    student, teacher = to_smaller(*pair)
    return squared(run(settings["module"].projector, student) - teacher, settings, "mean")


def simkd_module(**settings: Any) -> SimKD:
    return SimKD(3, 4, **settings)


def simkd_call(inputs: Inputs, module: Any, settings: Settings, **keywords: Any) -> Tensor:
    mask = keywords.get("mask")
    student, teacher = one_size(*paired(inputs.student, inputs.teacher, mask))
    return simkd(connect(module.projector, student, mask), teacher, **settings, **keywords)


def catkd_oracle(inputs: Inputs, settings: Settings) -> float:
    side = settings["size"]
    one, other = (pool(x, side, side).reshape(*x.shape[:2], -1) for x in pairs(inputs)[0])
    if settings.get("normalize", True):
        one, other = directions(one), directions(other)
    return float(((one - other) ** 2).mean())


def semckd_oracle(inputs: Inputs, settings: Settings) -> float:
    module = settings["module"]
    students, teachers = arrays(inputs.student), arrays(inputs.teacher)
    batch = len(students[0])

    def embed(network: nn.Module, x: Array) -> Array:
        rows = x.reshape(batch, -1)
        similarities = np.zeros((batch, module.batch_size))
        similarities[:, :batch] = rows @ rows.T
        return directions(run(network, similarities))

    queries = [embed(network, x) for network, x in zip(module.queries, students, strict=True)]
    keys = [embed(network, x) for network, x in zip(module.keys, teachers, strict=True)]
    total = 0.0
    for i, student in enumerate(students):
        energy = np.array([(queries[i] * key).sum(axis=1) for key in keys]) / module.temperature
        attention = np.exp(energy) / np.exp(energy).sum(axis=0)
        for j, teacher in enumerate(teachers):
            one, other = to_smaller(student, teacher)
            errors = ((run(module.regressors[i][j], one) - other) ** 2).mean(axis=(1, 2, 3))
            total += float((attention[j] * errors).mean())
    return total / len(students)


def semckd_module(**settings: Any) -> SemCKD:
    return SemCKD([2, 3], [3, 2], 6, **settings)


def semckd_call(inputs: Inputs, module: Any, settings: Settings, **keywords: Any) -> Tensor:
    mask = keywords.get("mask")
    grids = module.projected(inputs.student, inputs.teacher, mask)
    return semckd(*grids, attention=module.attention(inputs.student, inputs.teacher, mask), **settings, **keywords)


def srrl_oracle(inputs: Inputs, settings: Settings) -> float:
    module = settings["module"]
    [(student, teacher)] = pairs(inputs)
    gap = run(module.connector, student).mean(axis=(2, 3)) - teacher.mean(axis=(2, 3))
    judged = gap @ module.classifier_weight.numpy().T
    return float(
        settings.get("feature_weight", 1.0) * (gap**2).mean()
        + settings.get("regression_weight", 1.0) * (judged**2).mean()
    )


def srrl_module(**settings: Any) -> SRRL:
    return SRRL(3, 4, classifier=nn.Linear(4, 5), **settings)


def srrl_call(inputs: Inputs, module: Any, settings: Settings, **keywords: Any) -> Tensor:
    student = connect(module.connector, inputs.student, keywords.get("mask"))
    return srrl(student, inputs.teacher, classifier_weight=module.classifier_weight, **settings, **keywords)


def vid_oracle(inputs: Inputs, settings: Settings) -> float:
    module = settings["module"]
    [pair] = pairs(inputs)
    student, teacher = to_smaller(*pair)
    variance = np.log1p(np.exp(module.log_scale.detach().numpy())) + settings.get("smallest_variance", 1e-5)
    variance = variance[None, :, None, None]
    values = 0.5 * ((run(module.regressor, student) - teacher) ** 2 / variance + np.log(variance))
    return float(np.mean([sample.sum() if settings.get("elements") == "sum" else sample.mean() for sample in values]))


def vid_module(**settings: Any) -> VID:
    return VID(2, 3, hidden_channels=4, first_variance=0.5, **settings)


def vid_call(inputs: Inputs, module: Any, settings: Settings, **keywords: Any) -> Tensor:
    mask = keywords.get("mask")
    student, teacher = one_size(*paired(inputs.student, inputs.teacher, mask))
    return vid(connect(module.regressor, student, mask), teacher, log_scale=module.log_scale, **settings, **keywords)


def unlike_channels(students: Sequence[Shape], teachers: Sequence[Shape] | None = None) -> Any:
    """Channels of unlike strength, so that the main directions are far from degenerate."""

    def draw(generator: torch.Generator, batch: int) -> Inputs:
        drawn = stages(students, teachers)(generator, batch)
        strength = torch.tensor([4.0, 2.0, 1.0, 0.5], dtype=torch.float64)
        sides = [[x * strength[: x.shape[1], None, None] for x in side] for side in (drawn.student, drawn.teacher)]
        return Inputs(student=sides[0], teacher=sides[1])

    return draw


def kdsvd_oracle(inputs: Inputs, settings: Settings) -> float:
    count, total = settings["directions"], 0.0
    batch = len(inputs.student[0])
    for sample in range(batch):
        vectors = [main_directions(s[sample], t[sample], count) for s, t in pairs(inputs)]
        for before, after in itertools.pairwise(vectors):
            for a in range(len(after[0])):
                for b in range(len(before[0])):
                    relations = [
                        np.exp(-((after[side][a] - before[side][b]) ** 2) / settings["bandwidth"]) for side in (0, 1)
                    ]
                    total += float(((relations[0] - relations[1]) ** 2).sum())
    return total / batch


def main_directions(student: Array, teacher: Array, count: int) -> tuple[Array, Array]:
    _, strengths, rows = np.linalg.svd(teacher.reshape(len(teacher), -1).T, full_matrices=False)
    taught = np.array([row if row.sum() >= 0 else -row for row in rows[:count]])
    _, _, candidates = np.linalg.svd(student.reshape(len(student), -1).T, full_matrices=False)
    learned = []
    for row in taught:
        best = max(candidates[: count + 3], key=lambda candidate: abs(candidate @ row))
        learned.append(best if best @ row >= 0 else -best)
    weights = directions(strengths[:count])
    return (np.array(learned) * weights[:, None]).T, (taught * weights[:, None]).T


MARGINS = [torch.tensor([-0.5, -0.25, -1.0], dtype=torch.float64), torch.tensor([-0.75, -0.125], dtype=torch.float64)]

CASES = [
    Case(name="hint", inputs=maps((3, 4, 4)), oracle=hint_oracle),
    Case(
        name="hint",
        inputs=maps((2, 5, 4), (3, 3, 2)),
        oracle=hint_oracle,
        settings={"elements": "sum"},
        module=hint_regressed,
        call=hint_call,
        fixed_width=True,
        equality=with_teacher(lambda inputs: connect(seeded(hint_regressed).regressor, inputs.student)),
        label="regressor",
    ),
    Case(name="at", inputs=stages([(3, 4, 4), (2, 3, 2)]), oracle=at_oracle, settings={"power": 2.0}),
    Case(
        name="at",
        inputs=stages([(3, 5, 4), (2, 2, 3)], [(2, 3, 2), (4, 4, 3)]),
        oracle=at_oracle,
        settings={"power": 4.0, "distance": "mean_squared", "stage_weights": [0.5, 2.0]},
        label="code",
    ),
    Case(name="nst", inputs=stages([(3, 4, 3), (2, 2, 2)]), oracle=nst_oracle, settings={"kernel": "polynomial"}),
    Case(
        name="nst",
        inputs=stages([(3, 5, 4)], [(4, 3, 2)]),
        oracle=nst_oracle,
        settings={"kernel": "linear", "stage_weights": [0.5]},
        label="linear",
    ),
    Case(name="nst", inputs=stages([(3, 3, 3)]), oracle=nst_oracle, settings={"kernel": "gaussian"}, label="gaussian"),
    Case(
        name="ofd",
        inputs=stages([(3, 3, 4), (2, 2, 3)]),
        oracle=ofd_oracle,
        settings={"margins": MARGINS, "stage_weights": [0.5, 1.0]},
    ),
    Case(
        name="ofd",
        inputs=stages([(2, 3, 4)], [(3, 3, 4)]),
        oracle=ofd_oracle,
        settings={"elements": "mean"},
        module=ofd_connected,
        call=ofd_call,
        equality=with_teacher(lambda inputs: connect_stages(seeded(ofd_connected).connectors, inputs.student, None)),
        label="connector",
    ),
    Case(name="ab", inputs=stages([(3, 3, 4), (2, 2, 3)]), oracle=ab_oracle, settings={"margin": 1.0}),
    Case(
        name="ab",
        inputs=stages([(2, 3, 4), (3, 2, 3)], [(3, 3, 4), (2, 2, 3)]),
        oracle=ab_oracle,
        settings={"margin": 0.5, "elements": "mean", "stage_weights": [0.5, 1.0]},
        module=ab_connected,
        call=ab_call,
        label="connector",
    ),
    Case(
        name="ft",
        inputs=maps((4, 3, 4)),
        oracle=ft_oracle,
        settings={"p": 1.0},
        module=ft_twins,
        call=ft_call,
    ),
    Case(
        name="ft",
        inputs=maps((4, 5, 4), (4, 3, 2)),
        oracle=ft_oracle,
        settings={"p": 2.0, "elements": "sum"},
        module=ft_twins,
        call=ft_call,
        label="sum",
    ),
    Case(
        name="fsp",
        inputs=stages([(3, 4, 5), (2, 2, 3), (3, 2, 3)], [(3, 5, 5), (2, 3, 3), (3, 2, 2)]),
        oracle=fsp_oracle,
    ),
    Case(
        name="fsp",
        inputs=stages([(3, 4, 5), (2, 2, 3), (3, 2, 3)]),
        oracle=fsp_oracle,
        settings={"pairs": [(0, 2), (1, 2)], "pooling": "average", "elements": "mean", "stage_weights": [2.0, 0.5]},
        label="average",
    ),
    Case(
        name="mgd",
        inputs=mgd_inputs,
        oracle=mgd_oracle,
        module=mgd_module,
        call=mgd_call,
    ),
    Case(
        name="reviewkd",
        inputs=stages([(2, 6, 5), (3, 3, 4), (2, 1, 1)], [(3, 6, 6), (2, 4, 3), (4, 1, 1)]),
        oracle=reviewkd_oracle,
        settings={"stage_weights": [1.0, 0.5, 2.0]},
        module=reviewkd_module,
        call=reviewkd_call,
        equality=with_teacher(lambda inputs: seeded(reviewkd_module).fused(inputs.student, inputs.teacher)),
    ),
    Case(
        name="simkd",
        inputs=maps((3, 3, 4), (4, 3, 4)),
        oracle=simkd_oracle,
        module=simkd_module,
        call=simkd_call,
        equality=with_teacher(lambda inputs: connect(seeded(simkd_module).projector, inputs.student)),
    ),
    Case(
        name="simkd",
        inputs=maps((3, 5, 4), (4, 3, 2)),
        oracle=simkd_oracle,
        settings={"elements": "sum"},
        module=simkd_module,
        call=simkd_call,
        equality=with_teacher(
            lambda inputs: connect(seeded(simkd_module).projector, one_size(inputs.student, inputs.teacher)[0])
        ),
        label="pooled",
    ),
    Case(name="catkd", inputs=maps((4, 5, 4)), oracle=catkd_oracle, settings={"size": 2}),
    Case(
        name="catkd",
        inputs=maps((4, 6, 4), (4, 3, 5)),
        oracle=catkd_oracle,
        settings={"size": 3, "normalize": False},
        label="unscaled",
    ),
    Case(
        name="semckd",
        inputs=stages([(2, 4, 3), (3, 2, 2)], [(3, 3, 3), (2, 2, 3)]),
        oracle=semckd_oracle,
        module=semckd_module,
        call=semckd_call,
    ),
    Case(
        name="srrl",
        inputs=maps((3, 3, 4), (4, 2, 3)),
        oracle=srrl_oracle,
        settings={"feature_weight": 1.0, "regression_weight": 0.5},
        module=srrl_module,
        call=srrl_call,
        equality=with_teacher(lambda inputs: connect(seeded(srrl_module).connector, inputs.student)),
    ),
    Case(
        name="vid",
        inputs=maps((2, 4, 3), (3, 3, 3)),
        oracle=vid_oracle,
        module=vid_module,
        call=vid_call,
    ),
    Case(
        name="vid",
        inputs=maps((2, 3, 3), (3, 3, 3)),
        oracle=vid_oracle,
        settings={"elements": "sum", "smallest_variance": 0.25},
        module=vid_module,
        call=vid_call,
        label="sum",
    ),
    Case(
        name="kdsvd",
        inputs=unlike_channels([(3, 3, 3), (4, 2, 3), (3, 2, 2)], [(3, 4, 3), (4, 3, 3), (3, 2, 2)]),
        oracle=kdsvd_oracle,
        settings={"directions": 1, "bandwidth": 8.0},
    ),
    Case(
        name="kdsvd",
        inputs=unlike_channels([(3, 3, 3), (4, 2, 3)]),
        oracle=kdsvd_oracle,
        settings={"directions": 2, "bandwidth": 2.0},
        label="two",
    ),
]
