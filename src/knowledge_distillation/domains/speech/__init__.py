"""Speech: recordings with transcripts, CTC models of Transformers, word and character error rates."""

from knowledge_distillation.domains.speech.characters import Characters, load_characters
from knowledge_distillation.domains.speech.data import librispeech, speech_manifest
from knowledge_distillation.domains.speech.error_rates import ErrorRatePipeline
from knowledge_distillation.domains.speech.models import ctc
from knowledge_distillation.domains.speech.original import OriginalForm, create_student_model, original_batches
from knowledge_distillation.domains.speech.signals import CTCSignals

DATA_SETS = {"librispeech": librispeech, "speech_manifest": speech_manifest}
MODELS = {"ctc": ctc}
PRETRAINED = ("ctc",)
"""Models that come with weights."""
