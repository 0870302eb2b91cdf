"""The `kd` command. This file imports nothing heavy, so that --help answers at once."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

COMMANDS = {
    "demo": "teach a small model real digits and see what the teacher was worth",
    "train": "train a student as a recipe says",
    "doctor": "say what would be silently wrong with a training, before its first step",
    "compare": "train the same student without the teacher too: did distillation help?",
    "cache": "keep a teacher's answers on the disk; inspect or verify what is kept",
    "capture": "show the layers of a model that a recipe can name, with the shapes they give",
    "report": "measure a run and write all that is known of it on one page",
    "export": "write a run's student in the form you ship, proven equal to it",
    "sweep": "try settings of a recipe and write out the best one",
    "list": "show losses, recipes, optimizers, schedules, models, data sets",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 when done, 1 when the run failed or the doctor found an error, 2 when the input is wrong, 130 after Ctrl-C,
        143 after SIGTERM.
    """
    parser = argparse.ArgumentParser(
        prog="kd", description="Knowledge distillation: a teacher and data go in, a smaller proven student comes out."
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    given = list(sys.argv[1:] if arguments is None else arguments)
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        if given[:1] == [name]:
            importlib.import_module(f"{__name__}.{name}_command").add_arguments(command)
    options = parser.parse_args(given)
    return _run(options)


def _run(options: argparse.Namespace) -> int:
    from knowledge_distillation.errors import ConfigError, DistillationError, Terminated

    command = importlib.import_module(f"{__name__}.{options.command}_command")
    try:
        code = command.run(options)
    except KeyboardInterrupt:
        print("Stopped. What was written stays; continue a training with --resume auto.", file=sys.stderr)
        return 130
    except Terminated:
        print("Stopped by SIGTERM. Continue with --resume auto.", file=sys.stderr)
        return 143
    except DistillationError as error:
        print(f"kd {options.command}: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    return code or 0
