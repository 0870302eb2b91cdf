"""`python -m benchmarks NAME [--json]`: progress on stderr; with --json, the last line on stdout is the result."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path

from benchmarks.report import describe


def main() -> int:
    names = sorted(
        path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in {"__init__", "__main__", "report"}
    )
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    chosen = parser.add_subparsers(dest="name", required=True, metavar="NAME")
    name = next((argument for argument in sys.argv[1:] if argument in names), None)
    for known in names:
        own = chosen.add_parser(known)
        own.add_argument("--json", action="store_true", help="print one JSON object as the last line")
        if known == name:
            getattr(importlib.import_module(f"benchmarks.{known}"), "add_arguments", lambda parser: None)(own)
    arguments = parser.parse_args()
    result = {
        "name": arguments.name,
        **describe(),
        **importlib.import_module(f"benchmarks.{arguments.name}").run(arguments),
    }
    print(json.dumps(result, indent=None if arguments.json else 2))
    return int("survived" in result and result["survived"] < result["injected"])


if __name__ == "__main__":
    raise SystemExit(main())
