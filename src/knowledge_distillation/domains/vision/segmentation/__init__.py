"""A class for every pixel: images beside masks, torchvision's models, mean intersection over union."""

from collections.abc import Callable

from torch import nn

from knowledge_distillation.domains.vision.segmentation.data import pascal_voc, segmentation_folder
from knowledge_distillation.domains.vision.segmentation.models import deeplabv3, fcn, lraspp
from knowledge_distillation.domains.vision.segmentation.signals import mean_iou, segmentation_signals

DATA_SETS = {"segmentation_folder": segmentation_folder, "pascal_voc": pascal_voc}
MODELS: dict[str, Callable[..., nn.Module]] = {"fcn": fcn, "deeplabv3": deeplabv3, "lraspp": lraspp}
