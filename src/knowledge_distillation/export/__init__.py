"""Export: the student alone, reloaded and compared before it is called done."""

from __future__ import annotations

from knowledge_distillation.export.equality import Tolerance
from knowledge_distillation.export.exported import Exported, Loaded, load, read
from knowledge_distillation.export.exporting import export
from knowledge_distillation.export.forms import FORMS
from knowledge_distillation.export.hub import push
from knowledge_distillation.export.qat import quantisation_aware

__all__ = ["FORMS", "Exported", "Loaded", "Tolerance", "export", "load", "push", "quantisation_aware", "read"]
