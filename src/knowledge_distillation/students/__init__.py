"""Students made from a teacher."""

from knowledge_distillation.students.factorising import LowRankLinear, factorise
from knowledge_distillation.students.layers import keep_layers, kept_indices
from knowledge_distillation.students.narrowing import narrow

__all__ = ["LowRankLinear", "factorise", "keep_layers", "kept_indices", "narrow"]
