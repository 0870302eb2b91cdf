"""Teachers: one interface, many sources of what the student should learn."""

from knowledge_distillation.teachers.black_box import BlackBoxTeacher, answered_batch
from knowledge_distillation.teachers.cache import CachedTeacher, write_cache
from knowledge_distillation.teachers.confident import ConfidentTeacher
from knowledge_distillation.teachers.ema import EMATeacher
from knowledge_distillation.teachers.ensemble import EnsembleTeacher
from knowledge_distillation.teachers.live import LiveTeacher
from knowledge_distillation.teachers.own import SelfTeacher
from knowledge_distillation.teachers.routed import ByLabel, RoutedTeacher
from knowledge_distillation.teachers.served import ServedTeacher
from knowledge_distillation.teachers.teacher import FollowsStudent, ReadsStudent, Teacher, as_teacher

__all__ = [
    "BlackBoxTeacher",
    "ByLabel",
    "CachedTeacher",
    "ConfidentTeacher",
    "EMATeacher",
    "EnsembleTeacher",
    "FollowsStudent",
    "LiveTeacher",
    "ReadsStudent",
    "RoutedTeacher",
    "SelfTeacher",
    "ServedTeacher",
    "Teacher",
    "answered_batch",
    "as_teacher",
    "write_cache",
]
