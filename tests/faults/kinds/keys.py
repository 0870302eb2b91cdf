"""API keys: whatever a tracker, a server or a hub says, they are in nothing that is shown or written."""

from __future__ import annotations

import base64
from pathlib import Path
from urllib.parse import quote

from tests.faults.kind import Kind
from tests.faults.leaks import KEY, KEY_FILE, KEY_RECIPE, SCENARIOS, USED, VARIABLE
from tests.processes import run

PROGRAM = "import sys; from tests.faults.leaks import main; main(sys.argv[1])"
VARIABLES = {
    "COMET_API_KEY": KEY, "WANDB_API_KEY": KEY, "HF_TOKEN": KEY, VARIABLE: KEY,
    "MLFLOW_TRACKING_URI": f"https://me:{KEY}@host", "no_proxy": "127.0.0.1",
}  # fmt: skip
FORMS = {KEY.encode(), quote(KEY).encode(), base64.b64encode(KEY.encode()).rstrip(b"=")[:-1]}


def inject(number: int, folder: Path) -> None:
    name = list(SCENARIOS)[number]
    tracker = name.partition(" ")[0]
    mine = {key: value for key, value in VARIABLES.items() if "file" not in name or key != "COMET_API_KEY"}
    if tracker == "MLflow":
        mine.pop("WANDB_API_KEY")
    done = run(PROGRAM, name, environment=mine, directory=folder)
    assert done.returncode == 0, f"{name}: {done.stdout[-1000:]} {done.stderr[-3000:]}"
    assert USED in done.stdout or "TensorBoard" in name, f"{name}: the key was never asked for: {done.stderr[-1000:]}"
    shown = {"stdout": done.stdout.encode(), "stderr": done.stderr.encode()}
    shown |= {
        str(path): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in (KEY_FILE, KEY_RECIPE)
    }
    leaks = [place for place, content in shown.items() if any(form in content for form in FORMS)]
    for place in leaks[:1]:
        at = shown[place].find(KEY.encode())
        raise AssertionError(f"{name}: the key is in {leaks}: {shown[place][max(0, at - 1500) : at + 200]!r}")


KIND = Kind(
    title="a tracker, a server or a hub that puts the API key into what it says",
    survives="the key is in nothing that is shown or written: output, traceback, log, checkpoint, recipe, report",
    inject=inject,
    all=len(SCENARIOS),
    sample=4,
)
