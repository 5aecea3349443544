"""The kernel that does on the GPU what `engine.letterbox` does on the processor, and takes the mean off."""

from pathlib import Path
from typing import Any, Final

import numpy as np

from engine.cuda.driver import CudaDriver
from engine.structures import Letterbox

SOURCE: Final = Path(__file__).with_suffix(".cu")
NAME: Final = "letterbox"
_BLOCK: Final = (32, 8, 1)


class LetterboxKernel:
    """`letterbox.cu`, compiled for one GPU. To be made and queued inside `driver.active()`."""

    def __init__(self, driver: CudaDriver) -> None:
        """Raises CudaError where it cannot be compiled."""
        self._driver = driver
        self._kernel: Any = driver.load_kernel(SOURCE.read_text(encoding="utf-8"), NAME)

    def queue(
        self,
        sources: int,
        planes: int,
        pictures: int,
        letterbox: Letterbox,
        mean_rgb: tuple[float, float, float],
        stream: int,
    ) -> None:
        """Queue uint8 (pictures, H, W, 3) BGR at `sources` to float32 (pictures, 3, h, w) RGB at `planes`."""
        height, width = letterbox.input_hw
        columns, rows, _ = _BLOCK
        grid = (-(-width // columns), -(-height // rows), pictures)
        self._driver.launch(
            self._kernel, grid, _BLOCK, [np.uintp(sources), np.uintp(planes), *sizes(letterbox, mean_rgb)], stream
        )


def sizes(letterbox: Letterbox, mean_rgb: tuple[float, float, float]) -> list[np.generic]:
    """The kernel's arguments after the addresses, in its types and order."""
    (source_h, source_w), (scale_x, scale_y) = letterbox.source_hw, letterbox.scale_xy
    resized_hw = (round(source_h * scale_y), round(source_w * scale_x))
    whole = [*letterbox.source_hw, *letterbox.input_hw, *resized_hw]
    return [*(np.int32(value) for value in whole), *(np.float32(value) for value in mean_rgb)]
