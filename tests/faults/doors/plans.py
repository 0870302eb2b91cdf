"""What decides a training, wherever it comes in: optimiser, schedule, rate, seed."""

from __future__ import annotations

import torch
from torch import nn

from tests.faults.doors.door import Argument
from tests.faults.doors.values import HUGE, INFINITY, NAN, NEGATIVE, NO_COUNT, NO_NAME, NO_NUMBER, NOT_POSITIVE

COUNT = Argument((1, 2), NO_COUNT)
SEED = Argument((0, 1, 2**32 - 1), (-1, 2**32, 1.5, HUGE, INFINITY, *NO_NUMBER))
TEMPERATURE = Argument((1, 2.5), NOT_POSITIVE)
LEARNING_RATE = Argument((1e-3, 1, 0.5), NOT_POSITIVE, (1e30,))
WARM_UP = Argument((0, 0.5, 1), NEGATIVE, (5, 1e300), ("warm_up",))
OPTIMIZER = Argument(
    ("sgd", "adam", "adamw", "sgd_momentum", "adam_distilBert", {"name": "sgd", "momentum": 0.9}, torch.optim.RMSprop),
    (
        *NO_NAME, None, {}, NAN, "adamm", "AdamW", int, print, lambda parameters, lr: None, nn.Linear,
        {"name": "sgd", "momentum": NAN}, {"name": "sgd", "momentum": True}, {"name": "sgd", "momentun": 0.9},
        {"name": "sgd", "nesterov": "yes"}, {"name": "adamw", "betas": (2, 3)}, {"name": "adamw", "betas": 0.9},
        {"name": "adamw", "betas": [0.9]}, {"name": "adamw", "betas": None}, {"name": "adamw", "eps": -1},
        {"name": "adamw", "weight_decay": INFINITY}, {"name": "adamw", "weight_decay": "0"}, {"name": "adamw", 1: 2},
        {"name": "adam", "lr": 1}, {"name": "adam", "fused": True, "foreach": True}, {"name": ["sgd"]},
        {"name": "adam", "differentiable": True}, {"name": "adam", "weight_decay": HUGE},
    ),
    ({"name": "sgd", "maximize": True}, {"name": "adam", "capturable": True}),
    ("optimizer",),
)  # fmt: skip
SCHEDULE = Argument(
    ("", "linear", "cosine", "constant", "linear_decay_with_warm_up", "cosine_anneal", "one_cycle"),
    (*(name for name in NO_NAME if name != ""), None, NAN, {}, "cosin", int, lambda: None),
    (lambda optimizer, **planned: None, lambda optimizer, **planned: (1, "step"), print),
    ("scheduler", "schedule"),
)
