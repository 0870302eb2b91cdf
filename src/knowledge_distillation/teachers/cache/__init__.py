"""Teachers on disk: asked once, read as often as a student trains."""

from knowledge_distillation.teachers.cache.cached import CachedTeacher
from knowledge_distillation.teachers.cache.encodings import ENCODINGS, encoding_from
from knowledge_distillation.teachers.cache.reading import Cache, described_cache
from knowledge_distillation.teachers.cache.taught import TaughtBatch
from knowledge_distillation.teachers.cache.writing import write_cache

__all__ = ["ENCODINGS", "Cache", "CachedTeacher", "TaughtBatch", "described_cache", "encoding_from", "write_cache"]
