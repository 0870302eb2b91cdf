"""The original toolkit's wav2vec 2.0 student and its batches, for `KnowledgeDistillationTraining`, on Transformers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch import Tensor, nn

from knowledge_distillation.domains.speech.models import check_first_kept, ctc
from knowledge_distillation.domains.speech.signals import CTCSignals
from knowledge_distillation.domains.speech.utterances import collate
from knowledge_distillation.errors import ConfigError
from knowledge_distillation.students import keep_layers, kept_indices


class OriginalForm(nn.Module):
    """A CTC model in the original's form: called by position, with a temperature, it returns a dict.

    Logits are [samples, frames, characters]; the original's have the frames first. They are raw, and "prob" and
    "log_prob" are of the logits divided by the temperature.

    Args:
        model: as of `ctc`.
        signals: how it is called.
    """

    def __init__(self, model: nn.Module, signals: CTCSignals | None = None) -> None:
        super().__init__()
        self.model = model
        self.signals = signals or CTCSignals()

    def forward(
        self,
        source: Tensor,
        padding_mask: Tensor | None = None,
        mask: bool = False,
        features_only: bool = True,
        temperature: float = 1,
    ) -> dict[str, Any]:
        """Say what is heard.

        Args:
            source: recordings, shape [samples, length].
            padding_mask: True at padding, same shape; None for no padding.
            mask: must be False: what is heard is hidden in training by `ctc(spec_augment=True)`.
            features_only: must be True, as in the original's training.
            temperature: > 0.

        Returns:
            "logits", "prob", "log_prob" [samples, frames, characters]; "padding_mask" [samples, frames], True at
            padding; "loss": {"features_pen", "student_loss": 0}.

        Raises:
            ConfigError: if mask is True or features_only False.
        """
        if mask or not features_only:
            raise ConfigError(
                "The student must be called with mask=False and features_only=True, as the original's batches do: its "
                "pretraining on hidden frames is not here."
            )
        batch = {"input_values": source}
        if padding_mask is not None:
            batch["attention_mask"] = (~padding_mask.bool()).long()
        said = self.signals.student(self.model, batch)
        scaled = said.logits / temperature
        return {
            "logits": said.logits,
            "prob": scaled.softmax(dim=-1),
            "log_prob": scaled.log_softmax(dim=-1),
            "padding_mask": None if said.mask is None else ~said.mask,
            "loss": {**said.loss_terms, "student_loss": 0},
        }


def create_student_model(
    *,
    fairseq_pretrained_model_path: str,
    num_trans_layer_student_model: int,
    student_init_model_path: str = "",
    student_init_model_type: Literal["fairseq_pretrained", "previous_kd_ckpt"] = "fairseq_pretrained",
    student_trans_layer_init_method: Literal["first_k", "last_k", "every_k"] = "every_k",
    signals: CTCSignals | None = None,
) -> OriginalForm:
    """The original's maker of students: the pretrained model with fewer transformer layers, in its form.

    Args:
        fairseq_pretrained_model_path: folder or hub id of the model in Transformers' form, which fairseq's is not.
        num_trans_layer_student_model: layers to keep.
        student_init_model_path: with "previous_kd_ckpt" the earlier run's directory or student.safetensors.
        student_init_model_type: which of the two the layers come from.
        student_trans_layer_init_method: which layers. "every_k" takes the original's: every n-th, n being the whole
            part of total / kept, so that the last layers are left out where the numbers do not divide. The rule of this
            name elsewhere spaces them over all layers.
        signals: how the model is called; None for wav2vec 2.0's frames.

    Raises:
        ConfigError: as of `ctc`; or if the type or the method is unknown.
    """
    methods = ("first_k", "last_k", "every_k")
    if student_init_model_type not in ("fairseq_pretrained", "previous_kd_ckpt"):
        raise ConfigError(
            "student_init_model_type must be 'fairseq_pretrained' or 'previous_kd_ckpt', got "
            f"{student_init_model_type!r}."
        )
    if student_trans_layer_init_method not in methods:
        raise ConfigError(
            f"student_trans_layer_init_method must be one of {methods}, got {student_trans_layer_init_method!r}."
        )
    earlier = student_init_model_type == "previous_kd_ckpt"
    if earlier and not student_init_model_path:
        raise ConfigError("student_init_model_path must name the earlier run with 'previous_kd_ckpt', and is empty.")
    whole: Any = ctc(fairseq_pretrained_model_path, previous=student_init_model_path if earlier else None)
    stack, count = f"{whole.base_model_prefix}.encoder.layers", num_trans_layer_student_model
    kept = kept_indices(len(whole.get_submodule(stack)), count, student_trans_layer_init_method)
    if student_trans_layer_init_method == "every_k":
        kept = every_kth(len(whole.get_submodule(stack)), count)
    check_first_kept(whole, stack, kept)
    return OriginalForm(keep_layers(whole, count, kept, stack=stack), signals)


def every_kth(total: int, count: int) -> list[int]:
    """The layers that the original's "every_k" takes, `count` of `total`, count <= total.

    Example:
        >>> every_kth(12, 5)
        [0, 2, 4, 6, 8]
    """
    return list(range(0, total, total // count))[:count]


def original_batches(samples: Sequence[Mapping[str, Tensor]]) -> tuple[Tensor, Tensor, bool, bool]:
    """A collate function in the original's form: recordings, padding mask, mask=False, features_only=True.

    Args:
        samples: of `Utterances`.

    Returns:
        Float [samples, longest] with zeros behind each recording, and bool of the same shape, True at padding.
    """
    batch = collate([dict(sample) for sample in samples])
    return batch["input_values"], batch["attention_mask"] == 0, False, True
