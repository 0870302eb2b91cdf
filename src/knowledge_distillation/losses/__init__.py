"""Distillation losses: pure functions on tensors, and a thin nn.Module of the same name for each.

Student first, teacher second, everything else by keyword. Nothing else of the toolkit is loaded.
"""

from knowledge_distillation.losses.dense.cwd import CWD, cwd
from knowledge_distillation.losses.dense.fbkd import FBKD, fbkd
from knowledge_distillation.losses.dense.fgd import FGD, fgd
from knowledge_distillation.losses.dense.one_stage_head_kd import OneStageHeadKD, one_stage_head_kd
from knowledge_distillation.losses.dense.pearson_features import PKDFeatures, pkd_features
from knowledge_distillation.losses.dense.pixel_kd import PixelKD, pixel_kd
from knowledge_distillation.losses.dense.two_stage_head_kd import TwoStageHeadKD, two_stage_head_kd
from knowledge_distillation.losses.embeddings.margin_mse import MarginMSE, margin_mse
from knowledge_distillation.losses.embeddings.queue_kl import QueueKL, queue_kl
from knowledge_distillation.losses.embeddings.similarity_kl import SimilarityKL, similarity_kl
from knowledge_distillation.losses.features.ab import AB, ab
from knowledge_distillation.losses.features.at import AT, at
from knowledge_distillation.losses.features.catkd import CATKD, catkd
from knowledge_distillation.losses.features.fsp import FSP, fsp
from knowledge_distillation.losses.features.ft import FT, ft
from knowledge_distillation.losses.features.hint import Hint, hint
from knowledge_distillation.losses.features.kdsvd import KDSVD, kdsvd
from knowledge_distillation.losses.features.mgd import MGD, mgd
from knowledge_distillation.losses.features.nst import NST, nst
from knowledge_distillation.losses.features.ofd import OFD, margin_from_batch_norm, ofd
from knowledge_distillation.losses.features.reviewkd import ReviewKD, reviewkd
from knowledge_distillation.losses.features.semckd import SemCKD, semckd
from knowledge_distillation.losses.features.simkd import SimKD, simkd
from knowledge_distillation.losses.features.srrl import SRRL, srrl
from knowledge_distillation.losses.features.vid import VID, vid
from knowledge_distillation.losses.logits.batch_correlation import BatchCorrelation, batch_correlation
from knowledge_distillation.losses.logits.class_correlation import ClassCorrelation, class_correlation
from knowledge_distillation.losses.logits.cosine import Cosine, cosine
from knowledge_distillation.losses.logits.cross_entropy import CrossEntropy, cross_entropy
from knowledge_distillation.losses.logits.ctkd import CTKD, ctkd, reversal_at
from knowledge_distillation.losses.logits.dist import DIST, dist
from knowledge_distillation.losses.logits.dkd import DKD, dkd, dkd_parts
from knowledge_distillation.losses.logits.kd import KD, KDFromLogProbs, kd, kd_from_log_probs
from knowledge_distillation.losses.logits.label_smoothing_teacher import LabelSmoothingTeacher, label_smoothing_teacher
from knowledge_distillation.losses.logits.logit_mse import LogitMSE, logit_mse
from knowledge_distillation.losses.logits.logit_standardization import (
    LogitStandardization,
    logit_standardization,
    standardize,
)
from knowledge_distillation.losses.logits.mlkd import MLKD, mlkd
from knowledge_distillation.losses.logits.nkd import NKD, nkd
from knowledge_distillation.losses.logits.soft_cross_entropy import SoftCrossEntropy, soft_cross_entropy
from knowledge_distillation.losses.logits.spherical import Spherical, spherical
from knowledge_distillation.losses.logits.tf_kd import TfKD, tf_kd
from knowledge_distillation.losses.logits.wsld import WSLD, wsld
from knowledge_distillation.losses.loss import Loss
from knowledge_distillation.losses.regression.binary_kl import BinaryKL, binary_kl
from knowledge_distillation.losses.regression.bounded_regression import BoundedRegression, bounded_regression
from knowledge_distillation.losses.regression.gaussian_kl import GaussianKL, gaussian_kl
from knowledge_distillation.losses.regression.label_regression import LabelRegression, label_regression
from knowledge_distillation.losses.regression.soft_regression import SoftRegression, soft_regression
from knowledge_distillation.losses.relations.cc import CC, cc
from knowledge_distillation.losses.relations.crd import CRD, crd
from knowledge_distillation.losses.relations.ickd import ICKD, ickd
from knowledge_distillation.losses.relations.pkt import PKT, pkt
from knowledge_distillation.losses.relations.rkd import RKD, RKDAngle, RKDDistance, rkd, rkd_angle, rkd_distance
from knowledge_distillation.losses.relations.sp import SP, sp
from knowledge_distillation.losses.relations.sskd import SSKD, sskd
from knowledge_distillation.losses.sequences.adaptive_kl import AdaptiveKL, adaptive_kl
from knowledge_distillation.losses.sequences.ctc_kd import CTCKD, ctc_kd
from knowledge_distillation.losses.sequences.distillm2 import DistiLLM2, distillm2
from knowledge_distillation.losses.sequences.dpkd import DPKD, dpkd, token_log_probs
from knowledge_distillation.losses.sequences.forward_kl import ForwardKL, forward_kl
from knowledge_distillation.losses.sequences.fused_divergence import FusedDivergence, fused_divergence
from knowledge_distillation.losses.sequences.generalized_jsd import GeneralizedJSD, generalized_jsd
from knowledge_distillation.losses.sequences.hybrid_uld import HybridULD, hybrid_uld
from knowledge_distillation.losses.sequences.minillm import MiniLLM, minillm
from knowledge_distillation.losses.sequences.projected import Projected
from knowledge_distillation.losses.sequences.projection_kl import ProjectionKL, projection_kl
from knowledge_distillation.losses.sequences.ranking import (
    HingeRanking,
    LogisticRanking,
    hinge_ranking,
    logistic_ranking,
)
from knowledge_distillation.losses.sequences.reverse_kl import ReverseKL, reverse_kl
from knowledge_distillation.losses.sequences.sampled_cross_entropy import SampledCrossEntropy, sampled_cross_entropy
from knowledge_distillation.losses.sequences.skew_kl import (
    SkewForwardKL,
    SkewReverseKL,
    skew_forward_kl,
    skew_reverse_kl,
)
from knowledge_distillation.losses.sequences.spans import align_spans, merge_spans, pair_tokens
from knowledge_distillation.losses.sequences.symmetric_kl import SymmetricKL, symmetric_kl
from knowledge_distillation.losses.sequences.top_k import TopK, TopKKL, top_k_kl
from knowledge_distillation.losses.sequences.top_k_tvd import TopKTVD, top_k_tvd
from knowledge_distillation.losses.sequences.tvd import TVD, tvd
from knowledge_distillation.losses.sequences.uld import ULD, ULDFromLogProbs, uld, uld_from_log_probs
from knowledge_distillation.losses.transformers.attention_kl import (
    AttentionKL,
    AttentionKLFromProbs,
    attention_kl,
    attention_kl_from_probs,
)
from knowledge_distillation.losses.transformers.attention_mse import AttentionMSE, attention_mse
from knowledge_distillation.losses.transformers.distilhubert import DistilHuBERT, distilhubert
from knowledge_distillation.losses.transformers.hidden_mse import HiddenMSE, hidden_mse
from knowledge_distillation.losses.transformers.minilm import MiniLM, minilm
from knowledge_distillation.losses.transformers.minilmv2 import MiniLMv2, minilmv2
from knowledge_distillation.losses.transformers.patient import Patient, patient
from knowledge_distillation.losses.transformers.tinybert import TinyBERT, tinybert

from knowledge_distillation.losses.catalogue import catalogue, loss_named  # isort: skip  (reads this package)

__all__ = [
    "AB",
    "AT",
    "CATKD",
    "CC",
    "CRD",
    "CTCKD",
    "CTKD",
    "CWD",
    "DIST",
    "DKD",
    "DPKD",
    "FBKD",
    "FGD",
    "FSP",
    "FT",
    "ICKD",
    "KD",
    "KDSVD",
    "MGD",
    "MLKD",
    "NKD",
    "NST",
    "OFD",
    "PKT",
    "RKD",
    "SP",
    "SRRL",
    "SSKD",
    "TVD",
    "ULD",
    "VID",
    "WSLD",
    "AdaptiveKL",
    "AttentionKL",
    "AttentionKLFromProbs",
    "AttentionMSE",
    "BatchCorrelation",
    "BinaryKL",
    "BoundedRegression",
    "ClassCorrelation",
    "Cosine",
    "CrossEntropy",
    "DistiLLM2",
    "DistilHuBERT",
    "ForwardKL",
    "FusedDivergence",
    "GaussianKL",
    "GeneralizedJSD",
    "HiddenMSE",
    "HingeRanking",
    "Hint",
    "HybridULD",
    "KDFromLogProbs",
    "LabelRegression",
    "LabelSmoothingTeacher",
    "LogisticRanking",
    "LogitMSE",
    "LogitStandardization",
    "Loss",
    "MarginMSE",
    "MiniLLM",
    "MiniLM",
    "MiniLMv2",
    "OneStageHeadKD",
    "PKDFeatures",
    "Patient",
    "PixelKD",
    "Projected",
    "ProjectionKL",
    "QueueKL",
    "RKDAngle",
    "RKDDistance",
    "ReverseKL",
    "ReviewKD",
    "SampledCrossEntropy",
    "SemCKD",
    "SimKD",
    "SimilarityKL",
    "SkewForwardKL",
    "SkewReverseKL",
    "SoftCrossEntropy",
    "SoftRegression",
    "Spherical",
    "SymmetricKL",
    "TfKD",
    "TinyBERT",
    "TopK",
    "TopKKL",
    "TopKTVD",
    "TwoStageHeadKD",
    "ULDFromLogProbs",
    "ab",
    "adaptive_kl",
    "align_spans",
    "at",
    "attention_kl",
    "attention_kl_from_probs",
    "attention_mse",
    "batch_correlation",
    "binary_kl",
    "bounded_regression",
    "catalogue",
    "catkd",
    "cc",
    "class_correlation",
    "cosine",
    "crd",
    "cross_entropy",
    "ctc_kd",
    "ctkd",
    "cwd",
    "dist",
    "distilhubert",
    "distillm2",
    "dkd",
    "dkd_parts",
    "dpkd",
    "fbkd",
    "fgd",
    "forward_kl",
    "fsp",
    "ft",
    "fused_divergence",
    "gaussian_kl",
    "generalized_jsd",
    "hidden_mse",
    "hinge_ranking",
    "hint",
    "hybrid_uld",
    "ickd",
    "kd",
    "kd_from_log_probs",
    "kdsvd",
    "label_regression",
    "label_smoothing_teacher",
    "logistic_ranking",
    "logit_mse",
    "logit_standardization",
    "loss_named",
    "margin_from_batch_norm",
    "margin_mse",
    "merge_spans",
    "mgd",
    "minillm",
    "minilm",
    "minilmv2",
    "mlkd",
    "nkd",
    "nst",
    "ofd",
    "one_stage_head_kd",
    "pair_tokens",
    "patient",
    "pixel_kd",
    "pkd_features",
    "pkt",
    "projection_kl",
    "queue_kl",
    "reversal_at",
    "reverse_kl",
    "reviewkd",
    "rkd",
    "rkd_angle",
    "rkd_distance",
    "sampled_cross_entropy",
    "semckd",
    "similarity_kl",
    "simkd",
    "skew_forward_kl",
    "skew_reverse_kl",
    "soft_cross_entropy",
    "soft_regression",
    "sp",
    "spherical",
    "srrl",
    "sskd",
    "standardize",
    "symmetric_kl",
    "tf_kd",
    "tinybert",
    "token_log_probs",
    "top_k_kl",
    "top_k_tvd",
    "tvd",
    "two_stage_head_kd",
    "uld",
    "uld_from_log_probs",
    "vid",
    "wsld",
]
