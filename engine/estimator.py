"""Picture to people in one thread: letterbox, back end, decode. The reference path for tests, evaluation and stills.

The pipeline calls `infer` and `decode` from two threads; everybody else calls the estimator itself.
"""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

import numpy as np

from engine import letterbox as letterboxes
from engine.backends.base import Backend
from engine.decode import decode
from engine.decode_config import DecodeConfig
from engine.structures import ByteArray, Heads, Instances, Letterbox


class Estimator:
    """Owns a back end, and knows the input size and the decode's numbers.

    `infer` and `decode` share nothing that changes, so two threads may each call one of them.

    Attributes:
        backend: closed together with the estimator.
        input_size: the longer side of the network input, px; rounded up to n * backend.multiple + 1.
        config: the decode's numbers.
    """

    def __init__(self, backend: Backend, input_size: int, config: DecodeConfig | None = None) -> None:
        if input_size < 2:
            raise ValueError(f"input_size: expected at least 2 px, got {input_size}")
        self.backend = backend
        self.input_size = input_size
        self.config = config or DecodeConfig()
        self._letterbox: Letterbox | None = None

    @property
    def batch(self) -> int:
        """How many pictures `submit` takes."""
        return self.backend.batch

    @property
    def depth(self) -> int:
        """How many submissions may wait to be collected."""
        return self.backend.depth

    def __call__(self, image: ByteArray) -> Instances:
        """Everybody in a BGR uint8 (H, W, 3) picture, best first, in its pixels."""
        return self.observe(image)[1]

    def observe(self, image: ByteArray) -> tuple[Heads, Instances]:
        """What the network says about a BGR uint8 (H, W, 3) picture, and everybody it shows."""
        heads = self.infer(image)
        return heads, self.decode(heads)

    def infer(self, image: ByteArray) -> Heads:
        """What the network says about a BGR uint8 (H, W, 3) picture.

        Raises:
            ValueError: wrong dtype or shape, or an empty picture.
        """
        self.submit([image])
        return self.collect()[0]

    def submit(self, images: Sequence[ByteArray]) -> None:
        """Start on up to `backend.batch` pictures of one size; see `Backend.submit`.

        Raises:
            ValueError: see `infer`.
        """
        for image in images:
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
                raise ValueError(f"image: expected uint8 (H, W, 3) with pixels, got {image.dtype} {image.shape}")
        self.backend.submit(images, self.fit((images[0].shape[0], images[0].shape[1])))

    def collect(self) -> list[Heads]:
        """What the network says about the pictures of the oldest submission; see `Backend.collect`."""
        return self.backend.collect()

    def decode(self, heads: Heads) -> Instances:
        """Everybody the network's outputs show, best first, in source pixels."""
        return decode(heads, self.config)

    def fit(self, source_hw: tuple[int, int]) -> Letterbox:
        """How a source of this (height, width) lies in the input; the frames of a video share one object."""
        cached = self._letterbox
        if cached is None or cached.source_hw != source_hw:
            cached = self._letterbox = letterboxes.fit(source_hw, self.input_size, self.backend.multiple)
        return cached

    def warmup(self, source_hw: tuple[int, int] | None = None) -> None:
        """Pay now for what the first picture would: the back end's first run and the decode's compilation.

        Args:
            source_hw: (height, width) of the pictures to come; without it a square of the input size.
        """
        height, width = source_hw or (self.input_size, self.input_size)
        # The kernels are compiled for the dtypes and layouts of this back end's own arrays, whatever they show.
        self(np.full((height, width, 3), letterboxes.PAD_VALUE, dtype=np.uint8))

    def close(self) -> None:
        """Close the back end; a second call does nothing."""
        self.backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
