"""Teachers: one interface, many sources of what the student should learn."""

from knowledge_distillation.teachers.live import LiveTeacher
from knowledge_distillation.teachers.teacher import Teacher, as_teacher

__all__ = ["LiveTeacher", "Teacher", "as_teacher"]
