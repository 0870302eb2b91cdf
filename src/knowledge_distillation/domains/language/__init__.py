"""Language: causal models, text data, vocabularies, scores, and answers of a teacher as text."""

from knowledge_distillation.domains.language.answers import write_answers
from knowledge_distillation.domains.language.blocks import Blocks
from knowledge_distillation.domains.language.data import jsonl, prompts, text_files
from knowledge_distillation.domains.language.generation import GenerationPipeline, exact_match, generate, rouge
from knowledge_distillation.domains.language.models import causal_lm
from knowledge_distillation.domains.language.on_policy import AdaptiveReplay, OnPolicy
from knowledge_distillation.domains.language.pipelines import AgreementPipeline, PerplexityPipeline
from knowledge_distillation.domains.language.projection import projection
from knowledge_distillation.domains.language.responses import Prompts, Responses
from knowledge_distillation.domains.language.rows import Rows, encoded, padded
from knowledge_distillation.domains.language.sampler_names import adaptive_replay, on_policy
from knowledge_distillation.domains.language.sampling import Sampler, StudentSampler
from knowledge_distillation.domains.language.served_sampling import ServedSampler
from knowledge_distillation.domains.language.two_models import MixedSampler, SpeculativeSampler
from knowledge_distillation.domains.language.vocabulary import Vocabulary, resolve

CALLBACKS = {"on_policy": on_policy, "adaptive_replay": adaptive_replay}
DATA_SETS = {"text_files": text_files, "jsonl": jsonl, "prompts": prompts}
MODELS = {"causal_lm": causal_lm}
PRETRAINED = ("causal_lm",)
"""Models that come with weights."""
