"""Rich's tables and progress bars, set up so that they also read well in a pipe, a log and a narrow terminal."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Columns of text without lines around them: the first flush left, the others flush right."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def progress_bar() -> Progress:
    """A bar of things done on stderr that vanishes when it is done; nothing where stderr is not a terminal."""
    return _bar(MofNCompleteColumn())


def share_bar() -> Progress:
    """The same for a share between 0 and 1."""
    return _bar(TaskProgressColumn())


def _bar(count: ProgressColumn) -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        count,
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
