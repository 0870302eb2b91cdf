"""The original toolkit's ResNet demo, mended: ResNet-34 teaches ResNet-18 on MNIST, through the original's front door.

    python examples/resnet_mnist.py --folder data --download          # MNIST by torchvision
    python examples/resnet_mnist.py --data fashion_mnist              # Fashion-MNIST from the Debian package
    python examples/resnet_mnist.py --small                           # real digits of 8 x 8 pixels, under a minute

What is mended: the softmax goes over the classes (the original's went over the batch), the accuracy is counted over all
images, the teacher is trained here instead of loaded from a path that did not exist, and it all runs on a CPU.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, ResNet

from knowledge_distillation.domains.data import Data
from knowledge_distillation.domains.vision.data import digits, fashion_mnist, mnist
from knowledge_distillation.kd_training import KnowledgeDistillationTraining


class DemoModel(nn.Module):
    """A torchvision ResNet for one channel that speaks the original's contract."""

    def __init__(self, layers: list[int], small_images: bool) -> None:
        super().__init__()
        self.resnet = ResNet(BasicBlock, layers, num_classes=10)
        kernel, stride, padding = (3, 1, 1) if small_images else (7, 2, 3)
        self.resnet.conv1 = nn.Conv2d(1, 64, kernel, stride=stride, padding=padding, bias=False)

    def forward(self, images: Tensor, labels: Tensor | None = None, temperature: float = 1) -> dict[str, Any]:
        logits = self.resnet(images) / temperature
        return {"logits": logits, "prob": logits.softmax(dim=-1), "log_prob": logits.log_softmax(dim=-1)}


class InferencePipeline:
    """Accuracy, as the original's README defines it."""

    def __init__(self, device: str) -> None:
        self.device = device

    def run_inference_pipeline(self, model: nn.Module, data_loader: Any) -> dict[str, float]:
        right = 0
        model.eval()
        with torch.no_grad():
            for images, labels in data_loader:
                prob = model(images.to(self.device))["prob"]
                right += int((prob.argmax(dim=-1) == labels.to(self.device)).sum())
        return {"inference_result": right / len(data_loader.dataset)}


def train_teacher(teacher: DemoModel, data: Data, epochs: int, device: str) -> None:
    optimizer = torch.optim.AdamW(teacher.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=epochs * len(data.train))
    teacher.to(device).train()
    for _ in range(epochs):
        for images, labels in data.train:
            optimizer.zero_grad()
            nn.functional.cross_entropy(teacher(images.to(device))["logits"], labels.to(device)).backward()
            optimizer.step()
            schedule.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=("mnist", "fashion_mnist"), default="mnist")
    parser.add_argument("--folder", help="of the IDX files, or where to download to")
    parser.add_argument("--download", action="store_true", help="let torchvision download the files")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--small", action="store_true", help="the shipped digits and shallow ResNets, for CI")
    options = parser.parse_args()

    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if options.small:
        data = digits(batch_size=64)
        teacher, student = DemoModel([2, 2, 2, 2], True), DemoModel([1, 1, 1, 1], True)
        options.epochs = 4
    else:
        load = mnist if options.data == "mnist" else fashion_mnist
        data = load(folder=options.folder, download=options.download, batch_size=64)
        teacher, student = DemoModel([3, 4, 6, 3], False), DemoModel([2, 2, 2, 2], False)

    pipeline = InferencePipeline(device)
    train_teacher(teacher, data, options.epochs, device)
    test = data.validation["test"]
    print("teacher:", pipeline.run_inference_pipeline(teacher, test)["inference_result"])
    training = KnowledgeDistillationTraining(
        train_data_loader=data.train,
        val_data_loaders={"accuracy on the test images": test},
        inference_pipeline=pipeline,
        student_model=student,
        teacher_model=teacher,
        num_gpu_used=int(device == "cuda"),
        max_epoch=options.epochs,
        optimize_method="adam",
        learning_rate=1e-3,
    )
    training.start_kd_training()


if __name__ == "__main__":
    main()
