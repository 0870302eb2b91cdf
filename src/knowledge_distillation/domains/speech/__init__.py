"""Speech: recordings with transcripts, CTC models and Whisper of Transformers, word and character error rates."""

from knowledge_distillation.domains.speech.characters import Characters, load_characters
from knowledge_distillation.domains.speech.data import librispeech, speech_manifest
from knowledge_distillation.domains.speech.dictation_data import dictation
from knowledge_distillation.domains.speech.error_rates import ErrorRatePipeline
from knowledge_distillation.domains.speech.listening import DictationPipeline
from knowledge_distillation.domains.speech.models import ctc
from knowledge_distillation.domains.speech.original import OriginalForm, create_student_model, original_batches
from knowledge_distillation.domains.speech.pseudo_labelling import pseudo_labels
from knowledge_distillation.domains.speech.signals import CTCSignals
from knowledge_distillation.domains.speech.whisper import whisper
from knowledge_distillation.domains.speech.whisper_ctc import whisper_ctc

DATA_SETS = {"librispeech": librispeech, "speech_manifest": speech_manifest, "dictation": dictation}
MODELS = {"ctc": ctc, "whisper_ctc": whisper_ctc, "whisper": whisper}
PRETRAINED = ("ctc", "whisper")
"""Models that come with weights."""
