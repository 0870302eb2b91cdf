"""Faster settings of a training that give the same numbers: tried on the first batch, or given by the user."""

from knowledge_distillation.training.speed.settings import Settings, check_speed
from knowledge_distillation.training.speed.speed_up import SpeedUp

__all__ = ["Settings", "SpeedUp", "check_speed"]
