"""Opening, input checks, and ONNX Runtime against torch. Bounds: see engine.export (measured, times thirty)."""

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from engine.backends import base, survey
from engine.backends.base import (
    BACKEND_NAMES,
    Backend,
    inference_threads,
    open_backend,
    whole_input,
)
from engine.backends.onnx_backend import OnnxBackend
from engine.backends.torch_backend import TorchBackend
from engine.errors import UserError
from engine.model import PosePlusSegNet
from engine.models import ModelEntry
from engine.modes import HEAD_CHANNELS, HEADS_OF_MODE
from engine.parity import MAX_OFFSET_DIFFERENCE_PX, MAX_PROBABILITY_DIFFERENCE, ParityReport, compare_heads
from engine.structures import ByteArray, Heads

PictureMaker = Callable[[int, int], ByteArray]
FIELDS = tuple(HEAD_CHANNELS)


def without(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name in packages else find(name, *rest)
    )


@pytest.fixture
def keep_torch_threads() -> Any:
    import torch

    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=["onnx", "torch"])
def backend(request: pytest.FixtureRequest, entry: ModelEntry, keep_torch_threads: None) -> Any:
    with open_backend(request.param, entry) as opened:
        yield opened


def test_auto_takes_onnx_then_torch_then_gives_up(entry: ModelEntry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey, "has_cuda", lambda: False)
    assert [item.name for item in survey.candidates() if item.usable] == ["onnx", "torch"]
    without(monkeypatch, "onnxruntime")
    assert [(item.name, item.place) for item in survey.candidates() if item.usable] == [("torch", "cpu")]
    without(monkeypatch, "onnxruntime", "safetensors")
    with pytest.raises(UserError, match=r"no back end: .* pip install -r requirements\.txt"):
        open_backend("auto", entry)


def test_the_survey_gives_a_reason_for_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey, "has_cuda", lambda: True)
    monkeypatch.setattr(survey, "find_module", lambda library: library if library == "tensorrt_rtx" else None)
    monkeypatch.setattr(survey, "_driver_problem", lambda: None)
    found = {(item.name, item.place): item for item in survey.candidates()}
    assert list(found)[:3] == [("tensorrt", "cuda"), ("tensorrt_rtx", "cuda"), ("torch", "cuda")]
    assert found["tensorrt", "cuda"].reason == "tensorrt is not installed"
    assert found["tensorrt_rtx", "cuda"].usable
    monkeypatch.setattr(survey, "_driver_problem", lambda: "cuda-python: cuInit: CUDA_ERROR_SYSTEM_DRIVER_MISMATCH")
    reasons = {item.name: item.reason for item in survey.candidates() if item.place == "cuda"}
    assert "DRIVER_MISMATCH" in reasons["tensorrt_rtx"]
    assert all(item.reason for item in survey.candidates())


def test_auto_opens_what_it_chose(entry: ModelEntry) -> None:
    with open_backend("auto", entry) as opened:
        assert isinstance(opened, OnnxBackend)


def test_an_unknown_name_lists_the_known(entry: ModelEntry) -> None:
    with pytest.raises(UserError, match=f"unknown back end 'tpu': expected one of {', '.join(BACKEND_NAMES)}"):
        open_backend("tpu", entry)


@pytest.mark.parametrize(("name", "package"), [("onnx", "onnxruntime"), ("torch", "torch"), ("torch", "safetensors")])
def test_a_missing_package_is_named_with_its_remedy(
    name: str, package: str, entry: ModelEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, package)
    with pytest.raises(UserError, match=f"'{name}' needs {package}, not installed here: pip install"):
        open_backend(name, entry)


def test_both_open_with_the_grid_of_the_network(backend: Backend, net: PosePlusSegNet) -> None:
    assert (backend.stride, backend.multiple) == (net.config.stride, net.multiple) == (8, 16)
    assert backend.name.startswith(("onnx ", "torch "))
    backend.infer(np.zeros((33, 49, 3), np.uint8), whole_input((33, 49)))


@pytest.mark.parametrize("input_hw", [(33, 33), (65, 81), (129, 97), (257, 257), (481, 641)])
def test_onnx_agrees_with_torch_at_every_size(
    input_hw: tuple[int, int], entry: ModelEntry, make_picture: PictureMaker, keep_torch_threads: None
) -> None:
    image, placed = make_picture(*input_hw), whole_input(input_hw)
    with OnnxBackend.open(entry) as exported, TorchBackend.open(entry) as reference:
        expected, actual = reference.infer(image, placed), exported.infer(image, placed)
    parity = compare_heads(expected, actual)
    assert parity.input_hw == input_hw
    assert parity.probability_max < MAX_PROBABILITY_DIFFERENCE
    assert parity.offset_max_px < MAX_OFFSET_DIFFERENCE_PX
    assert parity.offset_median_px < MAX_OFFSET_DIFFERENCE_PX / 10
    # The comparison compares something: the outputs are alive, and vary over the picture.
    assert np.ptp(expected.person_map) > 10 * MAX_PROBABILITY_DIFFERENCE
    assert np.ptp(expected.mid_offsets) > 10 * MAX_OFFSET_DIFFERENCE_PX


def test_compare_heads_measures_vectors_and_probabilities(backend: Backend, make_picture: PictureMaker) -> None:
    heads = backend.infer(make_picture(33, 33), whole_input((33, 33)))
    values = {name: getattr(heads, name).copy() for name in FIELDS}
    values["mid_offsets"][3, :, 1, 2] += (3, -4)
    values["person_map"][0, 0] += 0.25
    parity = compare_heads(heads, Heads(**values, stride=heads.stride, letterbox=heads.letterbox))
    assert parity.offset_max_px == pytest.approx(5, abs=1e-3)
    assert parity.offset_median_px == 0
    assert parity.probability_max == pytest.approx(0.25, abs=1e-6)
    ParityReport(Path("a.onnx"), (parity,)).check(0.3, 5.1)
    values["person_map"][0, 0] = np.nan
    broken = compare_heads(heads, Heads(**values, stride=heads.stride, letterbox=heads.letterbox))
    with pytest.raises(RuntimeError, match=r"a\.onnx: it differs"):
        ParityReport(Path("a.onnx"), (broken,)).check(0.3, 5.1)


def test_results_stay_what_they_were(backend: Backend, make_picture: PictureMaker) -> None:
    placed = whole_input((65, 81))
    first = backend.infer(make_picture(65, 81), placed)
    before = {name: getattr(first, name).copy() for name in FIELDS}
    second = backend.infer(255 - make_picture(65, 81), placed)
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(first, name), before[name])
        assert not np.shares_memory(getattr(first, name), getattr(second, name))
        assert not np.array_equal(getattr(first, name), getattr(second, name))
        assert getattr(first, name).flags.c_contiguous
    assert first.letterbox is placed


def test_a_read_only_or_strided_picture_gives_the_same(backend: Backend, make_picture: PictureMaker) -> None:
    placed, image = whole_input((65, 81)), make_picture(65, 81)
    expected = backend.infer(image, placed).mask_offsets
    strided = np.zeros((65, 162, 3), np.uint8)[:, ::2]
    strided[:] = image
    strided.flags.writeable = False
    np.testing.assert_array_equal(backend.infer(strided, placed).mask_offsets, expected)


@pytest.mark.parametrize(
    ("image", "input_hw", "message"),
    [
        (np.zeros((65, 81, 3), np.float32), (65, 81), r"expected uint8 \(65, 81, 3\), got float32"),
        (np.zeros((81, 65, 3), np.uint8), (65, 81), r"expected uint8 \(65, 81, 3\), got uint8 \(81, 65, 3\)"),
        (np.zeros((65, 81), np.uint8), (65, 81), r"got uint8 \(65, 81\)"),
        (np.zeros((64, 80, 3), np.uint8), (64, 80), r"expected sides of n \* 16 \+ 1 px, got 64x80"),
        (np.zeros((1, 17, 3), np.uint8), (1, 17), r"expected sides of n \* 16 \+ 1 px, got 1x17"),
    ],
)
def test_another_input_is_refused(backend: Backend, image: Any, input_hw: tuple[int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        backend.infer(image, whole_input(input_hw))


def test_a_closed_back_end_says_so(backend: Backend) -> None:
    backend.close()
    backend.close()
    with pytest.raises(RuntimeError, match="closed"):
        backend.infer(np.zeros((33, 33, 3), np.uint8), whole_input((33, 33)))


@pytest.mark.parametrize(("name", "part"), [("onnx", "onnx"), ("torch", "weights")])
def test_a_changed_file_is_not_loaded(name: str, part: str, copied_entry: ModelEntry) -> None:
    path: Path = getattr(copied_entry, part)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"sha256 differs from models\.toml"):
        open_backend(name, copied_entry)


def test_what_is_no_onnx_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    with pytest.raises(UserError, match=r"net\.onnx: no such file"):
        OnnxBackend(path)
    for content in (b"", b"no graph at all", b"\x08\x0a"):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"net\.onnx: not a"):
            OnnxBackend(path)


def change_key(key: str, value: str | None) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        kept = {item.key: item.value for item in model.metadata_props if item.key != key}
        onnx.helper.set_model_props(model, kept if value is None else {**kept, key: value})

    return change


def rename_output(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        node.output[:] = ["masks" if name == "mask_offsets" else name for name in node.output]
    next(value for value in model.graph.output if value.name == "mask_offsets").name = "masks"


def rename_input(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        node.input[:] = ["picture" if name == "image" else name for name in node.input]
    model.graph.input[0].name = "picture"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (change_key("stride", None), "not a PosePlusSeg model: its metadata has no 'stride'"),
        (change_key("multiple", None), "has no 'multiple'"),
        (change_key("stride", "eight"), "stride or multiple is not a number"),
        (change_key("stride", "7"), "a multiple that the stride divides, got 16 and 7"),
        (
            change_key("input_format", "rgb float32 nchw"),
            "expected an input of 'bgr uint8 nhwc', got 'rgb float32 nchw'",
        ),
        (rename_output, "output 'mask_offsets': expected 34 channels, got None"),
        (rename_input, "expected one input 'image' of tensor"),
    ],
)
def test_somebody_else_s_model_is_named_with_the_reason(
    change: Callable[[onnx.ModelProto], None], message: str, entry: ModelEntry, tmp_path: Path
) -> None:
    model = onnx.load(entry.onnx)
    change(model)
    path = tmp_path / "foreign.onnx"
    onnx.save(model, path)
    with pytest.raises(UserError, match=rf"foreign\.onnx: .*{message}"):
        OnnxBackend(path)


@pytest.mark.parametrize("name", ["onnx", "torch"])
@pytest.mark.parametrize("mode", ["pose", "seg"])
def test_a_mode_gives_its_heads_as_they_are_and_zeros(
    name: str, mode: str, entry: ModelEntry, make_picture: PictureMaker, keep_torch_threads: None
) -> None:
    image, placed = make_picture(65, 81), whole_input((65, 81))
    with open_backend(name, entry) as joint, open_backend(name, entry, mode) as alone:
        expected, actual = joint.infer(image, placed), alone.infer(image, placed)
    for field in FIELDS:
        if field in HEADS_OF_MODE[mode]:
            np.testing.assert_allclose(getattr(actual, field), getattr(expected, field), atol=1e-3)
        else:
            assert not getattr(actual, field).any()
            assert np.asarray(getattr(expected, field)).any()


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (8, 7)])
def test_one_core_is_left_to_the_other_stages(cores: int, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base.os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    assert inference_threads() == threads


def test_the_onnx_back_end_needs_no_torch_and_says_nothing(entry: ModelEntry, root: Path) -> None:
    code = (
        "import sys; import numpy as np; from pathlib import Path; from engine.backends.base import whole_input\n"
        "from engine.backends.onnx_backend import OnnxBackend\n"
        f"with OnnxBackend(Path({str(entry.onnx)!r})) as backend:\n"
        "    backend.infer(np.zeros((33, 33, 3), np.uint8), whole_input((33, 33)))\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_torch_back_end_keeps_its_own_copy(net: PosePlusSegNet, make_picture: PictureMaker) -> None:
    """Evaluation during training neither follows the network's next step nor disturbs it."""
    import copy

    import torch

    training = copy.deepcopy(net).train()
    placed, image = whole_input((33, 33)), make_picture(33, 33)
    with TorchBackend(training, device="cpu") as backend:
        before = backend.infer(image, placed).short_offsets
        with torch.no_grad():
            training.heads.bias += 1
        np.testing.assert_array_equal(backend.infer(image, placed).short_offsets, before)
    assert training.training
    assert all(parameter.requires_grad for parameter in training.parameters())


def test_half_precision_in_torch_says_nearly_the_same(net: PosePlusSegNet, make_picture: PictureMaker) -> None:
    """What CUDA runs, on the processor; bounds as for TensorRT's half precision."""
    image, placed = make_picture(65, 81), whole_input((65, 81))
    with TorchBackend(net, "cpu") as reference, TorchBackend(net, "cpu", precision="fp16") as half:
        assert (reference.name, half.name) == ("torch cpu fp32", "torch cpu fp16")
        parity = compare_heads(reference.infer(image, placed), half.infer(image, placed))
    assert 0 < parity.probability_max < 2e-3
    assert parity.offset_max_px < 0.6


def test_the_graphs_of_torch_are_recorded_when_a_shape_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a stand-in for torch.cuda, whose graphs compute again what was recorded."""
    import contextlib
    from types import SimpleNamespace

    import torch

    from engine.backends import torch_backend

    class Graph:
        def __init__(self) -> None:
            self.work: Callable[[], None] = lambda: None

        def replay(self) -> None:
            self.work()

    class Doubling(torch.nn.Module):
        calls = 0

        def forward(self, batch: torch.Tensor) -> tuple[torch.Tensor, ...]:
            self.calls += 1
            out = batch * 2
            recording and recording.append((batch, out))
            return (out,)

    recording: list[Any] = []

    @contextlib.contextmanager
    def graph(made: Graph) -> Any:
        recording.append(None)
        yield
        held, out = recording[-1]
        recording.clear()
        made.work = lambda: out.copy_(held * 2)

    stream = SimpleNamespace(wait_stream=lambda other: None)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", graph)
    monkeypatch.setattr(torch.cuda, "Stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda _: contextlib.nullcontext())
    module = Doubling()
    recorded = torch_backend._Recorded(module)
    for number, calls in ((1, 1), (2, 3), (3, 3), (4, 3)):  # plain; warm-up and recording; replays
        (out,) = recorded(torch.full((2, 2), float(number)))
        assert out.unique().item() == 2 * number
        assert module.calls == calls
    recorded(torch.ones(3))
    assert module.calls == 4
    assert recorded(torch.full((2, 2), 9.0))[0].unique().item() == 18
    assert module.calls == 4
