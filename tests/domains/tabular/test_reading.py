"""What goes wrong for a user whose table is not as clean as those of a textbook."""

from __future__ import annotations

import csv
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from knowledge_distillation.domains.tabular import csv_table
from knowledge_distillation.errors import ConfigError

TOWNS = ("Bonn", "Köln", "Ulm")


def written(path: Path, rows: list[list[Any]], header: tuple[str, ...] = ("age", "town", "height", "ill")) -> str:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return str(path)


def people(count: int) -> list[list[Any]]:
    """Rows of age, town, height and ill; no two have the same height."""
    numbers = np.random.default_rng(0)
    heights = 150 + numbers.permutation(count) / 100
    return [
        [
            int(numbers.integers(1, 90)),
            TOWNS[at % 3],
            round(float(heights[at]), 2),
            "yes" if at % 2 else "no",
        ]
        for at in range(count)
    ]


def read(path: str, **settings: Any) -> Any:
    return csv_table(path, "ill", **{"categorical": ["town"], **settings})


def all_rows(data: Any) -> tuple[torch.Tensor, torch.Tensor]:
    parts = [data.train.dataset.tensors, data.validation["test"].dataset.tensors]
    return tuple(torch.cat(tensors) for tensors in zip(*parts, strict=True))  # type: ignore[return-value]


def test_every_cell_arrives_in_its_column(tmp_path: Path) -> None:
    """Otherwise ages are learnt as heights, or the label of one row as that of another."""
    written_rows = people(40)
    rows, labels = all_rows(read(written(tmp_path / "t.csv", written_rows)))
    found = {
        (int(age), TOWNS[int(town) - 1], round(float(height), 2), ("no", "yes")[int(label)])
        for (age, town, height), label in zip(rows.tolist(), labels.tolist(), strict=True)
    }
    assert found == {tuple(row) for row in written_rows}


def test_standardisation_sees_the_training_part_alone(tmp_path: Path) -> None:
    """Otherwise the validation rows leak into what the student knows, and its score is too good."""
    data = read(written(tmp_path / "t.csv", people(40)), validation=0.5)
    rows = data.train.dataset.tensors[0].double()
    assert len(rows) == 20
    columns = data.facts["columns"]
    for place in (0, 2):
        assert columns.mean[place].item() == pytest.approx(rows[:, place].mean().item(), rel=1e-6)
        assert columns.scale[place].item() == pytest.approx(rows[:, place].std(correction=0).item(), rel=1e-3)


def test_missing_values_are_refused_with_column_and_count(tmp_path: Path) -> None:
    """Otherwise the student learns from NaN, or from zeros that nobody measured."""
    rows = people(40)
    rows[3][0], rows[7][0], rows[9][1] = "", "NA", "?"
    with pytest.raises(ConfigError, match=r"of 40 rows 'age' lacks 2, 'town' lacks 1.*missing to impute"):
        read(written(tmp_path / "t.csv", rows))


def test_imputed_numbers_are_the_mean_of_the_training_rows(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise what stands in for a missing value is another than the documents say, or comes from validation rows."""
    rows = people(200)
    gaps = range(0, 200, 10)
    for place in gaps:
        rows[place][0] = ""
    rows[5][1] = ""
    with caplog.at_level(logging.WARNING):
        data = read(written(tmp_path / "t.csv", rows), missing="impute")
    assert "'age' lacks 20, 'town' lacks 1; imputed" in caplog.text
    train, _ = data.train.dataset.tensors
    known = {row[2]: row[0] for row in rows}
    ages = [known[round(height, 2)] for height in train[:, 2].tolist()]
    mean = float(np.mean([age for age in ages if age != ""]))
    for age, found in zip(ages, train[:, 0].tolist(), strict=True):
        assert found == pytest.approx(mean if age == "" else age, rel=1e-6)
    assert sorted(set(all_rows(data)[0][:, 1].tolist())) == [0, 1, 2, 3]


def test_bad_rows_among_thousands_are_named_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise one typing mistake stops a night's training, or rows vanish without a word."""
    rows = people(3000)
    rows[10][0], rows[20], rows[30][2], rows[40][0] = "forty", rows[20][:3], "inf", "1_0"
    path = written(tmp_path / "t.csv", rows)
    with caplog.at_level(logging.WARNING):
        data = read(path)
    assert len(all_rows(data)[0]) == 2996
    assert "4 of 3,000 rows cannot be read" in caplog.text
    for named in (
        "line 12: 'forty' in column 'age'", "line 22: 3 fields for 4 columns", "line 32: 'inf' in column 'height'",
        "line 42: '1_0' in column 'age'",
    ):  # fmt: skip
        assert named in caplog.text


def test_a_column_of_texts_is_no_pile_of_bad_rows(tmp_path: Path) -> None:
    """Otherwise a forgotten `categorical` leaves all rows out, or texts are learnt as numbers."""
    with pytest.raises(ConfigError, match=r"40 of 40 rows cannot be read.*'Bonn' in column 'town'.*categorical"):
        read(written(tmp_path / "t.csv", people(40)), categorical=[])


def test_a_quote_within_a_row_counts_the_lines_it_takes_away(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise a stray quote takes hundreds of rows along, counted as one."""
    path = Path(written(tmp_path / "t.csv", people(1000)))
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[10], lines[13] = '"' + lines[10], lines[13] + '"'
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        data = read(str(path))
    assert "line 11 to 14" in caplog.text
    assert "4 of 1,000 rows" in caplog.text
    assert len(all_rows(data)[0]) == 996


def test_a_quote_before_more_than_a_field_holds_is_an_error(tmp_path: Path) -> None:
    """Otherwise thousands of rows behind it are one bad row, and the table is read on from the middle of nowhere."""
    path = Path(written(tmp_path / "t.csv", people(20_000)))
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[10] = '"' + lines[10]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"begins in line 11 is never closed, or not within 131,072 characters"):
        read(str(path), bad_rows=0.99)


def test_a_quote_that_is_never_closed_is_an_error(tmp_path: Path) -> None:
    """Otherwise all rows behind it are one bad row."""
    path = Path(written(tmp_path / "t.csv", people(50)))
    path.write_text(path.read_text(encoding="utf-8") + '"12,Bonn,1.5,no\n1,Bonn,1.5,no\n', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"begins in line 52 is never closed"):
        read(str(path))


def test_rows_without_target_are_learnt_from_the_teacher_alone(tmp_path: Path) -> None:
    """Otherwise the many rows that nobody labelled, for which one distils, are dropped or learnt as a class."""
    rows = people(60)
    for row in rows[:30]:
        row[3] = ""
    data = read(written(tmp_path / "t.csv", rows), validation=0.2)
    labels = data.train.dataset.tensors[1]
    assert (len(labels), int((labels == -100).sum())) == (54, 30)
    assert data.class_names == ("no", "yes")
    assert int((data.validation["test"].dataset.tensors[1] < 0).sum()) == 0
    numbers = csv_table(written(tmp_path / "n.csv", [[a, h, "" if a % 2 else h] for a, _, h, _ in rows],
                                ("age", "height", "weight")), "weight", task="regression")  # fmt: skip
    weights = numbers.train.dataset.tensors[1]
    assert weights.shape[1] == 1
    assert int(weights.isnan().sum()) == sum(row[0] % 2 for row in rows)


@pytest.mark.parametrize("name", ["none", "NA", "null", "?"])
def test_a_class_may_be_called_none(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise those who are not ill are no class but rows without a label, and the student finds all ill."""
    rows = people(60)
    for row in rows:
        row[3] = {"no": name, "yes": "flu"}[row[3]]
    for row in rows[:12]:
        row[3] = " "
    with caplog.at_level(logging.WARNING):
        data = read(written(tmp_path / "t.csv", rows), validation=0.25)
    assert sorted(data.class_names) == sorted([name, "flu"])
    _, labels = all_rows(data)
    counts = {label: int((labels == place).sum()) for place, label in enumerate(data.class_names)}
    assert counts == {name: 24, "flu": 24}
    assert "12 of 60 rows have no target in 'ill'" in caplog.text
    assert f"{name!r} in 'ill' is taken for a class" in caplog.text


def test_a_number_to_predict_may_still_be_missing_as_na(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise a table as statisticians write it is refused, or rows lose their target without a word."""
    rows = [[age, "NA" if place % 4 == 0 else height] for place, (age, _, height, _) in enumerate(people(40))]
    with caplog.at_level(logging.WARNING):
        csv_table(written(tmp_path / "t.csv", rows, ("age", "height")), "height", task="regression")
    assert "10 of 40 rows have no target in 'height'" in caplog.text


def test_a_category_that_training_never_saw_is_no_random_input(tmp_path: Path) -> None:
    """Otherwise weights that nothing trained decide about it."""
    rows = people(40)
    data = read(written(tmp_path / "t.csv", rows))
    held = {round(height, 2) for height in data.validation["test"].dataset.tensors[0][:, 2].tolist()}
    for row in rows:
        if row[2] in held:
            row[1] = "Aachen"
    data = read(written(tmp_path / "t.csv", rows))
    assert data.facts["columns"].categories[1] == TOWNS
    assert set(data.validation["test"].dataset.tensors[0][:, 1].tolist()) == {0.0}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target": "sick"}, r"no column 'sick'.*Known: age, height, ill, town"),
        ({"categorical": ["ill"]}, "Name each in one place"),
        ({"validation": 0.001}, "holds 0 out"),
        ({"labelled": 31}, "labelled must be from 1 to 30"),
        ({"delimiter": ";"}, "no column 'ill'"),
        ({"delimiter": ";;"}, "delimiter"),
        ({"batch_size": 0}, "batch_size"),
        ({"target": ["ill", "age"]}, "classes stand in one column"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    """Otherwise a misspelt column is a KeyError in the middle of a training."""
    path = written(tmp_path / "t.csv", people(40))
    given = {"target": "ill", "categorical": ["town"], **settings}
    with pytest.raises(ConfigError, match=message):
        csv_table(path, **given)


def test_a_target_of_numbers_is_no_thousand_classes(tmp_path: Path) -> None:
    """Otherwise a forgotten `task` trains a classifier of every price that occurs."""
    rows = [[at, at * 1.5] for at in range(1500)]
    with pytest.raises(ConfigError, match=r"1,500 different values.*set task to regression"):
        csv_table(written(tmp_path / "t.csv", rows, ("a", "b")), "b")


def test_what_float32_cannot_hold_is_refused(tmp_path: Path) -> None:
    """Otherwise a column of time stamps arrives as a few steps, and nobody sees it."""
    rows = [[1_700_000_000 + at, at % 2] for at in range(100)]
    with pytest.raises(ConfigError, match=r"'time' varies by 2\d.*Subtract"):
        csv_table(written(tmp_path / "t.csv", rows, ("time", "b")), "b")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b\n\xff\xfe,1\n", "UTF-8"),
        (b"", "no column 'b'"),
        (b"a,b\n", "holds no row"),
        (b"a,a,b\n1,2,3\n", r"\['a'\] stand twice"),
        (b"a,b\n,1\n,0\n,1\n,0\n", "'a' lacks 4"),
    ],
)
def test_what_is_no_table_is_an_error_with_its_file(content: bytes, message: str, tmp_path: Path) -> None:
    """Otherwise the user sees a UnicodeDecodeError from the depths of Python."""
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        csv_table(str(path), "b", validation=0.5)
    assert "t.csv" in str(caught.value)
    with pytest.raises(ConfigError, match="cannot be read"):
        csv_table(str(tmp_path / "none.csv"), "b")
