"""What travels through the pipeline: a frame, its result and its picture.

All are frozen: a value is handed over and never touched again, so no lock guards it. A result always carries its
frame; nothing has to be matched up later.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from engine.structures import ByteArray, Heads, Instances

IntArray = npt.NDArray[np.int64]


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

    @property
    def time_s(self) -> float:
        """When the frame was taken, in seconds: of the recording, or since some moment if it comes from a camera."""
        return self.t_capture_s if self.t_media_s is None else self.t_media_s

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
        identities: int64 (N,), whom each instance shows: ids that stay from frame to frame. None without tracking.
    """

    frame: Frame
    instances: Instances
    heads: Heads | None
    stage_ms: Mapping[str, float]
    identities: IntArray | None = None

    def __post_init__(self) -> None:
        if self.instances.label_map.shape != self.frame.image.shape[:2]:
            raise ValueError(
                f"instances: expected a label map of {self.frame.image.shape[:2]}, got {self.instances.label_map.shape}"
            )
        ids = self.identities
        if ids is not None and (ids.dtype != np.int64 or ids.shape != (len(self.instances),)):
            raise ValueError(f"identities: expected int64 ({len(self.instances)},), got {ids.dtype} {ids.shape}")
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
