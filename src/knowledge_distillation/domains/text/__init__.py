"""Text: encoders that classify and tag texts, their data and scores."""

from knowledge_distillation.domains.text.calling import encoder, tagger
from knowledge_distillation.domains.text.data import labelled_texts, masked_text, tagged_words
from knowledge_distillation.domains.text.models import masked_lm, text_classifier, token_classifier
from knowledge_distillation.domains.text.pipelines import MacroF1Pipeline, SpanF1Pipeline

DATA_SETS = {"labelled_texts": labelled_texts, "tagged_words": tagged_words, "masked_text": masked_text}
MODELS = {"text_classifier": text_classifier, "token_classifier": token_classifier, "masked_lm": masked_lm}
PRETRAINED = tuple(MODELS)
"""Models that come with weights."""
