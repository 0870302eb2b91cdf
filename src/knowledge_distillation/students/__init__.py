"""Students made from a teacher."""

from knowledge_distillation.students.configured import from_config
from knowledge_distillation.students.factorising import LowRankConv, LowRankLinear, factorise
from knowledge_distillation.students.layers import keep_layers, kept_indices
from knowledge_distillation.students.narrowing import narrow
from knowledge_distillation.students.searching import LayerSearch, search_layers
from knowledge_distillation.students.targets import Proposal, to_target

__all__ = [
    "LayerSearch",
    "LowRankConv",
    "LowRankLinear",
    "Proposal",
    "factorise",
    "from_config",
    "keep_layers",
    "kept_indices",
    "narrow",
    "search_layers",
    "to_target",
]
