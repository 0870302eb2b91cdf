"""What goes wrong for a user when the report's page is wrong, unsafe, or needs anything but itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from knowledge_distillation.errors import ConfigError, MissingExtraError
from knowledge_distillation.reporting import write_report
from tests.reporting.pages import TALKING, Page
from tests.reporting.runs import RECIPE, comparison, evaluation, full_run, write

ATTACK = "\"'><img src=x onerror=alert(1)></style></svg><script>alert(2)</script>{{ 7*7 }}[a](javascript:alert(3))|`b`"


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return full_run(tmp_path_factory.mktemp("runs") / "full")


@pytest.fixture(scope="module")
def page(full: Path) -> Page:
    return Page(write_report(full).read_text(encoding="utf-8"))


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for entry in value.values():
            yield from leaves(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from leaves(entry)
    else:
        yield value


def report(home: Path) -> dict[str, Any]:
    write_report(home)
    return json.loads((home / "report.json").read_text())


def test_the_verdict_comes_first_then_the_answer(page: Page) -> None:
    """Otherwise a reader scrolls through tables for the one thing that was asked."""
    headings = [tag for tag, attributes in page.tags if tag in ("h1", "h2")]
    assert headings[:2] == ["h1", "h2"]
    verdict = page.text.index("Distillation helped: +7.5 points")
    answer = page.text.index("Is the student better than plain training, how much smaller and faster is it")
    table = page.text.index("Measured on 10,000 items of test")
    assert page.text.index("small_cnn, taught by resnet18") < verdict < answer < table


def test_the_verdict_says_interval_seeds_steps_and_time(page: Page) -> None:
    """Otherwise a gain that is luck, or bought with time, reads like one that is not."""
    for said in ("95% interval +5.7 to +9.3", "5 paired seeds", "at equal steps", "At equal time: helped, +5.5 points"):
        assert said in page.text


def test_the_answer_is_in_the_runs_own_numbers(page: Page) -> None:
    """Otherwise the page that is shown around claims what was not measured."""
    teacher, student = (evaluation()["models"][name]["cost"] for name in ("teacher", "student"))
    smaller = teacher["file_bytes"] / student["file_bytes"]
    faster = teacher["latency"]["1"]["p50_ms"] / student["latency"]["1"]["p50_ms"]
    assert f"It is {smaller:.1f}\u00d7 smaller and {faster:.1f}\u00d7 faster than the teacher." in page.text
    assert "It can be deployed as int8 or ONNX." in page.text


def test_the_page_is_well_formed_and_each_id_is_there_once(page: Page) -> None:
    """Otherwise browsers guess, and links and descriptions point to the wrong place."""
    assert page.unbalanced == []
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    named = [
        word
        for name in ("aria-labelledby", "aria-describedby")
        for value in page.values(name)
        for word in value.split()
    ]
    targets = [value[1:] for value in page.values("href") if value.startswith("#")]
    assert named
    assert targets
    assert {*named, *targets} <= set(ids)


def test_the_page_asks_nothing_of_anyone(full: Path, page: Page) -> None:
    """Otherwise it is empty on a train, or tells a server who looks at the figures."""
    for attribute in ("src", "href", "srcset", "poster", "action", "data", "background", "xlink:href"):
        for value in page.values(attribute):
            assert value.startswith(("data:", "#")), value
    html = (full / "report.html").read_text()
    assert not re.search(r"https?://|@import|url\(", html)
    policy = next(a["content"] for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert "script-src" not in policy
    assert not TALKING & {tag for tag, _ in page.tags}


def test_every_plot_says_what_it_shows_and_has_its_figures_as_a_table(page: Page) -> None:
    """Otherwise whoever does not see the picture gets nothing."""
    pictures = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert len(pictures) > 12
    for attributes in pictures:
        assert attributes["role"] == "img"
    counts = {tag: sum(found == tag for found, _ in page.tags) for tag in ("figure", "figcaption", "desc")}
    assert counts == dict.fromkeys(counts, len(pictures))
    order = [tag for tag, _ in page.tags if tag in ("figure", "table", "figcaption")]
    assert " ".join(order).count("figure figcaption table") == len(pictures)
    for tag, attributes in page.tags:
        assert tag != "th" or attributes.get("scope") in ("row", "col")


def test_the_tables_numbers_are_those_of_the_evaluation(page: Page) -> None:
    """Otherwise the page and the file disagree, and nobody knows which was measured."""
    rows = {row[0]: row[1:] for row in page.cells}
    models = list(evaluation()["models"].values())
    assert rows["accuracy"] == [f"{100 * model['quality']['value']:.2f}%" for model in models]
    assert rows["parameters"] == [f"{model['cost']['parameters']:,}" for model in models]
    assert rows["calibration error (ECE)"] == [f"{model['calibration']['ece']:.4f}" for model in models]
    latencies = [float(text.removesuffix(" ms")) for text in rows["latency p95, batch 32"]]
    assert latencies == pytest.approx([model["cost"]["latency"]["32"]["p95_ms"] for model in models], rel=5e-3)


def test_json_has_the_measured_numbers_unrounded(full: Path) -> None:
    """Otherwise a script that compares runs compares roundings."""
    found = report(full)
    assert found["verdict"]["comparison"] == comparison()
    rows = {row[""]: row for row in found["sections"]["models"]["blocks"][0]["rows"]}
    for name, model in evaluation()["models"].items():
        assert rows["accuracy"][name] == model["quality"]["value"]
        assert rows["size of the file"][name] == model["cost"]["file_bytes"]


def test_markdown_says_what_html_and_json_say(full: Path, page: Page) -> None:
    """Otherwise the three forms of one report disagree."""
    found = report(full)
    markdown = (full / "report.md").read_text()
    said = " ".join(unescape(re.sub(r"\\(.)", r"\1", markdown)).split())
    texts = [
        found["title"],
        found["subtitle"],
        found["answer"],
        found["verdict"]["headline"],
        found["verdict"]["detail"],
    ]
    texts += [fact[key] for fact in found["facts"] for key in ("question", "answer", "detail")]
    for section in found["sections"].values():
        texts.append(section["title"])
        for block in section["blocks"]:
            texts += [block[key] for key in ("text", "table", "list", "fault") if key in block and "file" not in block]
            texts += [plot["description"] for plot in block.get("plots", ())]
    for text in texts:
        assert " ".join(text.split()) in said, text
        assert " ".join(text.split()) in page.text, text
    in_markdown = [row.strip("| ").split(" | ") for row in markdown.splitlines() if row.startswith("| accuracy |")]
    in_page = next(row for row in page.cells if row[0] == "accuracy")
    assert [re.sub(r" \(.*", "", cell) for cell in in_markdown[0]] == in_page


def test_names_and_texts_of_a_run_cannot_become_markup(tmp_path: Path) -> None:
    """Otherwise a run that someone sends you runs their program in your browser."""
    home = full_run(tmp_path / "run")
    found = evaluation()
    student = found["models"].pop("student")
    student["quality"]["metric"] = ATTACK
    student["also"][ATTACK] = 0.5
    student["cost"]["how"][ATTACK] = ATTACK
    student["robustness"][ATTACK] = {ATTACK: 0.5, "1": 0.4}
    for row in student["per_class"]:
        row["name"] = ATTACK
    found["models"] = {"student": student, ATTACK: student, **found["models"]}
    found["fidelity"][ATTACK] = {"agreement": 0.5, "cka": {ATTACK: 0.5}}
    found["data"]["loader"] = ATTACK
    found["regressions"]["per_slice"][0]["slice"] = ATTACK
    found["regressions"]["worse"][0] |= {"label": ATTACK, "index": ATTACK, "sample": ATTACK}
    found["notes"] = [ATTACK]
    write(home, "evaluation", found)
    write(home, "comparison", {**comparison(), "metric": ATTACK, "control": ATTACK, "arms": {ATTACK: comparison()}})
    write(home, "environment", {"scores": {ATTACK: 1.0}, ATTACK: ATTACK, "teacher": ATTACK})
    write(
        home,
        "doctor",
        {"findings": [{"severity": ATTACK, "fault": ATTACK, "fix": ATTACK}], "skipped": {ATTACK: ATTACK}},
    )
    (home / "recipe.yaml").write_text(RECIPE.replace("resnet18", json.dumps(ATTACK)) + f"# {ATTACK}\n")
    lines = (home / "metrics.csv").read_text().splitlines()
    lines[0] = lines[0].replace("kd", '"' + ATTACK.replace('"', '""') + '"', 1)
    (home / "metrics.csv").write_text("\n".join(lines))
    (home / "exports" / "onnx").rename(home / "exports" / "<b onclick=alert(4)>")
    page = Page(write_report(home, title=ATTACK).read_text())
    assert page.unbalanced == []
    assert page.text.count("<script>alert(2)</script>") > 20
    assert "49" not in re.findall(r"\d+(?=\[a\])", page.text)
    tags = {tag for tag, _ in page.tags}
    assert not (TALKING | {"b onclick"}) & tags
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert {a["src"].split(",")[0] for tag, a in page.tags if tag == "img"} == {"data:image/png;base64"}
    markdown = (home / "report.md").read_text()
    outside = re.sub(r"^(`{3,})\n.*?^\1$", "", markdown, flags=re.S | re.M)
    assert "<" not in outside
    assert "](javascript" not in outside.replace(r"\](", "")


def test_a_run_cannot_show_other_files_of_this_computer(tmp_path: Path) -> None:
    """Otherwise a report made from a run that someone sent you carries your own files to whoever reads it."""
    home = full_run(tmp_path / "run")
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"mine")
    (home / "samples" / "link.png").symlink_to(secret)
    found = evaluation()
    places = ["../secret.png", "samples/../../secret.png", str(secret), "samples/link.png", "recipe.yaml"]
    found["regressions"]["worse"] = [{"index": n, "sample": place} for n, place in enumerate(places)]
    write(home, "evaluation", found)
    page = Page(write_report(home).read_text())
    assert [tag for tag, _ in page.tags if tag in ("img", "audio")] == []


@pytest.mark.parametrize("text", ["what is said. " * 20, "word " * 60 + "a.png", "a\0b.png"])
def test_a_text_is_shown_whatever_it_looks_like(text: str, tmp_path: Path) -> None:
    """Otherwise hours of measuring end in an error, because a text is too long for the name of a file."""
    home = full_run(tmp_path / "run")
    found = evaluation()
    found["regressions"]["worse"] = [{"index": 0, "sample": text}]
    write(home, "evaluation", found)
    assert text.split("\0")[-1].strip()[:20] in Page(write_report(home).read_text()).text


def test_an_item_within_a_sample_says_where_it_is_and_what_was_answered(tmp_path: Path) -> None:
    """Otherwise a reader of a language model's mistakes sees numbers of tokens, and looks for the place in vain."""
    home = full_run(tmp_path / "run")
    found = evaluation()
    named = {"label": "' is'", "teacher": "' is'", "student": "','"}
    item = {"index": 7, "position": 67, "label": 314, "teacher": 314, "student": 11, "names": named}
    found["regressions"]["worse"] = [{**item, "sample": "the union ▸ is strong"}]
    write(home, "evaluation", found)
    text = Page(write_report(home).read_text()).text
    assert "Item 7, position 67" in text
    assert "label ' is' teacher ' is' student ','" in text
    assert "the union ▸ is strong" in text


def test_pictures_sounds_and_texts_are_in_the_page(full: Path, page: Page) -> None:
    """Otherwise nobody sees what the student gets wrong."""
    media = [attributes["src"] for tag, attributes in page.tags if tag in ("img", "audio")]
    assert [source.split(";")[0] for source in media] == ["data:image/png"] * 3 + ["data:audio/wav"]
    assert "a text of two lines" in page.text
    assert "label dress teacher dress student shirt" in page.text


@pytest.mark.parametrize(
    "absent",
    ["recipe.yaml", "environment.json", "metrics.csv", "comparison.json", "evaluation.json", "doctor.json", "exports"],
)
def test_each_part_may_be_absent_and_says_how_to_get_it(absent: str, tmp_path: Path) -> None:
    """Otherwise a run without one of them has no report at all, or one that hides what is missing."""
    home = full_run(tmp_path / "run")
    place = home / absent
    place.rename(tmp_path / "away")
    html = write_report(home).read_text()
    page = Page(html)
    assert page.unbalanced == []
    commands = {
        "comparison.json": f"kd compare {home}/recipe.yaml --seeds 5",
        "evaluation.json": f"kd report {home} --evaluate",
        "doctor.json": f"kd doctor {home / 'recipe.yaml'}",
        "exports": f"kd export {home} --to onnx",
    }
    said = {"recipe.yaml": "no recipe.yaml", "environment.json": "no environment.json", "metrics.csv": "no metrics.csv"}
    assert (commands | said)[absent] in page.text
    if absent == "comparison.json":
        assert "Whether distillation helped was not asked" in page.text
        assert "Distillation helped" not in page.text


@pytest.mark.parametrize(
    "name", ["environment.json", "comparison.json", "evaluation.json", "doctor.json", "recipe.yaml"]
)
@pytest.mark.parametrize(
    "content", ["{", "[1]", "\udcff", '{"models": 3, "regressions": [], "findings": 1, "seeds": "x"}']
)
def test_a_damaged_file_leaves_a_word_and_the_rest_of_the_report(name: str, content: str, tmp_path: Path) -> None:
    """Otherwise a run that crashed while writing loses its whole report."""
    home = full_run(tmp_path / "run")
    (home / name).write_bytes(content.encode("utf-8", errors="surrogateescape"))
    page = Page(write_report(home).read_text())
    assert page.unbalanced == []
    if content == "{":
        assert f"{name} " in page.text
        assert "Files that could not be read" in page.text


def test_null_figures_are_left_open(tmp_path: Path) -> None:
    """Otherwise a metric that gave NaN, which is null in the file, breaks the report or reads as 0."""
    home = full_run(tmp_path / "run")
    found = json.loads(json.dumps(evaluation()), parse_float=lambda text: None, parse_int=lambda text: None)
    write(home, "evaluation", found)
    page = Page(write_report(home).read_text())
    assert page.unbalanced == []
    assert "not measured" in page.text
    assert "nan" not in page.text.lower().split()


def test_another_file_than_the_proven_one_is_not_called_deployable(tmp_path: Path) -> None:
    """Otherwise a file that was changed after it was compared is shipped as the student."""
    home = full_run(tmp_path / "run")
    for form in ("onnx", "int8"):
        (home / "exports" / form / "student.onnx").write_bytes(b"another")
    found = report(home)
    assert next(fact for fact in found["facts"] if "deploy" in fact["question"])["answer"] == "Not yet"


@pytest.mark.parametrize(
    ("verdict", "said"), [("hurt", "Distillation hurt: \u22127.5 points"), ("no evidence", "No evidence that")]
)
def test_a_teacher_that_does_not_help_is_said_as_plainly(verdict: str, said: str, tmp_path: Path) -> None:
    """Otherwise the report flatters."""
    home = full_run(tmp_path / "run")
    found = comparison()
    sign = -1 if verdict == "hurt" else 1
    write(home, "comparison", {**found, "verdict": verdict, "difference": sign * found["difference"]})
    assert report(home)["verdict"]["headline"].startswith(said)


def test_a_metric_that_is_no_share_is_not_read_as_points(tmp_path: Path) -> None:
    """Otherwise a perplexity that fell by 0.8 is reported as 80 points."""
    home = full_run(tmp_path / "run")
    (home / "evaluation.json").unlink()
    found = comparison()
    write(
        home,
        "comparison",
        {**found, "metric": "perplexity", "difference": 0.8, "with_teacher": [11.2], "without_teacher": [12.0]},
    )
    assert report(home)["verdict"]["headline"] == "Distillation helped: +0.8 perplexity"


@pytest.mark.parametrize("falling", [False, True])
def test_pairs_are_counted_by_what_is_better(falling: bool, tmp_path: Path) -> None:
    """Otherwise a perplexity that the teacher lowered with every seed reads "0 of 3 pairs"."""
    home = full_run(tmp_path / "run")
    low, high = [11.2, 11.4, 12.1], [12.0, 12.2, 12.0]
    arms = {"with_teacher": low if falling else high, "without_teacher": high if falling else low}
    write(home, "comparison", {**comparison(), "metric": "found", "seeds": [0, 1, 2], "difference": 0.5, **arms})
    write_report(home)
    assert "Better with teacher in 2 of 3 pairs." in (home / "report.html").read_text()


def test_the_same_files_give_the_same_report(full: Path, tmp_path: Path) -> None:
    """Otherwise two people who look at one run see two reports."""
    forms = ("report.html", "report.md", "report.json")
    write_report(full)
    before = [(full / name).read_bytes() for name in forms]
    write_report(full)
    assert [(full / name).read_bytes() for name in forms] == before
    assert not list(full.glob(".*part"))


def test_a_continued_training_is_one_curve(tmp_path: Path) -> None:
    """Otherwise the first half of a training that was resumed is missing from its curves."""
    home = full_run(tmp_path / "run")
    lines = (home / "metrics.csv").read_text().splitlines()
    middle = len(lines) // 2
    (home / "metrics.1.csv").write_text("\n".join(lines[:middle]) + "\n1,2")
    (home / "metrics.csv").write_text("\n".join([lines[0], *lines[middle:]]))
    found = report(home)
    plots = {plot["plot"]: plot["rows"] for plot in found["sections"]["curves"]["blocks"][0]["plots"]}
    assert plots["Loss: kd"][0]["step"] == 0
    assert plots["Loss: kd"][-1]["step"] == 595
    assert set(plots) == {"Score: test", "Loss: total", "Loss: kd", "Loss: cross_entropy", "Learning rate: AdamW"}


def test_a_directory_that_is_no_run_is_an_input_error(tmp_path: Path) -> None:
    """Otherwise a typing error gives an empty report."""
    with pytest.raises(ConfigError, match="no directory"):
        write_report(tmp_path / "absent")
    (tmp_path / "other.txt").write_text("")
    with pytest.raises(ConfigError, match="no file of a run"):
        write_report(tmp_path)


def test_a_missing_package_names_the_extra(full: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the user meets ModuleNotFoundError and must guess what to install."""
    monkeypatch.setattr("knowledge_distillation.reporting.writing.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"knowledge-distillation-toolkit\[report\]"):
        write_report(full)


def test_a_bin_of_one_item_is_no_gap(tmp_path: Path) -> None:
    """Otherwise a single odd item among 500 is reported as 75 points of false confidence."""
    home = full_run(tmp_path / "run")
    found = evaluation()
    found["models"]["student"]["calibration"]["bins"] = [
        {"low": 0.7, "high": 0.8, "confidence": 0.75, "accuracy": 0.0, "count": 1},
        {"low": 0.8, "high": 0.9, "confidence": 0.85, "accuracy": 0.81, "count": 99},
        {"low": 0.9, "high": 1.0, "confidence": 0.99, "accuracy": 0.9, "count": 400},
    ]
    write(home, "evaluation", found)
    html = write_report(home).read_text()
    assert "The widest gap: 90% right where it is 99% sure." in Page(html).text
    assert html.count("bar c-student few") == 1


def test_a_file_exported_after_the_evaluation_is_named_with_the_command(tmp_path: Path) -> None:
    """Otherwise a table without the exported file reads as if there were none."""
    home = full_run(tmp_path / "run")
    found = evaluation()
    del found["models"]["int8"]
    write(home, "evaluation", found)
    text = Page(write_report(home).read_text()).text
    assert f"Not measured with the others: int8. kd report {home} --evaluate" in text
