"""Sentence embeddings: models that give a text a vector, made smaller, shorter, or static."""

from knowledge_distillation.domains.embedding.agreement import neighbour_overlap
from knowledge_distillation.domains.embedding.data import sentences
from knowledge_distillation.domains.embedding.encoders import SentenceEncoder, reduced, sentence_encoder
from knowledge_distillation.domains.embedding.encoding import embedded
from knowledge_distillation.domains.embedding.pipelines import PairPipeline
from knowledge_distillation.domains.embedding.static import StaticEmbedding, static_embedding

DATA_SETS = {"sentences": sentences}
MODELS = {"sentence_encoder": sentence_encoder, "static_embedding": static_embedding}
PRETRAINED = tuple(MODELS)
"""Models that come with weights."""
