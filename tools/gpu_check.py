"""Everything that a GPU is needed for, in one command: does TensorRT run here, does it say the right thing, how fast.

    python tools/gpu_check.py --out DIR            on a machine with an NVIDIA GPU
    python tools/gpu_check.py --out DIR --build    without one: every network through TensorRT-RTX's builder

The ResNets have random weights unless DIR holds their ONNX files (resnet50.onnx, …): speed does not depend on them.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from app.messages import print_error
from app.tables import print_table
from engine import letterbox as letterboxes
from engine.backends import survey
from engine.backends.base import Backend, whole_input
from engine.backends.gpu_graph import from_planes, load_model, to_half
from engine.backends.onnx_backend import OnnxBackend
from engine.backends.tensorrt_backend import TensorRTBackend
from engine.backends.tensorrt_build import PlanShape, build_plan, import_library
from engine.backends.tensorrt_plan import Recipe
from engine.coco import read_image
from engine.errors import UserError
from engine.export import export_onnx
from engine.model import NetConfig, PosePlusSegNet
from engine.models import DEFAULT_REGISTRY, find_model
from engine.modes import HEADS_OF_MODE
from engine.parity import compare_heads

TRUNKS = ("mobile", "resnet50", "resnet101", "resnet152")
SIZES = (401, 641)
BATCHES = (1, 4, 8, 16, 32)
FRAME_HW = (720, 1280)
RUNS, WARMUP_RUNS = 200, 20

Row = dict[str, Any]


def main() -> int:
    """Measure or build, print and write the table; 1 where there was nothing to measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for ONNX files and result.json")
    parser.add_argument("--build", action="store_true", help="build only, with TensorRT-RTX, without a GPU")
    parser.add_argument("--trunks", nargs="+", choices=TRUNKS, default=TRUNKS)
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for item in survey.candidates():
        print(f"{item.name} on {item.place}: {'usable' if item.usable else 'not here'}: {item.reason}")
    rows: list[Row] = []
    for row in built(options) if options.build else measured(options):
        rows.append(row)
        print(json.dumps(row), flush=True)  # what is done stays, if a later one fails
        (options.out / "result.json").write_text(json.dumps(rows, indent=1))
    if not rows:
        print_error("nothing could be measured: no back end on a GPU works here")
        return 1
    print_table("results", tuple(rows[0]), [tuple(str(value) for value in row.values()) for row in rows])
    return 0


def onnx_file(trunk: str, folder: Path) -> Path:
    """The released network's file, or one of random weights, made once."""
    if trunk == "mobile":
        return find_model("mobile").onnx
    path = folder / f"{trunk}.onnx"
    if not path.is_file():
        export_onnx(random_net(trunk), path, trunk)
    return path


def random_net(trunk: str) -> PosePlusSegNet:
    """A network whose activations stay within half precision."""
    import torch

    torch.manual_seed(7)
    net = PosePlusSegNet(NetConfig(trunk)).eval()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.data.mul_(0.5)
    return net


def built(options: argparse.Namespace) -> Iterator[Row]:
    """Each network, precision and mode through a real builder."""
    trt = import_library("tensorrt_rtx")
    for trunk in options.trunks:
        single = load_model(onnx_file(trunk, options.out))
        for precision, model in (("fp32", single), ("fp16", to_half(single))):
            for mode, heads in HEADS_OF_MODE.items():
                for size in options.sizes:
                    begin_s = time.perf_counter()
                    plan = build_plan(trt, from_planes(model, heads).onnx, PlanShape.of(size, 4))
                    seconds = round(time.perf_counter() - begin_s, 2)
                    yield {"net": trunk, "precision": precision, "mode": mode, "size": size, "s": seconds,
                           "MB": round(len(plan) / 1e6, 1)}  # fmt: skip


def measured(options: argparse.Namespace) -> Iterator[Row]:
    """Each network and size on every back end of the GPU, at batch 1 and at the batches that fit."""
    usable = [item.name for item in survey.candidates() if item.usable and item.place == "cuda"]
    for trunk in options.trunks:
        path = onnx_file(trunk, options.out)
        for size in options.sizes:
            for name in usable:
                for batch in BATCHES if name != "torch" else BATCHES[:1]:
                    try:
                        with opened(name, trunk, path, size, batch) as backend:
                            if backend.batch == batch:
                                yield {"net": trunk, "size": size, **measure(backend, path, size)}
                    except UserError as error:
                        print_error(f"{trunk} at {size} on {name}, {batch} at once: {error}")


def opened(name: str, trunk: str, path: Path, size: int, batch: int) -> Backend:
    """fp16 in TensorRT; for PyTorch the same network: random weights are seeded."""
    if name != "torch":
        return TensorRTBackend.open(Recipe.of_file(name, path, "joint", "fp16", PlanShape.of(size, batch)))
    from engine.backends.torch_backend import TorchBackend

    return TorchBackend.open(find_model("mobile")) if trunk == "mobile" else TorchBackend(random_net(trunk))


def measure(backend: Backend, path: Path, size: int) -> Row:
    """Milliseconds a picture, and how far the heads are from ONNX Runtime's in float32."""
    picture = read_image(DEFAULT_REGISTRY.parent / "astronaut.jpg")
    square = letterboxes.apply(picture, letterboxes.fit(picture.shape[:2], size, backend.multiple))
    with OnnxBackend(path) as reference:
        placed = whole_input((square.shape[0], square.shape[1]))
        parity = compare_heads(reference.infer(square, placed), backend.infer(square, placed))
    frame = np.random.default_rng(0).integers(0, 256, (*FRAME_HW, 3), dtype=np.uint8)
    frame_placed = letterboxes.fit(FRAME_HW, size, backend.multiple)
    square_placed = whole_input((square.shape[0], square.shape[1]))
    alone_ms = one_by_one(backend, lambda: backend.submit([frame] * backend.batch, frame_placed))
    ahead_ms = overlapped(backend, lambda: backend.submit([frame] * backend.batch, frame_placed))
    square_ms = overlapped(backend, lambda: backend.submit([square] * backend.batch, square_placed))
    return {
        "backend": backend.name,
        "batch": backend.batch,
        "720p p50 ms": round(float(np.median(alone_ms)), 3),
        "720p p95 ms": round(float(np.percentile(alone_ms, 95)), 3),
        "720p ms/picture": round(ahead_ms / backend.batch, 3),
        "square ms/picture": round(square_ms / backend.batch, 3),
        "probability": f"{parity.probability_max:.1e}",
        "offset px": round(parity.offset_max_px, 2),
    }


def one_by_one(backend: Backend, submit: Callable[[], None]) -> Sequence[float]:
    """From a picture in memory to heads in memory, milliseconds, nothing else under way."""
    times = []
    for _ in range(WARMUP_RUNS + RUNS):
        begin_s = time.perf_counter()
        submit()
        backend.collect()
        times.append((time.perf_counter() - begin_s) * 1e3)
    return times[WARMUP_RUNS:]


def overlapped(backend: Backend, submit: Callable[[], None]) -> float:
    """Milliseconds a submission when as many are under way as the back end takes."""
    for _ in range(WARMUP_RUNS):
        submit()
        backend.collect()
    for _ in range(backend.depth - 1):
        submit()
    begin_s = time.perf_counter()
    for _ in range(RUNS):
        submit()
        backend.collect()
    elapsed_ms = (time.perf_counter() - begin_s) * 1e3
    for _ in range(backend.depth - 1):
        backend.collect()
    return elapsed_ms / RUNS


if __name__ == "__main__":
    sys.exit(main())
