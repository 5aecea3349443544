from collections.abc import Callable

import numpy as np
import pytest

from engine.backends.base import Backend, open_backend
from engine.decode_config import DecodeConfig
from engine.estimator import Estimator
from engine.models import ModelEntry
from engine.structures import ByteArray, FloatArray, Heads, Letterbox

PictureMaker = Callable[[int, int], ByteArray]


class BlankBackend(Backend):
    """Sees nobody; remembers what it was asked."""

    name, stride, multiple = "blank", 16, 16

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.letterboxes: list[Letterbox] = []
        self.images: list[ByteArray] = []

    def infer(self, image: ByteArray, letterbox: Letterbox) -> Heads:
        self.calls.append("infer")
        self.images.append(image)
        self.letterboxes.append(letterbox)
        h, w = ((side - 1) // self.stride + 1 for side in letterbox.input_hw)
        return Heads(
            keypoint_maps=np.zeros((17, h, w), np.float32),
            short_offsets=np.zeros((17, 2, h, w), np.float32),
            mid_offsets=np.zeros((32, 2, h, w), np.float32),
            mask_offsets=np.zeros((17, 2, h, w), np.float32),
            centroid_offsets=np.zeros((2, h, w), np.float32),
            person_map=np.zeros((h, w), np.float32),
            stride=self.stride,
            letterbox=letterbox,
        )

    def _run(self, image: ByteArray) -> dict[str, FloatArray]:
        raise NotImplementedError

    def close(self) -> None:
        self.calls.append("close")


@pytest.mark.parametrize("name", ["onnx", "torch"])
@pytest.mark.parametrize("source_hw", [(240, 320), (333, 101), (40, 40)])
def test_a_picture_gives_people_in_its_own_pixels(
    name: str, source_hw: tuple[int, int], entry: ModelEntry, make_picture: PictureMaker
) -> None:
    """A random network sees ghosts; what counts is that they are well-formed, in the source's size, and repeatable."""
    # A wide-open decode, so that there is something to look at.
    config = DecodeConfig(seed_threshold=0.01, min_score=0.0, person_threshold=0.3, max_instances=20)
    with Estimator(open_backend(name, entry), entry.input_size, config) as estimator:
        people = estimator(make_picture(*source_hw))
        again = estimator.decode(estimator.infer(make_picture(*source_hw)))
    assert people.label_map.shape == source_hw
    assert people.label_map.max(initial=0) <= len(people) <= 20
    assert np.isfinite(people.keypoints_xy).all()
    assert (np.diff(people.scores) <= 0).all()
    assert (people.keypoints_xy[people.keypoint_scores == 0] == 0).all()
    np.testing.assert_array_equal(people.keypoints_xy, again.keypoints_xy)
    np.testing.assert_array_equal(people.label_map, again.label_map)


def test_nobody_is_a_result() -> None:
    with Estimator(BlankBackend(), 129) as estimator:
        heads, people = estimator.observe(np.zeros((90, 160, 3), np.uint8))
    assert heads.letterbox.source_hw == (90, 160)
    assert len(people) == 0
    assert people.label_map.shape == (90, 160)
    assert not people.label_map.any()


def test_the_network_sees_the_letterboxed_picture() -> None:
    backend = BlankBackend()
    image = np.full((90, 160, 3), 200, np.uint8)
    image.flags.writeable = False
    with Estimator(backend, 129) as estimator:
        heads = estimator.infer(image)
    placed = backend.letterboxes[0]
    assert heads.letterbox is placed
    assert placed.source_hw == (90, 160)
    assert backend.images[0].shape == (*placed.input_hw, 3) == (81, 129, 3)
    assert (backend.images[0][:70] == 200).all()


def test_frames_of_one_size_share_a_letterbox() -> None:
    backend = BlankBackend()
    with Estimator(backend, 129) as estimator:
        for height in (90, 90, 120, 90):
            estimator.infer(np.zeros((height, 160, 3), np.uint8))
    first, second, third, fourth = backend.letterboxes
    assert first is second
    assert [third.source_hw, fourth.source_hw] == [(120, 160), (90, 160)]


def test_warming_up_runs_the_network_once_at_the_coming_size() -> None:
    backend = BlankBackend()
    with Estimator(backend, 129) as estimator:
        estimator.warmup((90, 160))
        estimator.warmup()
    assert backend.calls == ["infer", "infer", "close"]
    assert [placed.source_hw for placed in backend.letterboxes] == [(90, 160), (129, 129)]
    assert [image.shape for image in backend.images] == [(81, 129, 3), (129, 129, 3)]


def test_warming_up_compiles_all_kernels_of_the_decode(entry: ModelEntry, make_picture: PictureMaker) -> None:
    """Afterwards no picture may bring a dtype or layout the kernels were not compiled for."""
    from engine import kernels

    def signatures() -> dict[str, int]:
        compiled = {name: getattr(value, "signatures", None) for name, value in vars(kernels).items()}
        return {name: len(found) for name, found in compiled.items() if found is not None}

    config = DecodeConfig(seed_threshold=0.01, min_score=0.0, person_threshold=0.3)
    with Estimator(open_backend("onnx", entry), entry.input_size, config) as estimator:
        estimator.warmup()
        after_warmup = signatures()
        estimator(make_picture(120, 90))
    assert after_warmup
    assert signatures() == after_warmup


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((10, 10), np.uint8),
        np.zeros((10, 10, 4), np.uint8),
        np.zeros((10, 10, 3), np.float32),
        np.zeros((0, 10, 3), np.uint8),
    ],
    ids=["grey", "bgra", "float", "empty"],
)
def test_what_is_no_picture_is_refused(image: ByteArray) -> None:
    with (
        Estimator(BlankBackend(), 129) as estimator,
        pytest.raises(ValueError, match=r"image: expected uint8 \(H, W, 3\) with pixels, got"),
    ):
        estimator(image)


def test_an_input_size_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="input_size: expected at least 2 px, got 1"):
        Estimator(BlankBackend(), 1)
