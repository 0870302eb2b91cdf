"""A teacher behind an HTTP server."""

from knowledge_distillation.teachers.served.teacher import ServedTeacher

__all__ = ["ServedTeacher"]
