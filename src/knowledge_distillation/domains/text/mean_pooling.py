"""A classifier of texts that averages what its encoder says of the tokens, as sentence encoders are trained to be read.

It imports Transformers and is itself imported only where such a model is made.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput


class MeanPooledClassifier(PreTrainedModel):  # type: ignore[no-untyped-call]
    """An encoder of Transformers and one linear layer on the mean of its last hidden states; padding does not count.

    `save_pretrained` and `from_pretrained` work as for any model of Transformers, also from an encoder's own folder.

    Args:
        config: of the encoder, with `num_labels`.

    Reference: Reimers and Gurevych (2019), Sentence-BERT, arXiv:1908.10084, section 3: the mean of all output vectors
        is read better than that of [CLS].
    """

    base_model_prefix = "encoder"
    _supports_sdpa = _supports_flash_attn = _supports_flex_attn = _supports_attention_backend = True
    """The encoder says what it supports; this class has no attention of its own."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.encoder: Any = AutoModel.from_config(config)  # type: ignore[no-untyped-call]
        if getattr(self.encoder, "pooler", None) is not None:
            self.encoder.pooler = None  # of [CLS]; nothing would read it
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **inputs: Any) -> Any:
        """Logits of texts.

        Args:
            input_ids: [texts, tokens].
            attention_mask: of the same shape, 0 at padding; None for no padding.
            inputs: further ones of the encoder, such as token_type_ids.

        Returns:
            With "logits" [texts, classes], and "hidden_states" and "attentions" where the configuration asks for them.
        """
        said = self.encoder(input_ids=input_ids, attention_mask=attention_mask, return_dict=True, **inputs)
        states = said.last_hidden_state
        weights = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        weights = weights.to(states.dtype)[..., None]
        mean = (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1.0)
        return SequenceClassifierOutput(
            logits=self.classifier(mean),
            hidden_states=said.get("hidden_states"),
            attentions=said.get("attentions"),
        )
