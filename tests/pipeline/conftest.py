"""What the pipeline's tests share: small clips made on the spot, and values made by hand."""

import threading
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from engine.skeleton import NUM_EDGES, NUM_KEYPOINTS
from engine.structures import ByteArray, Heads, Instances, Letterbox
from pipeline.frames import Frame, FrameResult, Rendered
from pipeline.sources import SourceInfo, open_source
from tests.pipeline.misbehaving_camera import MisbehavingCamera
from tests.pipeline.rtsp_camera import RtspCamera

Clip = Callable[..., Path]


def numbered_image(number: int, width: int = 96, height: int = 64) -> ByteArray:
    """Noise whose mean brightness tells the number (below 45); a blue corner at the top left shows the way up."""
    noise = np.random.default_rng(number).integers(-16, 17, (height, width, 3))
    image = (24 + 5 * (number % 45) + noise).clip(0, 255).astype(np.uint8)
    image[: height // 4, : width // 4] = (255, 0, 0)
    return image


def number_in(image: ByteArray) -> int:
    """The number of a `numbered_image` that went through a lossy codec."""
    return round((float(image[image.shape[0] // 2 :].mean()) - 24) / 5)


@pytest.fixture
def make_clip(tmp_path: Path) -> Clip:
    """Write a clip of `numbered_image`s into the test's folder."""

    def make(
        name: str,
        count: int = 12,
        codec: str = "libx264",
        times_s: Sequence[float] | None = None,
        rotation: int = 0,
        mirrored: bool = False,
        faststart: bool = False,
        size: tuple[int, int] = (96, 64),
    ) -> Path:
        path = tmp_path / name
        options = {"movflags": "+faststart"} if faststart else {}
        with av.open(f"file:{path}", "w", options=options) as container:
            stream = container.add_stream(codec, rate=25, options={"g": "4", "crf": "8"} if codec == "libx264" else {})
            stream.width, stream.height = size
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            if times_s is not None:
                stream.codec_context.time_base = Fraction(1, 1000)
            if rotation or mirrored:
                stream.set_display_rotation(rotation, mirrored)
            for number in range(count):
                frame = av.VideoFrame.from_ndarray(numbered_image(number, *size), format="bgr24")
                if times_s is not None:
                    frame.pts, frame.time_base = round(times_s[number] * 1000), Fraction(1, 1000)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path

    return make


def make_instances(count: int, height: int = 64, width: int = 96) -> Instances:
    """`count` people side by side: a rectangle each, with all keypoints on its diagonal."""
    label_map = np.zeros((height, width), dtype=np.uint8)
    keypoints_xy = np.zeros((count, NUM_KEYPOINTS, 2), dtype=np.float32)
    step = width // max(1, count)
    for index in range(count):
        left, right = index * step + 4, (index + 1) * step - 4
        label_map[8 : height - 8, left:right] = index + 1
        keypoints_xy[index, :, 0] = np.linspace(left, right, NUM_KEYPOINTS)
        keypoints_xy[index, :, 1] = np.linspace(8, height - 8, NUM_KEYPOINTS)
    return Instances(
        keypoints_xy=keypoints_xy,
        keypoint_scores=np.full((count, NUM_KEYPOINTS), 0.75, dtype=np.float32),
        scores=np.linspace(0.9, 0.5, count, dtype=np.float32),
        mask_scores=np.full(count, 0.75, dtype=np.float32),
        label_map=label_map,
    )


def make_heads(value: float = 0.0) -> Heads:
    """The smallest heads there are, for a 64x96 source; `value` travels in the person map."""
    return Heads(
        keypoint_maps=np.zeros((NUM_KEYPOINTS, 2, 2), dtype=np.float32),
        short_offsets=np.zeros((NUM_KEYPOINTS, 2, 2, 2), dtype=np.float32),
        mid_offsets=np.zeros((2 * NUM_EDGES, 2, 2, 2), dtype=np.float32),
        mask_offsets=np.zeros((NUM_KEYPOINTS, 2, 2, 2), dtype=np.float32),
        centroid_offsets=np.zeros((2, 2, 2), dtype=np.float32),
        person_map=np.full((2, 2), value, dtype=np.float32),
        stride=16,
        letterbox=Letterbox(source_hw=(64, 96), input_hw=(17, 17), scale_xy=(17 / 96, 17 / 64)),
    )


def make_rendered(
    index: int = 0,
    t_media_s: float | None = 0.0,
    image: ByteArray | None = None,
    instances: Instances | None = None,
) -> Rendered:
    """A frame that has been through the pipeline; its canvas is its image."""
    picture = numbered_image(index) if image is None else image
    found = make_instances(0, *picture.shape[:2]) if instances is None else instances
    frame = Frame.of(picture, index, 0.0, t_media_s)
    return Rendered(FrameResult(frame, found, None, {}), picture)


class FakeSource:
    """A source of numbered frames; notes which threads entered and left it."""

    def __init__(self, count: int, live: bool = False, before: Callable[[int], None] | None = None) -> None:
        self.live = live
        self.info = SourceInfo("fake", 96, 64, 25.0, count)
        self.warnings: list[str] = []
        self.events: list[tuple[str, str]] = []
        self._count = count
        self._before = before

    def __enter__(self) -> "FakeSource":
        self._note("enter")
        return self

    def __exit__(self, *details: Any) -> None:
        self._note("exit")

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self._count):
            if self._before is not None:
                self._before(index)
            image = np.full((64, 96, 3), index % 256, dtype=np.uint8)
            yield Frame.of(image, index, 0.0, index / 25)

    def stop(self) -> None:
        pass

    def _note(self, what: str) -> None:
        self.events.append((what, threading.current_thread().name))


def read(path: Path, **options: Any) -> tuple[list[Frame], list[str]]:
    """All frames of a file or folder, and the source's warnings afterwards."""
    source = open_source(str(path), **options)
    with source:
        frames = list(source)
    return frames, source.warnings


# Test files cannot import each other in pytest's importlib mode: the makers above come to them as fixtures.
@pytest.fixture(name="number_in")
def _number_in() -> Callable[[ByteArray], int]:
    return number_in


@pytest.fixture(name="read")
def _read() -> Callable[..., tuple[list[Frame], list[str]]]:
    return read


@pytest.fixture(name="make_instances")
def _make_instances() -> Callable[..., Instances]:
    return make_instances


@pytest.fixture(name="make_heads")
def _make_heads() -> Callable[..., Heads]:
    return make_heads


@pytest.fixture(name="make_rendered")
def _make_rendered() -> Callable[..., Rendered]:
    return make_rendered


@pytest.fixture(name="fake_source")
def _fake_source() -> type[FakeSource]:
    return FakeSource


@pytest.fixture
def camera() -> Iterator[MisbehavingCamera]:
    """A network camera that behaves until it is told otherwise."""
    with MisbehavingCamera() as camera:
        yield camera


@pytest.fixture
def rtsp_camera() -> Iterator[RtspCamera]:
    """Another one, that speaks RTSP and sends H.264."""
    with RtspCamera() as camera:
        yield camera
