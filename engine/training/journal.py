"""What a run tells while it goes on: log.jsonl, TensorBoard, and a progress line in a terminal."""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from engine.errors import UserError
from engine.files import written_whole
from engine.training.board import Board, available
from engine.training.dataset import TrainingSet
from engine.training.trainer import Trainer

LOG: Final = "log.jsonl"
BOARD: Final = "board"
PICTURES: Final = 4

Tell = Callable[[dict[str, Any], float], None]


@contextlib.contextmanager
def journal(out: Path, trainer: Trainer, data: TrainingSet) -> Iterator[Tell]:
    """Gives a function to call after each step, with its record and the share of time spent on data so far.

    The first samples of `data` are drawn beside what the averaged weights say of them, every `picture_steps` steps and
    at the end of the run.

    Raises:
        UserError: a file cannot be written; from the function, too.
    """
    config = trainer.config

    def tell(record: dict[str, Any], data_share: float) -> None:
        with _explained(out):
            log.write(json.dumps(record) + "\n")
            log.flush()
            if board is not None:
                board.scalars(record)
                if config.picture_steps and (trainer.step % config.picture_steps == 0 or trainer.step == config.steps):
                    first = (data[n] for n in range(min(PICTURES, len(data))))
                    board.pictures(trainer.step, trainer.average, first)
        text = f"loss {record['loss']:.3f}, waiting for data {data_share:.0%}"
        bar.update(task, completed=trainer.step, text=text)

    with contextlib.ExitStack() as stack:
        with _explained(out):
            _forget_after(out / LOG, trainer.step)
            log = stack.enter_context((out / LOG).open("a", encoding="utf-8"))
            board = stack.enter_context(Board(out / BOARD, trainer.step + 1)) if available() else None
        bar = stack.enter_context(_progress())
        task = bar.add_task("train", total=config.steps, completed=trainer.step, text="")
        yield tell


@contextlib.contextmanager
def _explained(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{out}: cannot be written: {error.strerror or error}") from error


def _forget_after(path: Path, step: int) -> None:
    """Drop the lines of later steps, which a run wrote after its last checkpoint and before it was cut off."""
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
    if len(kept) < len(lines):
        with written_whole(path) as temporary:
            temporary.write_text("".join(kept), encoding="utf-8")


def _progress() -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}"),
        console=console,
        disable=not console.is_terminal,
    )
