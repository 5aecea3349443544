"""`batch`: many clips, by several workers, so that nothing that goes wrong with one costs another."""

import argparse
from pathlib import Path

from app.batching.contents import content_hash
from app.batching.display import JsonLines
from app.batching.session import BatchOptions, run_batch
from app.inputs import INPUTS_HELP, find_inputs
from app.options import seconds, whole_number
from app.run_settings import RunSettings, add_run_arguments
from engine.errors import UserError
from engine.models import find_model
from pipeline.addresses import is_address, redacted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.epilog = (
        "What became of each clip is kept in DIR/manifest.sqlite. After a crash, Ctrl-C or a power cut, the same "
        "command with --resume finishes what is missing and leaves the rest alone. Exit status: 0 all clips are done, "
        "1 some are in quarantine, 2 bad input or a folder that cannot be written, 130 interrupted."
    )
    parser.add_argument("clips", nargs="*", metavar="CLIP", help=INPUTS_HELP.replace("%", "%%"))
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for results and manifest")
    parser.add_argument(
        "--workers", type=whole_number(1), default=1, metavar="N", help="clips at a time (default: %(default)s)"
    )
    parser.add_argument(
        "--ray", metavar="ADDRESS", help='spread the workers over a Ray cluster; "local" starts one on this machine'
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on with DIR's batch; CLIPs are added to those that it knows"
    )
    parser.add_argument(
        "--retry-quarantined", action="store_true", help="with --resume: try those in quarantine once more"
    )
    parser.add_argument(
        "--slice",
        type=seconds,
        metavar="S",
        help="cut clips into slices of about S seconds, units of work of their own",
    )
    parser.add_argument(
        "--attempts",
        type=whole_number(1),
        default=BatchOptions.attempts,
        metavar="N",
        help="tries before a clip is put into quarantine (default: %(default)s)",
    )
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=BatchOptions.timeout_s,
        metavar="S",
        help="a worker without progress for S seconds is replaced (default: %(default)g)",
    )
    parser.add_argument(
        "--log-json", action="store_true", help="a line of JSON on stderr for each event, no other text"
    )
    parser.add_argument("--recursive", action="store_true", help="look into the folders of folders, too")
    add_run_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Process all clips; 0, or 1 if some are in quarantine, or 130 if it was interrupted."""
    try:
        return _run(options)
    except UserError as error:
        if not options.log_json:
            raise
        JsonLines().failed(error)
        return 2


def _run(options: argparse.Namespace) -> int:
    settings = RunSettings.of(options)
    _check_slices(options.slice, settings)
    clips = [_absolute(clip) for clip in find_inputs(options.clips, options.recursive)]
    how = BatchOptions(
        out=options.out,
        workers=options.workers,
        ray=options.ray,
        resume=options.resume,
        retry_quarantined=options.retry_quarantined,
        slice_s=options.slice,
        start_s=settings.start_s,
        end_s=settings.end_s,
        attempts=options.attempts,
        timeout_s=options.timeout,
        log_json=options.log_json,
    )
    what = {"run": settings.record(), "networks": _network_hashes(settings.model)}
    return run_batch(clips, what, "app.batching.clip_work:open_clip_work", how)


def _check_slices(slice_s: float | None, settings: RunSettings) -> None:
    thinned = settings.max_frames is not None or settings.every_frames > 1 or settings.every_s
    if slice_s is not None and thinned:
        raise UserError("--slice goes with neither --every nor --max-frames: they count through the whole clip")


def _network_hashes(model: str) -> list[str | None]:
    """What tells a network from another of the same name: the hashes of its files."""
    if Path(model).suffix in (".safetensors", ".onnx"):
        return [content_hash(model)]
    entry = find_model(model)
    return [entry.onnx_sha256, entry.onnx_int8_sha256, entry.weights_sha256]


def _absolute(clip: str) -> str:
    """The path of a clip from the root on; of a link its own, for that is what the user calls it."""
    if is_address(clip):
        raise UserError(f"{redacted(clip)}: batch reads files; watch a camera or a stream with gui or monitor")
    path = Path(clip)
    if redacted(clip) != clip and not path.exists():  # an address typed wrong, maybe with a password
        raise UserError(f"{redacted(clip)}: no such file; addresses begin with rtsp:// or http://")
    return str(path.parent.resolve() / path.name)
