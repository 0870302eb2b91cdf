"""What goes wrong for a user who runs a paper's protocol by the name of its recipe."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.datasets import load_sample_images

from knowledge_distillation.domains.vision import cifar100
from knowledge_distillation.recipes.reading import Recipe, read_recipe
from knowledge_distillation.recipes.running import run_recipe
from tests.domains.vision.files import saved
from tests.training.toys import QUIET

SHORT = {**QUIET, "limit_train_batches": 1, "limit_val_batches": 1}


def photographs(count: int, side: int, seed: int) -> torch.Tensor:
    """Cuts of scikit-learn's two real photographs, uint8 [count, side, side, 3]."""
    sources = [torch.from_numpy(image.copy()) for image in load_sample_images().images]
    generator = torch.Generator().manual_seed(seed)
    cuts = []
    for number in range(count):
        image = sources[number % 2]
        top, left = (int(torch.randint(0, size - side, (), generator=generator)) for size in image.shape[:2])
        cuts.append(image[top : top + side, left : left + side])
    return torch.stack(cuts)


@pytest.fixture
def cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A CIFAR-100 of 8 + 4 images, in the very format of its archive, with checksums of its own."""
    from torchvision.datasets import CIFAR100

    home = tmp_path / "data" / "cifar-100-python"
    home.mkdir(parents=True)
    names = [f"class {number}" for number in range(100)]
    contents: dict[str, Any] = {"meta": {"fine_label_names": names}}
    for seed, (part, count) in enumerate({"train": 8, "test": 4}.items()):
        images = photographs(count, 32, seed).permute(0, 3, 1, 2).reshape(count, -1)
        contents[part] = {"data": images.numpy(), "fine_labels": list(range(90, 90 + count))}
    sums = {}
    for name, content in contents.items():
        (home / name).write_bytes(pickle.dumps(content))
        sums[name] = hashlib.md5((home / name).read_bytes(), usedforsecurity=False).hexdigest()
    monkeypatch.setattr(CIFAR100, "train_list", [["train", sums["train"]]])
    monkeypatch.setattr(CIFAR100, "test_list", [["test", sums["test"]]])
    monkeypatch.setattr(CIFAR100, "meta", {"filename": "meta", "key": "fine_label_names", "md5": sums["meta"]})
    return tmp_path / "data"


def shortened(recipe: Recipe, **data: Any) -> Recipe:
    """One step of the recipe's own models, optimiser and objective."""
    plan = {"max_epochs": 1, "trainer": SHORT}
    teacher = {**(recipe.teacher or {})}
    if "train" in teacher:
        teacher["train"] = {**teacher["train"], **plan}
    return Recipe(
        student=recipe.student,
        data={**recipe.data, "workers": 0, **data},
        teacher=teacher,
        objective=recipe.objective,
        training={**recipe.training, **plan},
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cifar100_repdistiller", "cifar100_mdistiller"])
def test_the_protocols_of_cifar_100_train_a_step_and_report_last_and_best(
    name: str, cifar: Path, tmp_path: Path
) -> None:
    """Otherwise 240 epochs begin, or end, with a traceback."""
    recipe = shortened(read_recipe(name), folder=str(cifar), download=False, batch_size=8)
    run = run_recipe(recipe, directory=tmp_path / "run")
    assert set(run.scores) == set(run.best_scores) == {"test"}
    assert run.student(torch.zeros(1, 3, 32, 32)).shape == (1, 100)
    assert cifar100(folder=str(cifar)).facts == {"classes": 100, "channels": 3, "size": 32}


@pytest.mark.slow
def test_the_protocol_of_imagenet_trains_a_step_on_folders(tmp_path: Path) -> None:
    """Otherwise 100 epochs begin with a traceback."""
    from PIL import Image

    for seed, part in enumerate(("train", "val")):
        for number, cut in enumerate(photographs(4, 40, seed)):
            saved(Image.fromarray(cut.numpy()), tmp_path / "images" / part / f"n{number % 2}" / f"{number}.JPEG")
    recipe = read_recipe("imagenet_mdistiller", ["teacher.model=resnet18", "teacher.pretrained=false"])
    run = run_recipe(
        shortened(recipe, path=str(tmp_path / "images"), size=32, batch_size=4), directory=tmp_path / "run"
    )
    assert 0 <= run.scores["val"] <= 1


@pytest.mark.parametrize(
    ("name", "epochs", "rate", "batch", "decay", "falls"),
    [
        ("cifar100_repdistiller", 240, 0.05, 64, 5e-4, [150, 180, 210]),
        ("cifar100_mdistiller", 240, 0.05, 64, 5e-4, [150, 180, 210]),
        ("imagenet_mdistiller", 100, 0.2, 512, 1e-4, [30, 60, 90]),
    ],
)
def test_recipes_carry_the_published_settings(
    name: str, epochs: int, rate: float, batch: int, decay: float, falls: list[int]
) -> None:
    """Otherwise a table beside theirs compares trainings of different length."""
    recipe = read_recipe(name)
    plans = [recipe.training, *([recipe.teacher["train"]] if "train" in (recipe.teacher or {}) else [])]
    for plan in plans:
        assert (plan["max_epochs"], plan["learning_rate"]) == (epochs, rate)
        assert plan["optimizer"] == {"name": "sgd", "momentum": 0.9, "weight_decay": decay}
        assert plan["schedule"] == {"name": "multi_step", "epochs": falls, "factor": 0.1}
    assert recipe.data["batch_size"] == batch


def test_the_best_epoch_is_the_best_of_all_and_the_last_is_the_last(tmp_path: Path) -> None:
    """Otherwise a table of best epochs shows last ones, or the score of another column."""
    import csv

    recipe = read_recipe("digits", ["training.max_epochs=3", f"training.trainer={QUIET}", "teacher=null"])
    run = run_recipe(
        Recipe(student=recipe.student, data=recipe.data, objective="labels", training=recipe.training),
        directory=tmp_path / "run",
    )
    with (run.directory / "metrics.csv").open(encoding="utf-8", newline="") as file:
        scores = [float(row["test"]) for row in csv.DictReader(file) if row["test"]]
    assert len(scores) == 3
    assert run.scores["test"] == pytest.approx(scores[-1])
    assert run.best_scores["test"] == pytest.approx(max(scores))
