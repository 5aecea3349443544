"""Runs the program on every odd input and prints what became of each, as a table in Markdown.

    python tools/odd_inputs.py --out FILE.md

The inputs are those of tests/odd_inputs; each is a run of its own: `main.py run --out DIR -- INPUT`. Exit status 1 if
one of them ended otherwise than expected, with a traceback, or with more than one line.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.odd_inputs.case import Expected, OddInput
from tests.odd_inputs.table import odd_inputs

ROOT: Final = Path(__file__).resolve().parent.parent
LIMIT_S: Final = 300.0
OPTIONS: Final = ("--max-frames", "100", "--input-size", "65", "--save", "video,ndjson")
LONGEST_LINE: Final = 110


class Row(NamedTuple):
    """What became of an input: `happened` is one of the expected classes, or what is wrong."""

    odd: OddInput
    happened: str
    status: int | None
    line: str


def run(odd: OddInput, folder: Path) -> Row:
    """Make one input in an empty folder and run the program on it."""
    odd.make(folder / odd.name)
    command = [sys.executable, str(ROOT / "main.py"), "run", "--out", "results", *OPTIONS, "--", odd.name]
    try:
        ended = subprocess.run(command, cwd=folder, capture_output=True, timeout=LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        return Row(odd, "hang", None, "")
    lines = ended.stderr.decode(errors="replace").splitlines()
    line = (lines or [""])[0].removeprefix("error: ").removeprefix("warning: ")
    return Row(odd, happened(ended.returncode, lines, any(folder.glob("results/*.ndjson"))), ended.returncode, line)


def happened(status: int, lines: list[str], has_results: bool) -> Expected | str:
    """The class of a run by its exit status, its lines on stderr, and whether there are results."""
    if any("Traceback" in line for line in lines):
        return "traceback"
    if len(lines) > 1:
        return f"{len(lines)} lines"
    if status == 2 and not has_results and lines and lines[0].startswith("error: "):
        return "error"
    if has_results and status == bool(lines):
        return "partial" if lines else "works"
    return "crash" if status < 0 else f"status {status}"


def table(rows: list[Row]) -> str:
    """The rows in Markdown."""
    lines = ["| input | what is odd | expected | happened | exit status | line |", "|---|---|---|---|---:|---|"]
    for row in rows:
        line = row.line if len(row.line) <= LONGEST_LINE else row.line[: LONGEST_LINE - 1] + "…"
        cells = (
            shown(row.odd.name),
            row.odd.about,
            row.odd.expected,
            row.happened,
            row.status,
            shown(line) if line else "",
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    well = sum(row.happened == row.odd.expected for row in rows)
    return "\n".join([*lines, "", f"{well} of {len(rows)} as expected."])


def shown(text: str) -> str:
    """Text as it stands, in a cell: what a table or terminal would stumble over is escaped."""
    escaped = text.encode("unicode_escape" if not text.isprintable() else "utf-8", "backslashreplace").decode()
    return "`" + escaped.replace("|", "\\|").replace("`", "'") + "`"


def main() -> int:
    """Run all, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, metavar="FILE.md", help="write the table here as well")
    parser.add_argument("--only", default="", metavar="TEXT", help="only the inputs with this in their name")
    options = parser.parse_args()
    rows = []
    for odd in odd_inputs():
        if options.only in odd.name:
            with tempfile.TemporaryDirectory() as folder:
                rows.append(run(odd, Path(folder)))
            if rows[-1].happened != odd.expected:
                print(
                    f"{shown(odd.name)}: {rows[-1].happened}, expected {odd.expected}: {rows[-1].line}", file=sys.stderr
                )
    text = table(rows)
    print(text)
    if options.out is not None:
        options.out.write_text(f"{text}\n", encoding="utf-8")
    return int(any(row.happened != row.odd.expected for row in rows))


if __name__ == "__main__":
    sys.exit(main())
