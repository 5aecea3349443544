import numpy as np
import pytest
from PIL import Image, ImageOps

from pipeline.turns import TURN_OF_EXIF, UPRIGHT


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_are_those_of_pillow(orientation) -> None:
    stored = np.random.default_rng(0).integers(0, 256, (3, 5, 3), dtype=np.uint8)
    picture = Image.fromarray(stored)
    picture.getexif()[0x0112] = orientation
    turned = TURN_OF_EXIF[orientation](stored)
    np.testing.assert_array_equal(turned, np.asarray(ImageOps.exif_transpose(picture)))
    assert turned.flags.c_contiguous


def test_an_upright_picture_is_not_copied() -> None:
    picture = np.zeros((3, 5, 3), np.uint8)
    assert UPRIGHT(picture) is picture
