"""Images: classes of whole images, a class for every pixel, objects in boxes; data sets, models and the demo."""

from knowledge_distillation.domains.vision import detection, segmentation
from knowledge_distillation.domains.vision.data import cifar10, cifar100, digits, fashion_mnist, mnist
from knowledge_distillation.domains.vision.folders import image_folder
from knowledge_distillation.domains.vision.models import (
    CifarResNet,
    digits_cnn,
    digits_exits,
    image_mlp,
    resnet18,
    resnet20,
    resnet34,
    resnet56,
    small_cnn,
)
from knowledge_distillation.domains.vision.named import timm_model, torchvision_model

DATA_SETS = {
    "digits": digits,
    "fashion_mnist": fashion_mnist,
    "mnist": mnist,
    "cifar10": cifar10,
    "cifar100": cifar100,
    "image_folder": image_folder,
    **segmentation.DATA_SETS,
    **detection.DATA_SETS,
}
MODELS = {
    "digits_cnn": digits_cnn,
    "digits_exits": digits_exits,
    "small_cnn": small_cnn,
    "image_mlp": image_mlp,
    "resnet18": resnet18,
    "resnet34": resnet34,
    "resnet20": resnet20,
    "resnet56": resnet56,
    "cifar_resnet": CifarResNet,
    "timm": timm_model,
    "torchvision": torchvision_model,
    **segmentation.MODELS,
    **detection.MODELS,
}
