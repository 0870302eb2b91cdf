"""Mutation test of the losses: how many deliberate mistakes do the tests notice?

Every loss is broken in several small ways (operators.py), always the same ones, and the tests that concern it are run
in this process: the laws as hypothesis draws them in the quick profile, the oracles, the companions, the golden
vectors and the doctests. A mutant is killed when one of them fails. Tests that fail without any change do not count.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.mutation.judge import Trial, companion_trials, example_trials, law_trials, passes, trials_by_file
from benchmarks.mutation.mutants import Mutant, mutants_of, sample
from benchmarks.mutation.swap import ROOT, broken
from benchmarks.report import progress
from knowledge_distillation.losses import catalogue
from tests.laws.case import Case

LOSSES = ROOT / "losses"
NO_MATHEMATICS = {"catalogue.py", "facts.py", "loss.py", "__init__.py"}
# cases that judge a file of shared code; more would test the same lines again
JUDGES_OF_SHARED_CODE = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--per-loss", type=int, default=6, help="mutants for each loss and each file of shared code")
    parser.add_argument("--only", default="", help="only files whose path contains this")
    parser.add_argument("--all", action="store_true", help="every mutant there is, not a sample; takes hours")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Keys mutants, killed_share, survivors, and counts by operator."""
    started = time.perf_counter()
    cases, golden = trials_by_file(LOSSES)
    survivors: list[Mutant] = []
    killers: Counter[str] = Counter()
    failing: list[str] = []
    untested: list[str] = []
    per_operator: Counter[str] = Counter()
    total = 0
    for file in sorted(LOSSES.rglob("*.py")):
        if file.name in NO_MATHEMATICS or arguments.only not in str(file):
            continue
        judges = judging(file, cases.get(file, []))
        if not judges:
            untested.append(str(file.relative_to(LOSSES)))
        trials = [trial for case in judges for trial in law_trials(case)] + golden.get(file, [])
        trials += companion_trials(sorted({case.name for case in cases.get(file, [])})) + example_trials(file)
        trials.sort(key=lambda trial: not trial.name.startswith(("oracle", "golden", "reductions")))
        good = [trial for trial in trials if passes(trial)]
        failing += [trial.name for trial in trials if trial not in good]
        chosen = mutants_of(file) if arguments.all else sample_by_loss(file, arguments.per_loss)
        lost = 0
        for mutant in chosen:
            killer = killed_by(mutant, good)
            per_operator[mutant.operator] += 1
            if killer is None:
                survivors.append(mutant)
                lost += 1
            else:
                killers[killer.name.partition(" ")[0]] += 1
        total += len(chosen)
        seconds = time.perf_counter() - started
        progress(f"{seconds:5.0f} s  {file.relative_to(LOSSES)}: {len(chosen) - lost} of {len(chosen)} killed")
    return {
        "mutants": total,
        "killed_share": round(1 - len(survivors) / total, 4) if total else None,
        "survivors": [mutant.name for mutant in survivors],
        "by_operator": dict(per_operator),
        "killed_by": dict(killers.most_common()),
        "files_without_tests": untested,
        "failing_without_mutant": failing,
        "seconds": round(time.perf_counter() - started, 1),
    }


def judging(file: Path, touching: list[Case]) -> list[Case]:
    """The cases of the losses that a file defines; for shared code, some of the cases that run it."""
    own = [case for case in touching if Path(catalogue()[case.name].function.__code__.co_filename) == file]
    return own or touching[:: max(1, len(touching) // JUDGES_OF_SHARED_CODE)][:JUDGES_OF_SHARED_CODE]


def sample_by_loss(file: Path, count: int) -> list[Mutant]:
    mutants = mutants_of(file)
    losses = sum(Path(entry.function.__code__.co_filename) == file for entry in catalogue().values())
    return sample(mutants, count * max(1, losses)) if mutants else []


def killed_by(mutant: Mutant, trials: list[Trial]) -> Trial | None:
    try:
        with broken(mutant.file, mutant.function, mutant.source):
            return next((trial for trial in trials if not passes(trial)), None)
    except (SyntaxError, NameError, ValueError) as error:
        raise RuntimeError(f"{mutant.name} cannot be tried") from error
