"""What goes wrong for a user when the adapters misread a batch or what a model returns."""

from __future__ import annotations

from collections import OrderedDict, UserDict, namedtuple
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from knowledge_distillation.capture.adapters import (
    ADAPTERS,
    LABEL_KEYS,
    adapter_pair,
    auto,
    check_normalised,
    original_student,
    original_teacher,
)
from knowledge_distillation.errors import ConfigError, ModelContractError
from knowledge_distillation.signals import Signals

INPUTS = torch.arange(12.0).reshape(4, 3)
LABELS = torch.tensor([0, 1, 1, 0])
LOGITS = torch.tensor([[1.0, 2.0], [0.0, 3.0], [5.0, 1.0], [2.0, 2.0]])


class Says(nn.Module):
    """Notes how it was called and returns what it was told."""

    def __init__(self, answer: Any = LOGITS) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, *inputs: Any, **keywords: Any) -> Any:
        self.inputs, self.keywords = inputs, keywords
        return self.answer


class ModelOutput(OrderedDict):
    """Stands for Hugging Face's: an ordered dict without its None entries, read by key, place or attribute."""

    def __init__(self, **entries: Any) -> None:
        super().__init__({name: entry for name, entry in entries.items() if entry is not None})

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(key) if isinstance(key, str) else tuple(self.values())[key]

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getitem__(name)
        except KeyError:
            raise AttributeError(name) from None


Pair = namedtuple("Pair", ["images", "labels"])


def test_a_bare_tensor_is_the_input_and_carries_no_labels() -> None:
    """Otherwise unlabelled data is split along its first axis and rows become labels."""
    model = Says()
    signals = auto(model, INPUTS)
    assert model.inputs == (INPUTS,)
    assert model.keywords == {}
    assert signals.logits is LOGITS
    assert signals.labels is None


@pytest.mark.parametrize("form", [tuple, list, lambda entries: Pair(*entries)], ids=["tuple", "list", "namedtuple"])
def test_the_last_of_two_entries_is_the_labels(form: Any) -> None:
    """Otherwise the labels are handed to the model, or the student learns without them."""
    model = Says()
    signals = auto(model, form([INPUTS, LABELS]))
    assert len(model.inputs) == 1
    assert model.inputs[0] is INPUTS
    assert signals.labels is LABELS


def test_every_entry_but_the_last_is_a_positional_input() -> None:
    """Otherwise a model of two inputs loses its second one."""
    model, second = Says(), INPUTS + 1
    signals = auto(model, (INPUTS, second, LABELS))
    assert model.inputs[0] is INPUTS
    assert model.inputs[1] is second
    assert len(model.inputs) == 2
    assert signals.labels is LABELS


def test_a_tuple_of_one_is_an_input_not_labels() -> None:
    """Otherwise TensorDataset(inputs), whose batches are tuples of one, calls the model with nothing."""
    model = Says()
    assert auto(model, (INPUTS,)).labels is None
    assert model.inputs == (INPUTS,)


@pytest.mark.parametrize("key", LABEL_KEYS)
@pytest.mark.parametrize("form", [dict, UserDict], ids=["dict", "Mapping"])
def test_a_dict_goes_in_by_keyword_without_its_labels(key: str, form: Any) -> None:
    """Otherwise a tokenised batch fails, or the model sees the answer."""
    model = Says()
    signals = auto(model, form({"input_ids": INPUTS, key: LABELS}))
    assert model.inputs == ()
    assert list(model.keywords) == ["input_ids"]
    assert signals.labels is LABELS


def test_the_sample_index_of_a_dict_reaches_the_losses_and_not_the_model() -> None:
    """Otherwise memory-bank losses such as CRD cannot tell samples apart."""
    model, index = Says(), torch.arange(4)
    signals = auto(model, {"x": INPUTS, "index": index})
    assert list(model.keywords) == ["x"]
    assert signals.extras["index"] is index


@pytest.mark.parametrize("batch", [(), [], "text", 3, None, {1, 2}], ids=repr)
def test_a_batch_of_no_known_form_is_refused_with_the_way_out(batch: Any) -> None:
    """Otherwise the user sees an error from deep inside the model."""
    with pytest.raises(ModelContractError, match=r"must be a tensor.*collate_fn.*adapter"):
        auto(Says(), batch)


@pytest.mark.parametrize(
    "answer",
    [
        LOGITS,
        (LOGITS, torch.zeros(1)),
        [LOGITS],
        (None, LOGITS),
        {"logits": LOGITS, "hidden": 1},
        {"out": LOGITS, "aux": LOGITS + 1},
        ModelOutput(loss=torch.tensor(1.0), logits=LOGITS, past=None),
        Signals(logits=LOGITS),
    ],
    ids=["tensor", "tuple", "list", "None first", "dict", "out", "ModelOutput", "Signals"],
)
def test_the_logits_are_found_in_every_form_of_output(answer: Any) -> None:
    """Otherwise an unmodified model cannot be distilled at all, or its auxiliary head is."""
    assert auto(Says(answer), INPUTS).logits is LOGITS


def test_labels_survive_every_form_of_output() -> None:
    """Otherwise cross-entropy complains of missing labels although the loader gives them."""
    for answer in (LOGITS, (LOGITS,), {"logits": LOGITS}, ModelOutput(logits=LOGITS)):
        assert auto(Says(answer), (INPUTS, LABELS)).labels is LABELS


def test_hidden_states_are_features_with_and_without_logits() -> None:
    """Otherwise encoders without a head, and terms on hidden states, are out of reach."""
    states = (torch.zeros(4, 2), torch.ones(4, 2))
    encoder = auto(Says(ModelOutput(last_hidden_state=states[1], hidden_states=states)), INPUTS)
    assert encoder.logits is None
    assert encoder.features["hidden_states"] is states
    assert encoder.features["last_hidden_state"] is states[1]
    assert auto(Says({"logits": LOGITS, "attentions": states}), INPUTS).features["attentions"] is states


def test_a_dict_of_scalars_under_loss_becomes_own_terms_and_a_bare_scalar_does_not() -> None:
    """Otherwise the student's own losses vanish, or a Hugging Face loss is counted twice."""
    own = {"aux": torch.tensor(2.0)}
    signals = auto(Says({"logits": LOGITS, "loss": own}), INPUTS)
    assert signals.loss_terms == own
    assert signals.loss_terms is not own
    assert auto(Says(ModelOutput(loss=torch.tensor(1.0), logits=LOGITS)), INPUTS).loss_terms == {}


def test_the_attention_mask_counts_only_where_it_fits_the_items() -> None:
    """Otherwise padding teaches the student, or a sentence classifier fails on its mask."""
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    tokens = {"input_ids": torch.ones(2, 3), "attention_mask": mask}
    per_token = auto(Says({"logits": torch.zeros(2, 3, 7)}), tokens)
    assert per_token.mask is not None
    assert per_token.mask.tolist() == mask.bool().tolist()
    assert auto(Says({"logits": torch.zeros(2, 7)}), tokens).mask is None


def test_the_attention_mask_also_counts_for_a_model_that_returns_a_plain_tensor() -> None:
    """Otherwise the same token model masks padding or not, depending on how it wraps its logits."""
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    signals = auto(Says(torch.zeros(2, 3, 7)), {"input_ids": torch.ones(2, 3), "attention_mask": mask})
    assert signals.mask is not None
    assert signals.mask.tolist() == mask.bool().tolist()


@dataclass
class Custom:
    logits: Tensor


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"scores": LOGITS}, r"keys \['scores'\].*none of which is 'logits'"),
        (None, "returned NoneType"),
        (("a", 1), "returned tuple"),
        (Custom(LOGITS), "returned Custom"),
        ("text", "returned str"),
    ],
)
def test_an_output_of_no_known_form_is_refused_by_name(answer: Any, message: str) -> None:
    """Otherwise nothing is compared and the user learns it from an AttributeError."""
    with pytest.raises(ModelContractError, match=message) as caught:
        auto(Says(answer), INPUTS)
    assert "adapter" in str(caught.value)


def test_auto_leaves_the_temperature_to_the_losses() -> None:
    """Otherwise logits are softened twice."""
    assert auto(Says(), INPUTS, 9.0).logits is LOGITS


def test_an_adapter_is_a_name_a_callable_or_a_pair() -> None:
    """Otherwise teacher and student cannot be called in different ways."""
    assert adapter_pair("auto") == (auto, auto)
    assert adapter_pair("original") == (original_student, original_teacher)
    assert adapter_pair(auto) == (auto, auto)
    assert adapter_pair((original_student, auto)) == (original_student, auto)
    assert set(ADAPTERS) == {"auto", "causal_lm", "original", "two_tokenizers", "response_pairs"}


@pytest.mark.parametrize(
    "adapter", [3, None, (auto,), (auto, 3), (auto, auto, auto)], ids=["3", "None", "one", "no callable", "three"]
)
def test_an_adapter_of_another_type_is_refused(adapter: Any) -> None:
    """Otherwise the mistake shows up as 'not callable' on the first batch."""
    with pytest.raises(ConfigError, match="adapter must be a name"):
        adapter_pair(adapter)


def test_a_misspelt_adapter_shows_the_near_one() -> None:
    """Otherwise the user must search the code for the two names."""
    with pytest.raises(ConfigError, match=r"'orignal'.*Did you mean 'original'"):
        adapter_pair("orignal")


def original_answer(**changes: Any) -> dict[str, Any]:
    logits = LOGITS.clone()
    answer = {"prob": logits.softmax(-1), "logits": logits, "log_prob": logits.log_softmax(-1)}
    return {**answer, **changes}


def test_the_original_contract_hands_on_the_temperature_and_keeps_the_models_dict_as_it_was() -> None:
    """Otherwise models written for the original toolkit soften wrongly or see their own losses changed."""
    own = {"student_loss": torch.tensor(1.5)}
    model = Says(original_answer(loss=own))
    signals = original_student(model, (INPUTS, LABELS), 3.0)
    assert model.keywords == {"temperature": 3.0}
    assert model.inputs == (INPUTS, LABELS)
    assert signals.loss_terms == own
    assert signals.loss_terms is not own
    teacher = original_teacher(Says(original_answer()), [INPUTS], 1.0)
    torch.testing.assert_close(teacher.log_probs, LOGITS.log_softmax(-1))


@pytest.mark.parametrize(
    ("batch", "changes", "message"),
    [
        (INPUTS, {}, "must be a tuple or list"),
        ((INPUTS,), {"loss": torch.tensor(1.0)}, "'loss' must be a dict"),
        ((INPUTS,), {"loss": {"own": LOGITS}}, r"'own' must be one number, got \(4, 2\)"),
        ((INPUTS,), {"prob": LOGITS.long()}, "'prob' must be a floating-point tensor"),
        ((INPUTS,), {"log_prob": 3.0}, "'log_prob' must be a floating-point tensor"),
    ],
)
def test_a_breach_of_the_original_contract_is_named(batch: Any, changes: dict[str, Any], message: str) -> None:
    """Otherwise the breach surfaces as a shape error inside a loss."""
    with pytest.raises(ModelContractError, match=message):
        original_student(Says(original_answer(**changes)), batch, 1.0)


def test_a_missing_key_of_the_original_contract_is_named() -> None:
    """Otherwise the user sees a bare KeyError."""
    answer = original_answer()
    del answer["log_prob"]
    with pytest.raises(ModelContractError, match=r"student's output lacks \['log_prob'\]"):
        original_student(Says(answer), (INPUTS,), 1.0)


def test_probabilities_over_the_batch_axis_are_refused() -> None:
    """Otherwise the student learns which sample is typical, with a loss that falls nicely."""
    wrong = Signals(log_probs=LOGITS.log_softmax(dim=0))
    with pytest.raises(ModelContractError, match="over the batch"):
        check_normalised(wrong, "student")


def test_nan_probabilities_are_refused_and_unnormalised_ones_complained_of() -> None:
    """Otherwise training runs on numbers that are no distribution, in silence."""
    with pytest.raises(ModelContractError, match="NaN"):
        check_normalised(Signals(log_probs=torch.full((2, 2), float("nan"))), "teacher")
    complaint = check_normalised(Signals(log_probs=torch.full((3, 4), 0.5).log()), "teacher")
    assert complaint is not None
    assert "teacher's probabilities sum to 2..2" in complaint


def test_true_distributions_pass_the_check() -> None:
    """Otherwise every sound model is warned about."""
    assert check_normalised(Signals(log_probs=LOGITS.log_softmax(-1)), "student") is None
    assert check_normalised(Signals(log_probs=torch.tensor([[1.0, 0.0]]).log()), "student") is None
    assert check_normalised(Signals(logits=LOGITS), "student") is None
