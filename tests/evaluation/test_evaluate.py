"""What goes wrong for a user who scores teacher, student, control and files with one call."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import knowledge_distillation as kd
from knowledge_distillation.errors import ConfigError, ModelContractError
from knowledge_distillation.evaluation import Evaluation
from knowledge_distillation.teachers import CachedTeacher, EnsembleTeacher, LiveTeacher, SelfTeacher, write_cache
from tests.training.toys import CLASSES, FEATURES, Difficult, flags, loader, mlp, seeded, snapshot

QUICK: dict[str, Any] = {"rounds": 2, "warm_up": 0, "batch_sizes": (1, 4)}
CHEAP: dict[str, Any] = {"cost": False, "layers": None}


def evaluate(models: dict[str, Any], data: Any, **settings: Any) -> Evaluation:
    return kd.evaluation.evaluate(models, data, **settings)


def without_times(found: dict[str, Any]) -> dict[str, Any]:
    found = copy.deepcopy(found)
    for model in found["models"].values():
        model["cost"].pop("latency")
    return found


def correct(model: nn.Module, data: Any) -> float:
    pairs = [(model.eval()(inputs).argmax(dim=1) == labels) for inputs, labels in data]
    return float(torch.cat(pairs).double().mean())


def test_one_call_says_everything_and_nothing_that_json_cannot() -> None:
    """Otherwise the report has holes, or cannot be read by another program."""
    models = {"teacher": mlp(1, 16), "student": mlp(2, 4), "control": mlp(3, 4)}
    found = evaluate(
        models, loader(), class_names=["a", "b", "c"], slices={"first": lambda batch: batch[1] == 0}, **QUICK
    )
    plain = found.as_dict()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert plain["data"] == {
        "items": 24,
        "samples": 24,
        "labelled": 24,
        "loader": "validation",
        "task": "classification",
    }
    for name, model in models.items():
        one = plain["models"][name]
        assert one["quality"]["metric"] == "accuracy"
        assert one["quality"]["value"] == correct(model, loader())
        assert one["quality"]["how"].startswith("share of 24 labelled items")
        assert set(one["also"]) == {"macro_f1", "nll"}
        assert sum(row["count"] for row in one["calibration"]["bins"]) == 24
        assert [row["name"] for row in one["per_class"]] == ["a", "b", "c"]
        assert sum(map(sum, one["confusion"])) == 24
        cost = one["cost"]
        assert set(cost["latency"]) == {"1", "4"}
        assert {"p50_ms", "p95_ms", "p99_ms", "items_per_second"} <= set(cost["latency"]["1"])
        assert cost["threads"] == 1
        figures = {"parameters", "bytes", "file_bytes", "flops", "peak_memory_bytes"}
        assert all(cost[figure] > 0 for figure in figures)
        assert figures | {"latency"} <= set(cost["how"])
    assert plain["models"]["student"]["cost"]["flops"] == 2 * (FEATURES * 4 + 4 * CLASSES)
    assert set(plain["fidelity"]) == {"student", "control"}
    assert list(plain["fidelity"]["student"]["cka"]) == ["act ~ act"]
    assert plain["regressions"]["against"] == "teacher"
    assert sum(plain["regressions"]["counts"].values()) == 24
    assert [row["slice"] for row in plain["regressions"]["per_slice"]] == ["first"]
    assert plain["notes"] == []


def test_two_calls_agree_and_leave_models_as_they_were() -> None:
    """Otherwise figures move from run to run, or looking at a model changes it."""
    models = {"teacher": Difficult(), "student": Difficult(3)}
    states, modes = [snapshot(model) for model in models.values()], [flags(model) for model in models.values()]
    generator = torch.get_rng_state()
    first, second = (evaluate(models, loader(), **QUICK).as_dict() for _ in range(2))
    assert without_times(first) == without_times(second)
    assert torch.equal(torch.get_rng_state(), generator)
    assert [flags(model) for model in models.values()] == modes
    for model, state in zip(models.values(), states, strict=True):
        assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


def test_a_shuffled_loader_pairs_no_item_wrongly() -> None:
    """Otherwise agreement with the teacher is that of two different orders."""
    model = mlp()
    found = evaluate({"teacher": model, "student": copy.deepcopy(model)}, loader(shuffle=True), **CHEAP).as_dict()
    assert found["fidelity"]["student"]["agreement"] == 1
    assert found["fidelity"]["student"]["kl"] == 0
    assert found["regressions"]["worse"] == []


def test_a_callable_is_scored_exactly_as_its_module(tmp_path: Path) -> None:
    """Otherwise the exported file's score cannot be set beside the student's."""
    student = mlp()
    (tmp_path / "student.onnx").write_bytes(b"0" * 77)
    found = evaluate(
        {"student": student, "onnx": lambda inputs: student(inputs)},
        loader(), files={"onnx": tmp_path / "student.onnx"}, **QUICK,
    ).as_dict()  # fmt: skip
    own, file = found["models"]["student"], found["models"]["onnx"]
    for part in ("quality", "also", "calibration", "per_class"):
        assert file[part] == own[part]
    assert file["cost"]["file_bytes"] == 77
    assert (file["cost"]["parameters"], file["cost"]["flops"]) == (None, None)
    assert file["cost"]["latency"]["1"]["p50_ms"] > 0
    assert any("onnx: no parameters" in note for note in found["notes"])


def test_a_file_that_takes_one_batch_size_only_keeps_its_other_figures() -> None:
    """Otherwise an artefact without dynamic batch stops the whole evaluation."""

    def fixed(inputs: Tensor) -> Tensor:
        if len(inputs) == 4:
            raise RuntimeError("expected 8 samples\nand a long trace")
        return inputs[:, :3]

    found = evaluate({"student": fixed}, loader(), **QUICK).as_dict()
    assert list(found["models"]["student"]["cost"]["latency"]) == ["1"]
    assert "student: no latency at batch 4: RuntimeError: expected 8 samples" in found["notes"]


def test_without_labels_there_is_fidelity_only() -> None:
    """Otherwise quality 0 is reported for data that has no right answers."""
    inputs = [torch.randn(8, FEATURES, generator=seeded(seed)) for seed in range(2)]
    found = evaluate({"teacher": mlp(1), "student": mlp(2)}, inputs, **CHEAP).as_dict()
    assert found["data"]["labelled"] == 0
    assert found["data"]["items"] == 16
    assert 0 <= found["fidelity"]["student"]["agreement"] <= 1
    assert found["models"]["student"]["quality"]["value"] is None
    assert found["models"]["student"]["calibration"] is None
    assert found["regressions"] is None
    assert any("No labels" in note for note in found["notes"])


def test_one_sample_is_enough_for_what_one_sample_can_say() -> None:
    """Otherwise a first try with a single picture crashes."""
    data = [(torch.randn(1, FEATURES, generator=seeded(1)), torch.tensor([2]))]
    found = evaluate({"teacher": mlp(1), "student": mlp(2)}, data, **QUICK).as_dict()
    assert found["data"]["items"] == 1
    assert found["models"]["student"]["quality"]["value"] in (0, 1)
    assert found["models"]["student"]["calibration"]["temperature"] is None
    assert found["fidelity"]["student"]["cka"] == {"act ~ act": None}
    assert "student, calibration, temperature: not a number, so left out." in found["notes"]


def test_an_empty_loader_and_one_without_counted_items_are_errors() -> None:
    """Otherwise a wrong path to the validation data ends in a table of dashes."""
    with pytest.raises(ConfigError, match="empty: 0 batches"):
        evaluate({"student": mlp()}, [])
    ignored = [(torch.zeros(4, FEATURES), torch.full((4,), -100))]
    with pytest.raises(ConfigError, match="No item of the loader 'validation' counts"):
        evaluate({"student": mlp()}, ignored, **CHEAP)


class Speaks(nn.Module):
    """A language model with outputs as Hugging Face has them."""

    def __init__(self, seed: int, vocabulary: int = 300) -> None:
        super().__init__()
        self.table = nn.Embedding.from_pretrained(torch.randn(vocabulary, vocabulary, generator=seeded(seed)))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        return {"logits": self.table(input_ids)}


def test_language_models_with_padding_and_ignored_labels() -> None:
    """Otherwise padding is scored, and perplexity is nothing that others would find."""
    ids = torch.randint(300, (4, 6), generator=seeded(3))
    mask = torch.ones(4, 6, dtype=torch.long)
    mask[:, 4:] = 0
    labels = torch.randint(300, (4, 6), generator=seeded(4))
    labels[0, 0] = -100
    teacher, student = Speaks(1), Speaks(2)
    data = [{"input_ids": ids, "attention_mask": mask, "labels": labels}]
    found = evaluate({"teacher": teacher, "student": student}, data, **QUICK).as_dict()
    kept = mask.bool() & (labels != -100)
    assert found["data"] == {"items": 15, "samples": 4, "labelled": 15, "loader": "validation", "task": "language"}
    for name, model in (("teacher", teacher), ("student", student)):
        loss = nn.functional.cross_entropy(model(ids, mask)["logits"][kept], labels[kept])
        assert found["models"][name]["quality"]["value"] == pytest.approx(math.exp(loss), rel=1e-5)
        assert found["models"][name]["per_class"] is None
    assert found["fidelity"]["student"]["items"] == 15
    for row in found["regressions"]["worse"]:
        assert labels[row["index"], row["position"]] == row["label"]


def test_models_that_give_log_probabilities_only_or_signals_of_their_own() -> None:
    """Otherwise a user's adapter is called for training and not for evaluation."""
    model = mlp()

    def adapter(called: nn.Module, batch: Any, temperature: float) -> kd.Signals:
        return kd.Signals(log_probs=called(batch["x"]).log_softmax(dim=-1), labels=batch["y"])

    data = [{"x": inputs, "y": labels} for inputs, labels in loader()]
    found = evaluate({"student": model}, data, adapter=adapter, rounds=1, batch_sizes=(1,)).as_dict()
    assert found["models"]["student"]["quality"]["value"] == correct(model, loader())
    assert found["models"]["student"]["cost"]["flops"] > 0


def test_models_with_other_numbers_of_classes_are_compared_on_the_common_ones() -> None:
    """Otherwise a padded output layer crashes the comparison, or goes unnoticed."""
    narrow, wide = mlp(1), nn.Sequential(nn.Linear(FEATURES, 5))
    found = evaluate({"teacher": narrow, "student": wide}, loader(), **CHEAP).as_dict()
    assert found["fidelity"]["student"]["kl"] > 0
    assert any("different numbers of outputs (teacher 3, student 5)" in note for note in found["notes"])
    with pytest.raises(ConfigError, match="class ids from 0 to 1"):
        evaluate({"student": nn.Linear(FEATURES, 2)}, loader(), **CHEAP)


def test_a_regression_and_a_vector_of_labels() -> None:
    """Otherwise only classifiers can be evaluated."""
    inputs = torch.randn(16, FEATURES, generator=seeded(1))
    numbers = DataLoader(TensorDataset(inputs, inputs.sum(dim=1)), batch_size=5)
    found = evaluate({"teacher": nn.Linear(FEATURES, 1), "student": nn.Linear(FEATURES, 1)}, numbers, **CHEAP).as_dict()
    assert found["data"]["task"] == "regression"
    assert found["fidelity"]["student"]["mse"] > 0
    assert found["regressions"]["metric"] == "mean absolute error"
    several = DataLoader(TensorDataset(inputs, (inputs[:, :3] > 0).float()), batch_size=5)
    found = evaluate({"teacher": mlp(1), "student": mlp(2)}, several, **CHEAP).as_dict()
    assert found["data"]["task"] == "multilabel"
    assert found["models"]["student"]["quality"]["metric"] == "micro_f1"
    assert any("independent labels" in note for note in found["notes"])
    named = evaluate({"student": mlp(2)}, several, task="multilabel", **CHEAP)
    assert named.notes == ("No teacher among the models: no fidelity.",)


class Pipe:
    """A user's pipeline."""

    metric = "word error rate"
    higher_is_better = False

    def __init__(self, value: float = 0.25) -> None:
        self.value, self.seen = value, []

    def run_inference_pipeline(self, model: nn.Module, data_loader: Any) -> dict[str, Any]:
        self.seen.append((type(model).__name__, len(list(data_loader))))
        return {"inference_result": self.value}


def test_the_users_pipeline_is_the_headline() -> None:
    """Otherwise a speech student is ranked by token accuracy instead of word error rate."""
    pipe = Pipe()
    found = evaluate(
        {"student": mlp(), "file": lambda inputs: inputs[:, :3]}, loader(), pipeline=pipe, **CHEAP
    ).as_dict()
    quality = found["models"]["student"]["quality"]
    assert (quality["metric"], quality["value"], quality["higher_is_better"]) == ("word error rate", 0.25, False)
    assert "accuracy" in found["models"]["student"]["also"]
    assert pipe.seen == [("Sequential", 3), ("Artefact", 3)]


@pytest.mark.parametrize(("off", "said"), [(0.0, False), (0.1, True)])
def test_a_pipeline_that_finds_the_same_is_not_repeated(off: float, said: bool) -> None:
    """Otherwise the table has perplexity twice; where the two differ, it must have both."""
    student = mlp()
    own = evaluate({"student": student}, loader(), **CHEAP).as_dict()["models"]["student"]["quality"]
    pipe = Pipe(own["value"] + off)
    pipe.metric = own["metric"]
    found = evaluate({"student": student}, loader(), pipeline=pipe, **CHEAP).as_dict()["models"]["student"]
    assert found["quality"]["value"] == own["value"] + off
    assert (own["metric"] in found["also"]) == said


def test_models_that_only_the_pipeline_understands_keep_score_and_cost() -> None:
    """Otherwise embedding models and detectors cannot be evaluated at all."""

    class Embeds(nn.Linear):
        def forward(self, inputs: Tensor) -> Any:
            return {"last_hidden_state": super().forward(inputs)}

    models = {"teacher": Embeds(FEATURES, 8), "student": Embeds(FEATURES, 8), "control": mlp()}
    found = evaluate(models, loader(), pipeline=Pipe(), **QUICK).as_dict()
    assert found["models"]["student"]["quality"]["value"] == 0.25
    assert found["models"]["student"]["cost"]["parameters"] == 8 * FEATURES + 8
    assert found["data"]["items"] == 24
    assert sum("student: scored by the pipeline only" in note for note in found["notes"]) == 1
    alone = evaluate({"student": Embeds(FEATURES, 8)}, loader(), pipeline=Pipe(), **QUICK).as_dict()
    assert (alone["data"]["samples"], alone["data"]["items"]) == (24, 0)
    assert alone["models"]["student"]["quality"]["value"] == 0.25


def test_labels_that_only_the_pipeline_understands_keep_score_and_cost() -> None:
    """Otherwise vectors of pairs, whose label is one number a pair, end the report in an error."""
    batches = [(inputs, torch.rand(len(inputs))) for inputs, _ in loader()]
    models = {"teacher": nn.Linear(FEATURES, 8), "student": nn.Linear(FEATURES, 8)}
    found = evaluate(models, batches, pipeline=Pipe(), **QUICK).as_dict()
    assert found["models"]["student"]["quality"]["value"] == 0.25
    assert found["models"]["student"]["cost"]["parameters"] == 8 * FEATURES + 8
    assert (found["data"]["samples"], found["data"]["items"], found["data"]["task"]) == (24, 0, None)
    assert sum("All models are scored by the pipeline only. Labels" in note for note in found["notes"]) == 1
    with pytest.raises(ModelContractError, match="fit no task"):
        evaluate(models, batches, **QUICK)


def test_the_originals_models_are_called_by_its_contract() -> None:
    """Otherwise who comes from the original toolkit must write a new adapter to evaluate."""

    class Original(nn.Linear):
        def forward(self, inputs: Tensor, *, temperature: float) -> Any:
            logits = super().forward(inputs)
            soft = logits / temperature
            return {"prob": soft.softmax(-1), "log_prob": soft.log_softmax(-1), "logits": logits}

    models = {"teacher": Original(FEATURES, 3), "student": Original(FEATURES, 3)}
    batches = [(inputs,) for inputs, _ in loader()]
    found = evaluate(models, batches, adapter="original", pipeline=Pipe(), **QUICK).as_dict()
    assert found["fidelity"]["student"]["kl"] > 0
    assert found["models"]["student"]["cost"]["flops"] == 2 * FEATURES * 3
    assert any("no CKA of layers" in note for note in found["notes"])


def test_vectors_without_labels_are_compared_as_numbers() -> None:
    """Otherwise two embeddings are said to agree where the same entry of both is the largest."""
    pipe = Pipe()
    pipe.answers_classes = False
    inputs = torch.randn(10, FEATURES, generator=seeded(4))
    models = {"teacher": mlp(1, 16), "student": mlp(2, 4)}
    found = evaluate(models, [inputs], pipeline=pipe, **CHEAP).as_dict()
    with torch.no_grad():
        distance = float((models["student"](inputs) - models["teacher"](inputs)).square().mean())
    assert found["data"]["task"] == "regression"
    assert found["fidelity"]["student"]["agreement"] is None
    assert found["fidelity"]["student"]["mse"] == pytest.approx(distance, rel=1e-5)


def test_a_pipeline_that_gives_nan_leaves_null_and_a_note() -> None:
    """Otherwise the JSON cannot be read, or a NaN passes for a score."""
    found = evaluate({"student": mlp()}, loader(), pipeline=Pipe(math.nan), **CHEAP)
    assert found.as_dict()["models"]["student"]["quality"]["value"] is None
    assert "student, quality, value: not a number, so left out." in found.notes


def test_a_loader_that_can_be_walked_through_once_is_enough_without_a_pipeline() -> None:
    """Otherwise a stream loses its first batches, or a pipeline scores nothing."""
    found = evaluate({"student": mlp()}, iter(list(loader())), **CHEAP).as_dict()
    assert found["data"]["items"] == 24
    with pytest.raises(ConfigError, match="walked through only once"):
        evaluate({"student": mlp()}, iter(list(loader())), pipeline=Pipe(), **CHEAP)


def test_further_loaders_are_scored_too() -> None:
    """Otherwise a second test set needs a second evaluation."""
    other = loader(16, seed=5)
    found = evaluate({"student": mlp()}, loader(), loaders={"other": other}, **CHEAP).as_dict()
    assert found["models"]["student"]["loaders"]["other"]["value"] == correct(mlp(), other)
    with pytest.raises(ConfigError, match="'other' is empty"):
        evaluate({"student": mlp()}, loader(), loaders={"other": []}, **CHEAP)


def test_teachers_of_every_kind_answer_or_say_why_not(tmp_path: Path) -> None:
    """Otherwise a run with a cache or an ensemble cannot be evaluated at all."""
    module = mlp(1)
    ensemble = EnsembleTeacher([mlp(1), mlp(3)])
    found = evaluate({"teacher": ensemble, "student": mlp(2)}, loader(), **QUICK).as_dict()
    mean = torch.stack([mlp(seed)(loader().dataset.tensors[0]).softmax(dim=1) for seed in (1, 3)]).mean(dim=0)
    agreed = mean.argmax(dim=1) == mlp(2)(loader().dataset.tensors[0]).argmax(dim=1)
    assert found["fidelity"]["student"]["agreement"] == float(agreed.double().mean())
    assert found["models"]["teacher"]["cost"]["parameters"] is None
    assert any("teacher: no cost" in note for note in found["notes"])

    live = evaluate({"teacher": LiveTeacher(module), "student": mlp(2)}, loader(), **QUICK).as_dict()
    assert live["models"]["teacher"]["cost"]["parameters"] == sum(p.numel() for p in module.parameters())

    write_cache(module, loader(), tmp_path / "cache")
    cached = CachedTeacher(tmp_path / "cache")
    plain = evaluate({"teacher": cached, "student": mlp(2)}, loader(), **CHEAP).as_dict()
    assert list(plain["models"]) == ["student"]
    assert any("cannot answer other data" in note for note in plain["notes"])
    taught = evaluate({"teacher": cached, "student": mlp(2)}, cached.loader(loader()), **CHEAP).as_dict()
    assert taught["fidelity"]["student"]["kl"] == pytest.approx(live["fidelity"]["student"]["kl"], rel=1e-3)

    own = evaluate({"teacher": SelfTeacher(), "student": mlp(2)}, loader(), **CHEAP)
    assert any("student's own signals" in note for note in own.notes)


def test_without_a_teacher_the_student_is_held_against_the_control() -> None:
    """Otherwise nobody sees what distillation changed where the teacher is away."""
    found = evaluate({"student": mlp(1), "control": mlp(2)}, loader(), **CHEAP).as_dict()
    assert found["regressions"]["against"] == "control"
    assert found["fidelity"] == {}


def test_samples_that_got_worse_are_written_as_pictures(tmp_path: Path) -> None:
    """Otherwise the report can only name numbers of samples."""
    pictures = torch.rand(12, 1, 4, 4, generator=seeded(1))
    teacher, student = (nn.Sequential(nn.Flatten(), nn.Linear(16, 3)) for _ in range(2))
    with torch.no_grad():
        student[1].weight.copy_(-teacher[1].weight)
    labels = teacher(pictures).argmax(dim=1)
    found = evaluate(
        {"teacher": teacher, "student": student}, DataLoader(TensorDataset(pictures, labels), 5), worse=2, **CHEAP
    )
    plain = json.loads(found.save(tmp_path / "run").read_text())
    assert plain == found.as_dict()
    worse = plain["regressions"]["worse"]
    assert [row["sample"] for row in worse] == ["samples/worse-00.png", "samples/worse-01.png"]
    for row in worse:
        pixels = torch.frombuffer(bytearray(Image.open(tmp_path / "run" / row["sample"]).tobytes()), dtype=torch.uint8)
        assert torch.equal(pixels.reshape(1, 4, 4), (pictures[row["index"]] * 255).round().byte())
        assert row["teacher"] == row["label"] == labels[row["index"]]
        assert row["student"] != row["label"]
    assert worse[0]["confidence"] >= worse[1]["confidence"]


def test_robustness_of_every_model_on_the_same_corrupted_pictures() -> None:
    """Otherwise a student that lost robustness looks as good as its teacher."""
    pictures = torch.randn(12, 1, 6, 6, generator=seeded(1))
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    data = DataLoader(TensorDataset(pictures, model(pictures).argmax(dim=1)), batch_size=5)
    found = evaluate(
        {"teacher": model, "student": copy.deepcopy(model)},
        data, corruptions=["gaussian_noise", "contrast"], severities=(1, 5), **CHEAP,
    ).as_dict()["models"]  # fmt: skip
    assert found["teacher"]["robustness"] == found["student"]["robustness"]
    noise = found["student"]["robustness"]["gaussian_noise"]
    assert set(noise) == {"1", "5"}
    assert 1 >= noise["1"] >= noise["5"]


def test_cka_of_named_layers_and_a_name_that_does_not_exist() -> None:
    """Otherwise a typing error in a layer leaves CKA out without a word."""
    models = {"teacher": mlp(1), "student": mlp(2)}
    found = evaluate(models, loader(), layers={"hidden": "head"}, cost=False).as_dict()
    assert list(found["fidelity"]["student"]["cka"]) == ["hidden ~ head"]
    with pytest.raises(kd.errors.CaptureError, match="hiden"):
        evaluate(models, loader(), layers={"hiden": "head"}, cost=False)


def test_answers_that_are_nan_are_counted_in_the_notes() -> None:
    """Otherwise a student that overflowed is merely 'less accurate'."""

    class Overflows(nn.Linear):
        def forward(self, inputs: Tensor) -> Tensor:
            found = super().forward(inputs)
            return torch.where(inputs[:, :1] > 0, found, torch.full_like(found, math.nan))

    found = evaluate({"teacher": mlp(), "student": Overflows(FEATURES, CLASSES)}, loader(), **CHEAP)
    broken = int((loader().dataset.tensors[0][:, 0] <= 0).sum())
    assert f"student: {broken} items were answered with NaN." in found.notes
    assert found.as_dict()["fidelity"]["student"]["kl"] is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"task": "classify"}, "Did you mean 'classification'"),
        ({"student": "studnet"}, "no model named 'studnet'"),
        ({"teacher": "techer"}, "no model named 'techer' to be the teacher"),
        ({"batch_sizes": (0,)}, "whole number of at least 1, got 0"),
        ({"severities": (6,)}, "from 1 to 5, got 6"),
        ({"files": {"onxx": "x"}}, "files names 'onxx'"),
        ({"corruptions": ["blurr"]}, "Did you mean 'blur'"),
        ({"pipeline": Pipe}, "must be an instance"),
        ({"loaders": {"other": 5}}, "must be iterable"),
        ({"adapter": "autoo"}, "Did you mean 'auto'"),
    ],
)
def test_wrong_arguments_are_named_before_anything_runs(settings: dict[str, Any], message: str) -> None:
    """Otherwise a typing error shows after an hour of measuring, or never."""

    class Never(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            raise AssertionError("ran")

    with pytest.raises(ConfigError, match=message):
        evaluate({"student": Never()}, loader(), **settings)


def test_what_is_no_model_and_what_says_nothing_are_errors() -> None:
    """Otherwise the traceback ends in the middle of a metric."""
    with pytest.raises(ConfigError, match="Teacher, or a callable that takes"):
        evaluate({"student": 5}, loader())
    with pytest.raises(ConfigError, match="with at least one"):
        evaluate({}, loader())
    hidden_only = SimpleNamespace(call=lambda inputs: {"last_hidden_state": inputs})
    with pytest.raises(ModelContractError, match="neither logits nor log-probabilities"):
        evaluate({"student": hidden_only.call}, loader(), **CHEAP)


def test_memory_does_not_grow_with_the_number_of_batches() -> None:
    """Otherwise the validation set of a language model does not fit."""
    made: list[int] = []

    def stream() -> Iterator[tuple[Tensor, Tensor]]:
        import weakref

        alive: list[weakref.ref[Tensor]] = []
        for _ in range(30):
            batch = torch.randn(4, FEATURES), torch.zeros(4, dtype=torch.long)
            alive.append(weakref.ref(batch[0]))
            made.append(sum(one() is not None for one in alive))
            yield batch

    evaluate({"teacher": mlp(1), "student": mlp(2)}, stream(), worse=0, **CHEAP)
    assert max(made) <= 4


def test_the_table_shows_the_first_figures() -> None:
    """Otherwise the result prints as a wall of nested dicts."""
    shown = str(evaluate({"teacher": mlp(1, 16), "student": mlp(2)}, loader(), **QUICK))
    assert shown.splitlines()[0].split()[:2] == ["model", "accuracy"]
    assert "student" in shown
