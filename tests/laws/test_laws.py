"""Every law of the catalogue, applied to every loss, at every declared case."""

from __future__ import annotations

import pytest

from knowledge_distillation.losses import catalogue
from knowledge_distillation.losses.facts import LAWS
from tests.laws.case import Case
from tests.laws.check_modules import compiled
from tests.laws.checks import CHECKS, DUTIES, hold
from tests.laws.collect import all_cases, cases_of, reasons, title
from tests.laws.draws import FULL, Draw
from tests.laws.evaluate import Inapplicable
from tests.laws.exemptions import is_true

# The quick profile tries the first case of every loss, and compiles, which takes longest, that of every sixteenth.
FIRST = list({case.name: case for case in reversed(all_cases())}.values())
TRIED = all_cases() if FULL else FIRST
COMPILED = {title(case) for case in (TRIED if FULL else FIRST[::16])}
INDUCTOR = FIRST[::8] if FULL else []


def pairs() -> list[object]:
    found: list[object] = []
    for law in LAWS:
        for case in TRIED:
            if law == "compiled" and title(case) not in COMPILED:
                continue
            name = f"{law}-{title(case)}"
            if law in reasons(case):
                reason = f"{law} does not apply to {case.name}: {reasons(case)[law]}"
                found.append(pytest.param(law, case, id=f"{name}-exempt", marks=pytest.mark.skip(reason=reason)))
            else:
                found.append(pytest.param(law, case, id=name))
    return found


def exemptions() -> list[object]:
    return [
        pytest.param(law, name, id=f"{law}-{name}")
        for name, entry in catalogue().items()
        for law in entry.facts.exceptions
        if cases_of(name)
    ]


class TestLossLaws:
    """Every law for every case; a law that does not apply is skipped by name, with its reason (`pytest -rs`)."""

    @pytest.mark.parametrize(("law", "case"), pairs())
    def test_law(self, law: str, case: Case) -> None:
        """A loss that breaks a law it claims trains a student on something its user did not ask for."""
        try:
            hold(law, case)
        except Inapplicable as reason:
            pytest.skip(f"{law} has nothing to say about {case.name}: {reason}")

    @pytest.mark.parametrize("duty", DUTIES)
    @pytest.mark.parametrize("case", [pytest.param(case, id=title(case)) for case in TRIED])
    def test_duty(self, duty: str, case: Case) -> None:
        """The value is the paper's, by an independent float64 oracle, reductions agree, dead units do no harm."""
        try:
            hold(duty, case)
        except Inapplicable as reason:
            pytest.skip(f"{duty} has nothing to say about {case.name}: {reason}")

    @pytest.mark.parametrize(("law", "name"), exemptions())
    def test_exemption_is_true(self, law: str, name: str) -> None:
        """An exemption that is not needed hides a promise that could have been made, or a test never written."""
        assert is_true(law, cases_of(name)), f"{name} obeys {law} in every trial: take the exemption away."


@pytest.mark.parametrize("name", catalogue())
def test_loss_is_declared(name: str) -> None:
    """A loss without a case would be in the catalogue untested."""
    assert cases_of(name), f"{name} has no Case in tests/laws/cases_*.py."


@pytest.mark.parametrize("name", catalogue())
def test_exceptions_are_laws(name: str) -> None:
    """A misspelt law would be an exemption from nothing; one without a reason explains nothing."""
    exceptions = catalogue()[name].facts.exceptions
    assert exceptions.keys() <= LAWS.keys()
    assert all(len(reason.split()) >= 2 for reason in exceptions.values())


def test_every_law_has_a_check() -> None:
    """A law without a check is a promise nobody keeps."""
    assert CHECKS.keys() == LAWS.keys()


def test_cases_are_of_the_catalogue() -> None:
    """A case of a loss that was renamed would never run; two with one name could not be told apart."""
    assert {case.name for case in all_cases()} <= catalogue().keys()
    titles = [title(case) for case in all_cases()]
    assert len(titles) == len(set(titles))


@pytest.mark.parametrize("case", [pytest.param(case, id=title(case)) for case in INDUCTOR])
def test_inductor(case: Case) -> None:
    """The compiler that users run must agree too; a sample, since it takes seconds a loss."""
    if "compiled" in reasons(case):
        pytest.skip(reasons(case)["compiled"])
    compiled(case, Draw(), backend="inductor")
