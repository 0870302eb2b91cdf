"""The report: one page that says whether the student is better than plain training, what it costs, and if it ships."""

from knowledge_distillation.reporting.writing import write_report

__all__ = ["write_report"]
