"""Images: data sets, models and the demo."""

from knowledge_distillation.domains.vision.data import cifar10, digits, fashion_mnist, mnist
from knowledge_distillation.domains.vision.models import (
    digits_cnn,
    digits_exits,
    image_mlp,
    resnet18,
    resnet20,
    resnet34,
    resnet56,
    small_cnn,
)
from knowledge_distillation.students.configured import from_config

DATA_SETS = {"digits": digits, "fashion_mnist": fashion_mnist, "mnist": mnist, "cifar10": cifar10}
MODELS = {
    "from_config": from_config,
    "digits_cnn": digits_cnn,
    "digits_exits": digits_exits,
    "small_cnn": small_cnn,
    "image_mlp": image_mlp,
    "resnet18": resnet18,
    "resnet34": resnet34,
    "resnet20": resnet20,
    "resnet56": resnet56,
}
