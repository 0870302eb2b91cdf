"""What the student is asked to do: weighted terms, each a loss between a student and a teacher signal."""

from knowledge_distillation.objective.objective import Objective
from knowledge_distillation.objective.presets import as_objective
from knowledge_distillation.objective.term import Term

__all__ = ["Objective", "Term", "as_objective"]
