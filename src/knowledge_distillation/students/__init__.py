"""Students made from a teacher."""

from knowledge_distillation.students.layers import keep_layers, kept_indices

__all__ = ["keep_layers", "kept_indices"]
