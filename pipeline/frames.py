"""What travels through the pipeline: a frame, its result, its picture, and how long each stage took.

All are frozen: a value is handed over and never touched again, so no lock guards it. A result always carries its
frame; nothing has to be matched up later.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from engine.structures import ByteArray, Heads, Instances


def _check_picture(name: str, picture: ByteArray) -> None:
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise ValueError(f"{name}: expected uint8 (H, W, 3), got {picture.dtype} {picture.shape}")


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture as the source delivered it.

    Attributes:
        image: uint8 (H, W, 3), BGR, C-contiguous, read-only. Use `Frame.of` to get there from any array.
        index: counts what the source delivered from 0; a gap further down means dropped frames.
        t_capture_s: time.perf_counter() right after the grab; for frame age only.
        t_media_s: seconds since the first frame of the recording, None for a camera; for output timing only.
    """

    image: ByteArray
    index: int
    t_capture_s: float
    t_media_s: float | None

    def __post_init__(self) -> None:
        _check_picture("image", self.image)
        if not self.image.flags.c_contiguous or self.image.flags.writeable:
            raise ValueError("image: expected a C-contiguous, read-only array")

    def __repr__(self) -> str:
        height, width = self.image.shape[:2]
        return f"Frame({self.index}, {width}x{height}, t_media_s={self.t_media_s})"

    @classmethod
    def of(cls, image: ByteArray, index: int, t_capture_s: float, t_media_s: float | None) -> "Frame":
        """A frame around a read-only, contiguous view (or copy) of `image`; the caller's array keeps its flags."""
        view = np.ascontiguousarray(image).view()
        view.setflags(write=False)
        return cls(view, index, t_capture_s, t_media_s)


@dataclass(frozen=True, slots=True, eq=False)
class FrameResult:
    """A frame and who was found in it.

    Attributes:
        frame: the frame that was looked at.
        instances: in source pixels of that frame.
        heads: the network's outputs, or None unless somebody asked for them (they are large).
        stage_ms: milliseconds each stage worked on this frame, in the order of the stages; read-only.
    """

    frame: Frame
    instances: Instances
    heads: Heads | None
    stage_ms: Mapping[str, float]

    def __post_init__(self) -> None:
        if self.instances.label_map.shape != self.frame.image.shape[:2]:
            raise ValueError(
                f"instances: expected a label map of {self.frame.image.shape[:2]}, got {self.instances.label_map.shape}"
            )
        object.__setattr__(self, "stage_ms", MappingProxyType(dict(self.stage_ms)))

    def __repr__(self) -> str:
        return f"FrameResult({self.frame}, {self.instances}, heads={self.heads})"


@dataclass(frozen=True, slots=True, eq=False)
class Rendered:
    """A result and the picture to show or write.

    Attributes:
        result: the frame, its instances and its stage times.
        canvas: uint8 (H, W, 3), BGR; without a render function it is the frame's own, read-only image.
    """

    result: FrameResult
    canvas: ByteArray

    def __post_init__(self) -> None:
        _check_picture("canvas", self.canvas)

    def __repr__(self) -> str:
        height, width = self.canvas.shape[:2]
        return f"Rendered({self.result}, canvas {width}x{height})"


@dataclass(frozen=True, slots=True)
class StageStats:
    """How one stage spent its time; a line of the stage table.

    Attributes:
        stage: its name.
        count: frames it finished.
        median_ms: typical work on one frame, milliseconds.
        p95_ms: work that 95 % of the frames stayed below, milliseconds.
        wait_share: part of its time in [0, 1] it waited for its neighbours; the bottleneck's is near 0.
        fps: frames per second over the N - 1 intervals between N finished frames; None below two frames.
    """

    stage: str
    count: int
    median_ms: float
    p95_ms: float
    wait_share: float
    fps: float | None

    @property
    def busy_share(self) -> float:
        """The part of its time in [0, 1] that the stage worked."""
        return 1.0 - self.wait_share

    @classmethod
    def from_spans(cls, stage: str, spans_s: Sequence[tuple[float, float]], count: int | None = None) -> "StageStats":
        """Statistics of (begin, end) spans in seconds, in order; `count` if more frames passed than spans were kept.

        Raises:
            ValueError: there is no span.
        """
        if not spans_s:
            raise ValueError(f"stage {stage}: no frame has passed yet")
        spans = np.asarray(spans_s, dtype=np.float64)  # (n, 2)
        work_s = spans[:, 1] - spans[:, 0]
        total_s = spans[-1, 1] - spans[0, 0]
        between_s = spans[-1, 1] - spans[0, 1]
        return cls(
            stage=stage,
            count=len(spans) if count is None else count,
            median_ms=float(np.median(work_s)) * 1e3,
            p95_ms=float(np.percentile(work_s, 95)) * 1e3,
            wait_share=min(1.0, max(0.0, 1.0 - float(work_s.sum() / total_s))) if total_s > 0 else 0.0,
            fps=float((len(spans) - 1) / between_s) if between_s > 0 else None,
        )
