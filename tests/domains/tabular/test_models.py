"""What goes wrong for a user when student or teacher of a table answer something else than they seem to."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.ensemble import ExtraTreesClassifier, GradientBoostingRegressor, RandomForestClassifier
from sklearn.svm import LinearSVC
from torch import nn

import knowledge_distillation as kd
from knowledge_distillation.domains.catalogue import build_data, build_model
from knowledge_distillation.domains.tabular import Estimator, csv_table, tabular_mlp
from knowledge_distillation.errors import ConfigError, ModelContractError, ShapeError
from tests.domains.tabular.test_reading import people, written
from tests.processes import run
from tests.training.toys import QUIET

FEW = {"n_estimators": 5}


def rows_of(data: Any) -> tuple[np.ndarray, np.ndarray]:
    rows, labels = data.train.dataset.tensors
    return rows.numpy(), labels.numpy()


def test_a_student_sees_standardised_numbers_and_one_hot_categories(tmp_path: Path) -> None:
    """Otherwise incomes drown ages, or town 3 counts as three times town 1."""
    data = csv_table(written(tmp_path / "t.csv", people(60)), "ill", categorical=["town"])
    student = tabular_mlp(data.facts["columns"], hidden=[8])
    rows, _ = data.train.dataset.tensors
    seen = student.inputs(rows).double()
    numbers = rows[:, [0, 2]].double()
    expected = (numbers - numbers.mean(0)) / numbers.std(0, correction=0)
    torch.testing.assert_close(seen[:, :2], expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(seen[:, 2:], nn.functional.one_hot(rows[:, 1].long() - 1, 3).double())
    assert student(rows).shape == (len(rows), 2)
    assert not seen.isnan().any()


def test_a_regression_answers_in_the_targets_units() -> None:
    """Otherwise a score in deviations is read as one in the units of the target."""
    data = build_data("diabetes", {}, {})
    student = build_model("tabular_mlp", data.facts, {"hidden": []}, {})
    nn.init.zeros_(student.output.weight)
    nn.init.zeros_(student.output.bias)
    rows, targets = data.train.dataset.tensors
    assert student(rows).mean().item() == pytest.approx(targets.double().mean().item(), rel=1e-6)
    test = data.validation["test"].dataset.tensors[1].double().numpy()
    score = data.pipeline.run_inference_pipeline(student, data.validation["test"])["inference_result"]
    assert float(score) == pytest.approx(
        float(np.sqrt(np.mean((test - targets.double().mean().item()) ** 2))), rel=1e-5
    )
    assert data.pipeline.higher_is_better is False
    assert build_data("diabetes", {"metric": "r2"}, {}).pipeline.higher_is_better is True


@pytest.mark.parametrize("name", ["breast_cancer", "wine", "iris", "digits_table", "diabetes", "linnerud"])
def test_every_table_meets_its_student_and_its_teacher(name: str) -> None:
    """Otherwise a name that `kd list` shows fails when it is used."""
    data = build_data(name, {}, {})
    rows, labels = next(iter(data.validation["test"]))
    outputs = {"linnerud": 3, "diabetes": 1}.get(name) or len(data.class_names)
    student = build_model("tabular_mlp", data.facts, {}, {})
    teacher = build_model("random_forest", data.facts, {"settings": FEW}, {})
    assert student(rows).shape == teacher(rows).shape == (len(rows), outputs)
    assert labels.shape == ((len(rows), outputs) if labels.is_floating_point() else (len(rows),))
    together = len(data.train.dataset) + len(data.validation["test"].dataset)
    assert together == {"breast_cancer": 569, "wine": 178, "iris": 150, "digits_table": 1797, "diabetes": 442}.get(
        name, 20
    )


@pytest.mark.parametrize("name", ["gradient_boosting", "hist_gradient_boosting", "random_forest", "extra_trees"])
@pytest.mark.parametrize("table", ["wine", "linnerud"])
def test_named_teachers_are_scikit_learns(name: str, table: str) -> None:
    """Otherwise the teacher of a recipe is another than the one whose documentation its user reads."""
    from sklearn import ensemble
    from sklearn.multioutput import MultiOutputRegressor

    data = build_data(table, {}, {})
    settings = {"max_iter": 5} if name.startswith("hist") else FEW
    teacher = build_model(name, data.facts, {"settings": settings, "seed": 3}, {})
    kind = "".join(part.capitalize() for part in name.split("_")) + ("Classifier" if table == "wine" else "Regressor")
    own = getattr(ensemble, kind)(random_state=3, **settings)
    own = MultiOutputRegressor(own) if table == "linnerud" and "boosting" in name else own
    rows, labels = rows_of(data)
    own.fit(rows, labels)
    test = data.validation["test"].dataset.tensors[0]
    if table == "wine":
        np.testing.assert_allclose(teacher(test).exp().numpy(), own.predict_proba(test.numpy()), atol=2e-6)
    else:
        np.testing.assert_allclose(teacher(test).numpy(), own.predict(test.numpy()), rtol=1e-5)


def test_a_teacher_learns_from_the_labels_that_it_is_given() -> None:
    """Otherwise a comparison with few labels has a teacher that secretly saw all of them."""
    few, all_of_them = (
        build_model(
            "extra_trees", build_data("wine", {"labelled": 20}, {}).facts, {"settings": FEW, "labels": labels}, {}
        )
        for labels in ("given", "all")
    )
    assert few.fitted.estimators_[0].tree_.n_node_samples[0] == 20
    assert all_of_them.fitted.estimators_[0].tree_.n_node_samples[0] == 134


def test_a_class_that_the_teacher_never_saw_keeps_its_place() -> None:
    """Otherwise all classes behind it move up by one, and the student learns wrong names."""
    rows, labels = rows_of(build_data("wine", {}, {}))
    kept = labels != 1
    fitted = RandomForestClassifier(20, random_state=0).fit(rows[kept], labels[kept])
    answers = Estimator(fitted, classes=3)(torch.from_numpy(rows[kept]))
    assert answers.shape[1] == 3
    assert float((answers.argmax(1).numpy() == labels[kept]).mean()) > 0.99
    torch.testing.assert_close(answers[:, 1].exp(), torch.full((len(answers),), 1e-6), rtol=1e-4, atol=0)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda rows, labels: RandomForestClassifier(), ConfigError, "must be fitted"),
        (lambda rows, labels: LinearSVC().fit(rows, labels), ConfigError, "no predict_proba"),
        (lambda rows, labels: "forest.pkl", ConfigError, "pickle, which runs code"),
        (lambda rows, labels: nn.Linear, ConfigError, "fitted estimator"),
        (lambda rows, labels: ExtraTreesClassifier(2).fit(rows, labels + 1), ModelContractError, "ids from 0 to 2"),
        (lambda rows, labels: ExtraTreesClassifier(2).fit(rows, labels.astype(str)), ModelContractError, "ids from"),
    ],
    ids=["unfitted", "no probabilities", "a file", "a class", "from 1", "texts"],
)
def test_what_cannot_teach_is_refused(make: Any, error: Any, message: str) -> None:
    """Otherwise it fails in the middle of training, or teaches classes under wrong names."""
    with pytest.raises(error, match=message):
        Estimator(make(*rows_of(build_data("iris", {}, {}))), classes=3)


def test_a_pickle_named_as_weights_is_never_opened(tmp_path: Path) -> None:
    """Otherwise a recipe from anywhere runs code, hidden in the file of a forest."""

    class Trap:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "sprung",))

    (tmp_path / "forest.pkl").write_bytes(pickle.dumps(Trap()))
    from knowledge_distillation.recipes.reading import check_recipe
    from knowledge_distillation.recipes.running import run_recipe

    teacher = {"name": "extra_trees", "settings": FEW, "weights": str(tmp_path / "forest.pkl")}
    recipe = check_recipe({"teacher": teacher, "student": "tabular_mlp", "data": "iris"}, "recipe")
    with pytest.raises(kd.errors.DistillationError):
        run_recipe(recipe, directory=tmp_path / "run")
    assert not (tmp_path / "sprung").exists()


def test_wrong_rows_and_settings_are_named() -> None:
    """Otherwise a column too few is broadcast, or a misspelt setting is a TypeError of scikit-learn's."""
    data = build_data("iris", {}, {})
    with pytest.raises(ShapeError, match="4 columns"):
        build_model("tabular_mlp", data.facts, {}, {})(torch.zeros(2, 3))
    with pytest.raises(ConfigError, match="n_estimator"):
        build_model("extra_trees", data.facts, {"settings": {"n_estimator": 3}}, {})
    with pytest.raises(ConfigError, match="max_depth"):
        build_model("extra_trees", data.facts, {"settings": {"max_depth": "deep"}}, {})
    with pytest.raises(ConfigError, match="cannot be built"):
        build_model("tabular_mlp", {"classes": 3}, {}, {})
    with pytest.raises(ConfigError, match="dropout"):
        build_model("tabular_mlp", data.facts, {"dropout": 1.0}, {})


def test_an_estimator_teaches_frozen_and_without_gradient(tmp_path: Path) -> None:
    """Otherwise training changes its teacher, and the student chases it."""
    data = build_data("diabetes", {}, {})
    rows, targets = rows_of(data)
    fitted = GradientBoostingRegressor(n_estimators=10, random_state=0).fit(rows, targets[:, 0])
    before = pickle.dumps(fitted)
    taught = kd.distill(
        Estimator(fitted), lambda: tabular_mlp(data.facts["columns"], [8]), data.train, data.validation,
        objective={"soft_regression": 1.0}, pipeline=data.pipeline, max_epochs=1, directory=tmp_path / "run",
        trainer=QUIET,
    )  # fmt: skip
    assert pickle.dumps(fitted) == before
    assert not Estimator(fitted)(torch.from_numpy(rows).requires_grad_()).requires_grad
    assert not [name for name in taught.module.state_dict() if "teacher" in name]


def test_a_fingerprint_is_that_of_what_was_fitted(tmp_path: Path) -> None:
    """Otherwise a cache answers for another forest, or is refused by the very forest that wrote it."""
    program = (
        "from knowledge_distillation.domains.catalogue import build_model\n"
        "from knowledge_distillation.domains.tabular import wine\n"
        "from knowledge_distillation.teachers import LiveTeacher\n"
        "def prints():\n"
        "    return [\n"
        "        LiveTeacher(build_model(name, wine().facts, {'settings': {'n_estimators': 5}, 'seed': seed}, {}))"
        ".fingerprint\n"
        "        for name in ('extra_trees', 'gradient_boosting') for seed in (0, 1)\n"
        "    ]\n"
    )
    here: dict[str, Any] = {}
    exec(program, here)
    found = here["prints"]()
    done = run(f"{program}print(*prints())", directory=tmp_path)
    assert done.stdout.split() == found, done.stderr
    assert len(set(found)) == 4
