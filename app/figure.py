"""`figure`: one picture and every step of the method on it, as in the paper's Figure 1."""

import argparse
from itertools import islice
from pathlib import Path

from app.options import MIN_SCORE, add_model_arguments, describe, open_estimator, share, whole_number
from app.writing import check_target
from engine.errors import UserError
from pipeline.figure import figure_sheet
from pipeline.frames import Frame, FrameResult, Rendered
from pipeline.sinks import PictureWriter
from pipeline.sources import open_source


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("source", metavar="SOURCE", help="what `run` reads: a picture or a clip")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help="picture to write, such as sheet.png")
    parser.add_argument(
        "--frame", type=whole_number(0), default=0, metavar="N", help="which frame of a clip (default: %(default)s)"
    )
    parser.add_argument(
        "--min-score",
        default=MIN_SCORE,
        type=share,
        metavar="P",
        help="leave out people whose score is below, 0 to 1 (default: %(default)s)",
    )
    add_model_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Look at the frame, draw the eight panels, write them."""
    sink = PictureWriter(options.out)
    check_target(options.out)
    if options.out.exists() and Path(options.source).exists() and options.out.samefile(options.source):
        raise UserError(f"{options.out}: the result would replace the source; choose another --out")
    frame = _frame(options.source, options.frame)
    with open_estimator(options, min_score=options.min_score) as estimator:
        print(describe(options, estimator), flush=True)
        heads, instances = estimator.observe(frame.image)
    sheet = figure_sheet(frame.image, instances, heads)
    with sink:
        sink.write(Rendered(FrameResult(frame, instances, heads, {}), sheet))
    print(sink.path)
    return 0


def _frame(uri: str, index: int) -> Frame:
    source = open_source(uri, index + 1)
    with source:
        frame = next(islice(source, index, None), None)
    if frame is None:
        raise UserError(f"{source.info.name}: has no frame {index}")
    return frame
