"""Small models of the families that students are made from."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Block(nn.Module):
    """Two convolutions and a shortcut, projected where the width changes."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.bn1(self.conv1(images)).relu()
        return (self.bn2(self.conv2(hidden)) + self.shortcut(images)).relu()


class SmallResNet(nn.Module):
    """A stem, three blocks in two widths, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.blocks = nn.Sequential(Block(8, 8), Block(8, 16), Block(16, 16))
        self.head = nn.Linear(16, 5)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.blocks(self.bn(self.stem(images)).relu()).mean(dim=(2, 3)))


def disturbed(model: nn.Module) -> nn.Module:
    """The model in eval mode with batch statistics and affine parameters that differ from channel to channel."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
    return model.eval()


def bert(layers: int = 4, **settings: Any) -> nn.Module:
    from transformers import BertConfig, BertForSequenceClassification

    return BertForSequenceClassification(
        BertConfig(
            vocab_size=50, hidden_size=16, num_hidden_layers=layers, num_attention_heads=4, intermediate_size=24,
            num_labels=3, max_position_embeddings=16, **settings,
        )
    ).eval()  # fmt: skip


def llama(layers: int = 4) -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=50, hidden_size=16, num_hidden_layers=layers, num_attention_heads=4, num_key_value_heads=2,
            intermediate_size=24, max_position_embeddings=32, bos_token_id=1, eos_token_id=None, pad_token_id=0,
        )
    ).eval()  # fmt: skip


def wav2vec2(layers: int = 4) -> nn.Module:
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

    return Wav2Vec2ForCTC(
        Wav2Vec2Config(
            vocab_size=12, hidden_size=16, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=24,
            conv_dim=(8,) * 7, num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2, pad_token_id=0,
            mask_time_prob=0.0, layerdrop=0.0,
        )
    ).eval()  # fmt: skip


def whisper(layers: int = 4) -> nn.Module:
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    return WhisperForConditionalGeneration(
        WhisperConfig(
            vocab_size=50, d_model=16, encoder_layers=layers, decoder_layers=layers, encoder_attention_heads=2,
            decoder_attention_heads=2, encoder_ffn_dim=24, decoder_ffn_dim=24, num_mel_bins=8, max_source_positions=20,
            max_target_positions=16, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
            begin_suppress_tokens=None, suppress_tokens=None,
        )
    ).eval()  # fmt: skip


def vit(layers: int = 4) -> nn.Module:
    from torchvision.models import VisionTransformer

    model = VisionTransformer(image_size=16, patch_size=8, num_layers=layers, num_heads=2, hidden_dim=16, mlp_dim=24,
                              num_classes=5)  # fmt: skip
    nn.init.normal_(model.heads.head.weight)  # torchvision begins with zeros, at which all students agree
    return model.eval()


TOKENS = torch.arange(24).reshape(2, 12) % 50
INPUTS: dict[str, Any] = {
    "bert": {"input_ids": TOKENS},
    "llama": {"input_ids": TOKENS},
    "wav2vec2": {"input_values": torch.sin(torch.arange(3000.0)).reshape(2, 1500)},
    "whisper": {"input_features": torch.cos(torch.arange(640.0)).reshape(2, 8, 40), "decoder_input_ids": TOKENS},
    "vit": torch.cos(torch.arange(1536.0)).reshape(2, 3, 16, 16),
}
MAKERS = {"bert": bert, "llama": llama, "wav2vec2": wav2vec2, "whisper": whisper, "vit": vit}
STACKS = {
    "bert": "bert.encoder.layer",
    "llama": "model.layers",
    "wav2vec2": "wav2vec2.encoder.layers",
    "whisper": "model.encoder.layers",
    "vit": "encoder.layers",
}


def answer(model: nn.Module, inputs: Any) -> Tensor:
    """Logits of a model in eval mode."""
    with torch.no_grad():
        output = model.eval()(**inputs) if isinstance(inputs, dict) else model.eval()(inputs)
    return output if isinstance(output, Tensor) else output["logits"]
