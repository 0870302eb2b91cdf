"""What can be set for speed, and what a user may write for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from knowledge_distillation.errors import ConfigError, nearest

WORDS = ("auto", "off")
COMPILED = ("none", "student", "teacher", "both")
PRECISIONS = ("same", "bfloat16", "float16")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings that change how fast a step is, and not what it computes, but for rounding.

    Attributes:
        channels_last: images and the weights of 2-d convolutions lie in memory pixel by pixel, in both models.
        compile: which model runs through torch.compile: "none", "student", "teacher" or "both".
        teacher_precision: the weights of a copied teacher's convolutions and linear layers; "same" copies nothing.
        valid_tokens: the teacher's last linear layer is computed for the tokens of the batch's attention mask only;
            the logits of the others are 0. Waits for a GPU once a step.

    Raises:
        ConfigError: if a value is none of these.
    """

    channels_last: bool = False
    compile: Literal["none", "student", "teacher", "both"] = "none"
    teacher_precision: Literal["same", "bfloat16", "float16"] = "same"
    valid_tokens: bool = False

    def __post_init__(self) -> None:
        for name in ("channels_last", "valid_tokens"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"speed's {name} must be true or false, got {getattr(self, name)!r}.")
        for name, known in (("compile", COMPILED), ("teacher_precision", PRECISIONS)):
            if getattr(self, name) not in known:
                raise ConfigError(
                    f"speed's {name} has no {getattr(self, name)!r}. {nearest(getattr(self, name), known)}"
                )

    def compiles(self, whose: str) -> bool:
        """Whether the "student" or the "teacher" is compiled."""
        return self.compile in (whose, "both")

    @property
    def shown(self) -> str:
        """In words, such as "channels_last and teacher compiled"."""
        compiled = "both models" if self.compile == "both" else self.compile
        parts = [
            "channels_last" if self.channels_last else "",
            "the teacher's head on valid tokens only" if self.valid_tokens else "",
            f"the teacher's weights in {self.teacher_precision}" if self.teacher_precision != "same" else "",
            f"{compiled} compiled" if compiled != "none" else "",
        ]
        return " and ".join(filter(None, parts)) or "nothing changed"


def check_speed(speed: Any) -> Literal["auto", "off"] | Settings:
    """ "auto", "off", or the `Settings` of a mapping such as {"channels_last": True, "compile": "teacher"}.

    False is "off": so YAML reads the word.

    Raises:
        ConfigError: if the word, a key or a value is unknown.
    """
    if speed is False or speed == "off":
        return "off"
    if speed == "auto":
        return "auto"
    if isinstance(speed, Settings):
        return speed
    if not isinstance(speed, Mapping):
        raise ConfigError(
            f"speed has no {speed!r}. {nearest(str(speed), WORDS)} Or a mapping such as {{'channels_last': True}}."
        )
    known = [entry.name for entry in fields(Settings)]
    for key in speed:
        if key not in known:
            raise ConfigError(f"speed has no setting {key!r}. {nearest(str(key), known)}")
    return Settings(**speed)
