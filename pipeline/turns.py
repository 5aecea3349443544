"""Pictures that lie on their side: the eight ways in which a camera may have been held, and how to undo each."""

from typing import Final, NamedTuple

import numpy as np

from engine.structures import ByteArray


class Turn(NamedTuple):
    """What to do to a picture in this order: swap its axes, then mirror it."""

    transpose: bool
    mirror_x: bool
    mirror_y: bool

    def __call__(self, image: ByteArray) -> ByteArray:
        """The uint8 (H, W, 3) picture turned, C-contiguous; itself where there is nothing to do."""
        if not any(self):
            return image
        if self.transpose:
            image = image.swapaxes(0, 1)
        return np.ascontiguousarray(image[:: -1 if self.mirror_y else 1, :: -1 if self.mirror_x else 1])


UPRIGHT: Final = Turn(False, False, False)
# By the number of EXIF's orientation tag.
TURN_OF_EXIF: Final = {
    1: UPRIGHT,
    2: Turn(False, True, False),
    3: Turn(False, True, True),
    4: Turn(False, False, True),
    5: Turn(True, False, False),
    6: Turn(True, True, False),
    7: Turn(True, True, True),
    8: Turn(True, False, True),
}
