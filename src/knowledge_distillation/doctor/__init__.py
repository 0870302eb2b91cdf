"""The doctor: is anything silently wrong before the first step?"""

from knowledge_distillation.doctor.checks import CHECKS, Check
from knowledge_distillation.doctor.diagnose import diagnose
from knowledge_distillation.doctor.finding import Diagnosis, Finding
from knowledge_distillation.doctor.preflight import preflight

__all__ = ["CHECKS", "Check", "Diagnosis", "Finding", "diagnose", "preflight"]
