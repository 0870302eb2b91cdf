"""What goes wrong for a user when a recipe file is misread, or can do more than describe a run."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from knowledge_distillation.domains.catalogue import data_sets, models
from knowledge_distillation.errors import ConfigError
from knowledge_distillation.objective import as_objective
from knowledge_distillation.recipes.methods import check_method
from knowledge_distillation.recipes.reading import LARGEST_FILE, TRAINER_KEYS, Recipe, read_recipe, shipped
from knowledge_distillation.recipes.sources import SOURCES
from knowledge_distillation.recipes.students import FROM_TEACHER, check_student
from knowledge_distillation.run import distill
from knowledge_distillation.training.optimizers import check_optimizer
from knowledge_distillation.training.schedules import check_schedule
from tests.needing import DOMAINS

SMALLEST = "student: image_mlp\ndata: digits\n"


def read(text: str, folder: Path, *overrides: str) -> Recipe:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return read_recipe(path, overrides)


def teachers_of(recipe: Recipe) -> list[dict[str, Any]]:
    """The teacher section and the members inside it."""
    found, open_specs = [], [recipe.teacher] if recipe.teacher else []
    while open_specs:
        found.append(open_specs.pop())
        open_specs.extend(found[-1].get("members", []))
    return found


def check_settings(spec: dict[str, Any], known: Mapping[str, Any], apart: set[str]) -> None:
    """The named component exists and takes every setting that the recipe gives."""
    assert spec["name"] in known
    assert set(spec) - {"name"} - apart <= set(inspect.signature(known[spec["name"]]).parameters)


@pytest.mark.parametrize("name", shipped())
def test_a_shipped_recipe_names_only_what_exists(name: str) -> None:
    """Otherwise a recipe of the documentation fails, perhaps after the teacher was trained for hours."""
    recipe = read_recipe(name)
    assert recipe.description
    check_method(recipe)
    if recipe.student["name"] == FROM_TEACHER:
        check_student(recipe)
    else:
        check_settings(recipe.student, models(), {"weights"})
    check_settings(recipe.data, data_sets(), set())
    plans = [recipe.training]
    for teacher in teachers_of(recipe):
        check_settings(teacher, {**SOURCES, **models()}, {"weights", "train", "members"})
        plans.append(teacher.get("train", {}))
    accepted = set(inspect.signature(distill).parameters) | set(TRAINER_KEYS)
    for plan in plans:
        assert set(plan) - {"data"} <= accepted
        check_optimizer(plan.get("optimizer", "adamw"))
        check_schedule(plan.get("schedule", ""))
        assert isinstance(plan.get("learning_rate", 1e-3), float)
        assert set(plan.get("data", {})) <= set(inspect.signature(data_sets()[recipe.data["name"]]).parameters)
    is_taught = recipe.teacher is not None or (recipe.method or {}).get("name") == "mutual"
    assert as_objective(recipe.objective).needs_teacher == is_taught


def test_there_are_shipped_recipes() -> None:
    """Otherwise packaging lost the YAML files of a domain and the test above checks nothing."""
    there = {path.parent.name for path in DOMAINS.glob("*/__init__.py")}
    assert {path.parents[1].name for path in shipped().values()} == there
    assert there


def test_sections_are_read_and_names_alone_are_enough(tmp_path: Path) -> None:
    """Otherwise the shortest recipe of the documentation does not run."""
    recipe = read(SMALLEST, tmp_path)
    assert recipe == Recipe(student={"name": "image_mlp"}, data={"name": "digits"})
    assert (recipe.teacher, recipe.objective, recipe.training) == (None, "kd", {})


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 100000.0),
        ("-2.5e+1", -25.0),
        (".5e1", 5.0),
        ("1.e2", 100.0),
        ("1.0e-3", 0.001),
        ("3", 3),
        ("0.1", 0.1),
        ("true", True),
        ("1e", "1e"),
        ("'1e-3'", "1e-3"),
        ("e3", "e3"),
        ("null", None),
    ],
)
def test_numbers_are_read_as_people_write_them(written: str, value: Any, tmp_path: Path) -> None:
    """Otherwise `learning_rate: 1e-3` is a text, as plain YAML 1.1 has it, or a name becomes a number."""
    read_value = read(f"{SMALLEST}training: {{learning_rate: {written}}}", tmp_path).training["learning_rate"]
    assert read_value == value
    assert type(read_value) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("studnt: image_mlp\ndata: digits", r"unknown key 'studnt'.*Did you mean 'student'"),
        (f"{SMALLEST}training: {{learning_rat: 1}}", r"training has an unknown key 'learning_rat'.*'learning_rate'"),
        (f"{SMALLEST}training: {{max_epoch: 1}}", r"unknown key 'max_epoch'.*'max_epochs'"),
        (
            f"{SMALLEST}teacher: {{name: digits_cnn, train: {{optimiser: sgd}}}}",
            r"teacher\.train has an unknown key 'optimiser'.*'optimizer'",
        ),
        ("data: digits", "lacks the section 'student'"),
        ("student: image_mlp", "lacks the section 'data'"),
        ("student: {hidden: 3}\ndata: digits", "student must be a name, or a mapping with 'name'"),
        ("student: 3\ndata: digits", "student must be a name"),
        ("student: [a]\ndata: digits", "student must be a name"),
        (f"{SMALLEST}teacher: {{name: digits_cnn, train: 5}}", "teacher.train must be a mapping"),
        (f"{SMALLEST}training: [1]", "training must be a mapping"),
        ("- a\n- b", "must hold sections .* got list"),
        ("", "must hold sections .* got NoneType"),
        ("just text", "must hold sections .* got str"),
    ],
)
def test_a_wrong_recipe_is_refused_with_section_and_key(text: str, message: str, tmp_path: Path) -> None:
    """Otherwise a misspelt key is ignored and the run is not the one that was written down."""
    with pytest.raises(ConfigError, match=message):
        read(text, tmp_path)


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.system ['true']",
        "!!python/name:os.system",
        "!!python/object:builtins.dict {}",
        "!!python/module:os",
        "!mine value",
    ],
)
def test_a_tag_that_asks_for_code_is_refused(tag: str, tmp_path: Path) -> None:
    """Otherwise a recipe from the internet runs commands."""
    with pytest.raises(ConfigError, match="no plain YAML"):
        read(f"{SMALLEST}description: {tag}", tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("student: &a {name: image_mlp}\ndata: *a", "aliases"),
        ("student: &a [*a]\ndata: digits", "aliases"),
        (f"{SMALLEST}student: digits_cnn", r"\['student'\] twice"),
        (f"{SMALLEST}training: {{seed: 1, seed: 2}}", r"\['seed'\] twice"),
        ("student: {name: a, 1: x, 1: y}\ndata: digits", r"\['1'\] twice"),
        ("student: {<<: {name: image_mlp}}\ndata: digits", "no plain YAML"),
        ("? [a, b]\n: c", "no plain YAML"),
        ("student: 'open", "no plain YAML"),
        ("a: b: c", "no plain YAML"),
        ("\0", "no plain YAML"),
        (f"{SMALLEST}---\nstudent: other", "no plain YAML"),
    ],
)
def test_what_yaml_allows_and_a_recipe_does_not_is_refused(text: str, message: str, tmp_path: Path) -> None:
    """Otherwise a file expands without bound, or the second of two equal keys silently wins."""
    with pytest.raises(ConfigError, match=message):
        read(text, tmp_path)


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_deep_nesting_is_refused(opening: str, tmp_path: Path) -> None:
    """Otherwise a small file ends the process."""
    with pytest.raises(ConfigError, match="nested too deeply"):
        read(f"description: {opening * 2_000}" if opening != "- " else opening * 2_000, tmp_path)


def test_a_huge_file_is_refused_without_being_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a data file given by mistake occupies the machine for minutes."""
    monkeypatch.setattr(yaml, "load", lambda *given, **how: pytest.fail("it was parsed"))
    with pytest.raises(ConfigError, match=f"larger than {LARGEST_FILE} bytes"):
        read(f"{SMALLEST}#{'x' * LARGEST_FILE}", tmp_path)


@pytest.mark.parametrize(
    "value",
    ["2024-13-45", "2024-02-30 10:00:00", "1" * 5000, "!!int text", "!!float text", "!!binary ä"],
    ids=["month 13", "30 February", "5000 digits", "no int", "no float", "no base64"],
)
def test_a_value_that_yaml_cannot_convert_is_an_input_error(value: str, tmp_path: Path) -> None:
    """Otherwise `description: 2024-13-45` ends in a traceback from inside the parser."""
    with pytest.raises(ConfigError, match=r"recipe\.yaml is no plain YAML"):
        read(f"{SMALLEST}description: {value}", tmp_path)


def test_a_number_of_many_binary_digits_is_read_up_to_the_bound_and_refused_by_it_above(tmp_path: Path) -> None:
    """Otherwise Python's limit on decimal digits is taken for a fault of the file, or breaks a message about it."""
    assert read(f"{SMALLEST}description: 0b{'1' * 4096}", tmp_path).description == 2**4096 - 1
    with pytest.raises(ConfigError, match=r"at most 4096 bits, and one has 20,000"):
        read(f"{SMALLEST}description: 0b{'1' * 20_000}", tmp_path)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_file_in_another_encoding_is_an_input_error(encoding: str, tmp_path: Path) -> None:
    """Otherwise a recipe saved on another system ends in a UnicodeDecodeError without the file's name."""
    path = tmp_path / "recipe.yaml"
    path.write_text(f"{SMALLEST}description: für später", encoding=encoding)
    with pytest.raises(ConfigError, match=r"recipe\.yaml"):
        read_recipe(path)


def test_an_unknown_recipe_shows_near_names_and_a_missing_file_its_path(tmp_path: Path) -> None:
    """Otherwise the user cannot tell a shipped recipe from a file."""
    name = next(iter(shipped()))
    with pytest.raises(ConfigError, match=rf"no recipe named '{name}s'.*Did you mean '{name}'.*\.yaml file"):
        read_recipe(f"{name}s")
    with pytest.raises(ConfigError, match=rf"no recipe file .*absent\.yaml.*{name}"):
        read_recipe(tmp_path / "absent.yaml")
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(ConfigError, match=r"no recipe file .*folder\.yaml"):
        read_recipe(tmp_path / "folder.yaml")


def test_overrides_reach_values_of_any_depth_and_make_sections(tmp_path: Path) -> None:
    """Otherwise a sweep must write a file for each value."""
    text = f"{SMALLEST}objective: {{kd: {{loss: kd, weight: 0.9}}}}\ntraining: {{seed: 1}}"
    recipe = read(
        text,
        tmp_path,
        "objective.kd.weight=0.5",
        "training.learning_rate=1e-4",
        "training.optimizer={name: sgd, momentum: 0.9}",
        "student.hidden=16",
        "teacher.name=digits_cnn",
        "training.trainer.limit_train_batches=3",
        "description=a=b",
    )
    assert recipe.objective == {"kd": {"loss": "kd", "weight": 0.5}}
    assert recipe.training == {
        "seed": 1,
        "learning_rate": 1e-4,
        "optimizer": {"name": "sgd", "momentum": 0.9},
        "trainer": {"limit_train_batches": 3},
    }
    assert recipe.student == {"name": "image_mlp", "hidden": 16}
    assert recipe.teacher == {"name": "digits_cnn"}
    assert recipe.description == "a=b"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.seed", "takes a.b=value"),
        ("=3", "takes a.b=value"),
        ("training.sed=3", r"unknown key 'sed'.*'seed'"),
        ("training.seed.deep=3", "'seed' holds a value, not a section"),
        ("training.seed=[1", "no plain YAML"),
        ("training.seed=!!python/name:os.system", "no plain YAML"),
        ("description=*a", "aliases"),
    ],
)
def test_a_wrong_override_is_refused(override: str, message: str, tmp_path: Path) -> None:
    """Otherwise --set with a typing error changes nothing and nobody notices."""
    with pytest.raises(ConfigError, match=message):
        read(f"{SMALLEST}training: {{seed: 1}}", tmp_path, override)


def test_special_numbers_are_read_and_refused_later_where_they_are_used(tmp_path: Path) -> None:
    """Otherwise `.inf` or `.nan` is a text here and a number elsewhere."""
    training = read(f"{SMALLEST}training: {{learning_rate: .inf, temperature: .nan}}", tmp_path).training
    assert math.isinf(training["learning_rate"])
    assert math.isnan(training["temperature"])
