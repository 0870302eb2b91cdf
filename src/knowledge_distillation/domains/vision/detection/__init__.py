"""Objects in boxes: COCO's annotations, torchvision's detectors, mean average precision."""

from knowledge_distillation.domains.vision.detection.data import coco
from knowledge_distillation.domains.vision.detection.models import faster_rcnn, fcos, retinanet
from knowledge_distillation.domains.vision.detection.precision import AveragePrecisionPipeline
from knowledge_distillation.domains.vision.detection.signals import (
    detection_signals,
    detections,
    pictures,
    truths,
)

DATA_SETS = {"coco": coco}
MODELS = {"faster_rcnn": faster_rcnn, "retinanet": retinanet, "fcos": fcos}
