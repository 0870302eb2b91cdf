"""A run's directory as the rest of the toolkit writes it, with figures made up here."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import struct
import wave
import zlib
from pathlib import Path
from typing import Any

CLASSES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
RECIPE = """description: Fashion-MNIST, ResNet-18 to a small CNN
teacher: {name: resnet18, weights: teacher.safetensors}
student: {name: small_cnn, width: 16}
data: {name: fashion_mnist, batch_size: 128}
objective:
  kd: {loss: kd, weight: 0.9, temperature: 4}
  cross_entropy: 0.1
training: {max_epochs: 10, optimizer: adamw, learning_rate: 0.001}
"""


def full_run(home: Path) -> Path:
    """Every file that a report reads."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "recipe.yaml").write_text(RECIPE)
    (home / "student.safetensors").write_bytes(b"weights")
    write(home, "environment", environment())
    write(home, "comparison", comparison())
    write(home, "evaluation", evaluation())
    write(home, "doctor", doctor())
    write_export(home, "onnx", b"onnx" * 700_000, 2.4e-6, 0.912, {"relative": 1e-4})
    write_export(home, "int8", b"int8" * 190_000, 0.04, 0.909, {"agreement": 0.97, "score_drop": 0.01})
    write_metrics(home / "metrics.csv")
    samples = home / "samples"
    samples.mkdir(exist_ok=True)
    for number in range(3):
        (samples / f"{number}.png").write_bytes(
            png([[(x * y * (number + 1)) % 256 for x in range(28)] for y in range(28)])
        )
    write_wave(samples / "3.wav")
    return home


def write(home: Path, name: str, content: Any) -> None:
    (home / f"{name}.json").write_text(json.dumps(content))


def environment() -> dict[str, Any]:
    return {
        "versions": {"torch": "2.13.0", "lightning": "2.6.6"},
        "python": "3.11.7",
        "processor": "x86_64",
        "threads": 2,
        "accelerators": [],
        "seed": 0,
        "teacher": "80a81f32e1af21e6c6643605782e9e11184ccc29744d3d2760be733171f79fda",
        "seconds": 61.3,
        "scores": {"test": 0.912},
        "interrupted": False,
    }


def comparison() -> dict[str, Any]:
    def one(taught: list[float], alone: list[float], low: float, high: float, verdict: str) -> dict[str, Any]:
        difference = sum(taught) / 5 - sum(alone) / 5
        return {
            "metric": "test accuracy",
            "seeds": [0, 1, 2, 3, 4],
            "with_teacher": taught,
            "without_teacher": alone,
            "difference": difference,
            "low": low,
            "high": high,
            "verdict": verdict,
            "bootstrap_low": low + 0.01,
            "bootstrap_high": high - 0.01,
            "control": "the same student without the teacher, at equal steps",
            "steps": {"with_teacher": 4690, "without_teacher": 4690},
            "seconds": {"with_teacher": 61.2, "without_teacher": 44.8},
            "at_equal_time": None,
            "arms": {},
            "notes": [],
        }

    taught = [0.911, 0.908, 0.914, 0.916, 0.906]
    main = one(taught, [0.842, 0.825, 0.851, 0.829, 0.833], 0.0569, 0.0931, "helped")
    timed = one(taught, [0.861, 0.852, 0.866, 0.848, 0.853], 0.0401, 0.0699, "helped")
    timed["steps"]["without_teacher"] = 6410
    smoothed = one([0.851, 0.836, 0.858, 0.842, 0.838], main["without_teacher"], 0.0021, 0.0159, "helped")
    return {**main, "at_equal_time": timed, "arms": {"label smoothing": smoothed}, "notes": ["Seeds are five."]}


def latency(p50: float) -> dict[str, float]:
    return {"p50_ms": p50, "p95_ms": 1.2 * p50, "p99_ms": 1.5 * p50, "items_per_second": 1e3 / p50}


def model(accuracy: float, size: int, p50: float, seed: int) -> dict[str, Any]:
    matrix = []
    for true in range(10):
        wrong = [max(0, ((true * 7 + said * 3 + seed) % 11) - 6) for said in range(10)]
        wrong[true] = 0
        wrong[true] = 100 - sum(wrong)
        matrix.append(wrong)
    bins = [
        {
            "low": place / 10,
            "high": (place + 1) / 10,
            "confidence": None if place < 2 else (place + 0.55) / 10,
            "accuracy": None if place < 2 else min(1.0, (place + 0.3 + 0.1 * seed) / 10),
            "count": 0 if place < 2 else 40 * place,
        }
        for place in range(10)
    ]
    return {
        "quality": {
            "metric": "accuracy",
            "value": accuracy,
            "higher_is_better": True,
            "how": "torchmetrics, over every labelled item",
        },
        "also": {"f1_macro": accuracy - 0.004, "loss": 1.2 - accuracy},
        "cost": {
            "parameters": size // 4,
            "bytes": size,
            "file_bytes": size + 1024,
            "flops": size * 40,
            "peak_memory_bytes": size * 3,
            "latency": {"1": latency(p50), "32": latency(9 * p50)},
            "threads": 2,
            "how": {
                "latency": "200 calls after 20 to warm up, 2 threads",
                "flops": "torch.utils.flop_counter, one item",
            },
        },
        "calibration": {
            "ece": 0.021 * (seed + 1),
            "temperature": 1.3,
            "ece_after": 0.008,
            "bins": bins,
            "how": "15 bins",
        },
        "per_class": [
            {"class": place, "name": name, "items": 100, "accuracy": matrix[place][place] / 100}
            for place, name in enumerate(CLASSES)
        ],
        "confusion": matrix,
        "robustness": {
            "gaussian_noise": {str(s): accuracy - 0.03 * s - 0.01 * seed for s in (1, 3, 5)},
            "blur": {str(s): accuracy - 0.05 * s for s in (1, 3, 5)},
        },
    }


def evaluation() -> dict[str, Any]:
    models = {
        "teacher": model(0.931, 44_700_000, 7.81, 0),
        "student": model(0.912, 3_140_000, 1.12, 1),
        "control": model(0.837, 3_140_000, 1.11, 2),
        "onnx": model(0.912, 3_140_000, 0.62, 1),
        "int8": model(0.909, 830_000, 0.41, 3),
    }
    worse = [
        {
            "index": 17 * n,
            "label": n,
            "teacher": n,
            "student": n + 4,
            "names": {"label": CLASSES[n], "teacher": CLASSES[n], "student": CLASSES[n + 4]},
            "confidence": 0.98 - n / 10,
            "sample": f"samples/{n}.png",
        }
        for n in range(3)
    ]
    worse.append(
        {"index": 77, "label": "yes", "teacher": "yes", "student": "no", "confidence": 0.6, "sample": "samples/3.wav"}
    )
    worse.append(
        {
            "index": 91,
            "label": 3,
            "teacher": 3,
            "student": 6,
            "names": {"label": CLASSES[3], "teacher": CLASSES[3], "student": CLASSES[6]},
            "confidence": None,
            "sample": "a text\nof two lines",
        }
    )
    changes = [-0.06, 0.01, -0.04, 0.0, -0.02, 0.02, -0.09, -0.01, 0.03, -0.005]
    return {
        "data": {"items": 10_000, "labelled": 10_000, "loader": "test"},
        "models": models,
        "fidelity": {
            name: {
                "agreement": agreement,
                "kl": kl,
                "top_k_overlap": {"k": 5, "value": 0.9},
                "cka": {"layer2 ~ layer3": 0.81},
                "how": "KL in nats",
            }
            for name, agreement, kl in (
                ("student", 0.957, 0.081),
                ("control", 0.866, 0.443),
                ("onnx", 0.957, 0.081),
            )
        },
        "regressions": {
            "per_class": [
                {
                    "class": n,
                    "name": CLASSES[n],
                    "items": 100,
                    "teacher": 0.93,
                    "student": 0.93 + change,
                    "change": change,
                }
                for n, change in enumerate(changes)
            ],
            "per_slice": [
                {"slice": "dark", "items": 300, "teacher": 0.9, "student": 0.85, "change": -0.05},
                {"slice": "bright", "items": 700, "teacher": 0.95, "student": 0.96, "change": 0.01},
            ],
            "worse": worse,
            "counts": {"both_right": 8960, "only_teacher_right": 350, "only_student_right": 160, "both_wrong": 530},
        },
        "notes": ["Peak memory is that of the process on a CPU."],
    }


def doctor() -> dict[str, Any]:
    return {
        "findings": [
            {
                "check": "teacher_saturated",
                "severity": "warning",
                "fault": "The teacher is almost one-hot at temperature 1.",
                "evidence": "Its mean highest probability is 0.998 over 512 items.",
                "harm": "The student learns nothing that the labels do not say.",
                "fix": "Raise the temperature to 4.",
            }
        ],
        "checks": ["teacher_saturated", "label_order", "learning_rate"],
        "skipped": {"tokenizer": "the data is not text"},
        "seconds": 2.4,
    }


def write_export(
    home: Path, form: str, content: bytes, most: float, shipped: float, tolerance: dict[str, float]
) -> None:
    folder = home / "exports" / form
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "student.onnx").write_bytes(content)
    manifest = {
        "form": form,
        "files": [{"name": "student.onnx", "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}],
        "equality": {
            "max_abs": most,
            "mean_abs": most / 9,
            "max_relative": most / 12,
            "mean_relative": most / 50,
            "agreement": 1.0 if form == "onnx" else 0.994,
            "items": 10_000,
            "batches": 18,
            "score": {"pipeline": "AccuracyPipeline", "student": 0.912, "artefact": shipped, "drop": 0.912 - shipped},
            "tolerance": tolerance,
            "how": "The file was loaded again and asked what the student was asked.",
        },
        "notes": ["The student fixes nothing."] if form == "onnx" else [],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))


def write_metrics(path: Path, steps: int = 600) -> None:
    columns = ["cross_entropy", "epoch", "kd", "lr-AdamW", "step", "test", "train_final_loss", "train_final_loss_epoch"]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for step in range(0, steps, 5):
            fall = math.exp(-step / 150)
            kd, ce = 20 * fall + 0.4 + 0.6 * math.sin(step) ** 2, 2 * fall + 0.05
            both = 0.9 * kd + 0.1 * ce
            epoch = step // 60
            writer.writerow({"step": step, "epoch": epoch, "kd": kd, "cross_entropy": ce, "train_final_loss": both})
            writer.writerow({"step": step, "lr-AdamW": 1e-3 * (1 - step / steps)})
            if step % 60 == 55:
                writer.writerow({"step": step, "epoch": epoch, "test": 0.912 - 0.5 * fall})
                writer.writerow({"step": step, "epoch": epoch, "train_final_loss_epoch": both + 0.3})


def png(rows: list[list[int]]) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", len(rows[0]), len(rows), 8, 0, 0, 0, 0)
    lines = b"".join(b"\0" + bytes(row) for row in rows)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def write_wave(path: Path) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(b"".join(struct.pack("<h", int(9000 * math.sin(n / 5))) for n in range(4000)))
