import numpy as np
import pytest

from engine import letterbox
from engine.structures import Letterbox

SIZES_HW = [
    (720, 1280),
    (1080, 1920),
    (481, 641),
    (333, 1001),
    (1001, 333),
    (37, 53),
    (1, 1),
    (1, 500),
    (500, 1),
    (2, 3),
]


@pytest.mark.parametrize(("size", "side"), [(1, 17), (2, 17), (17, 17), (18, 33), (33, 33), (401, 401), (402, 417)])
def test_sides_are_a_multiple_plus_one(size: int, side: int) -> None:
    assert letterbox.input_side(size, 16) == side


@pytest.mark.parametrize("source_hw", SIZES_HW)
@pytest.mark.parametrize("input_size", [129, 401])
def test_the_picture_fits_and_the_longer_side_is_used(source_hw: tuple[int, int], input_size: int) -> None:
    placed = letterbox.fit(source_hw, input_size, 16)
    assert all((side - 1) % 16 == 0 for side in placed.input_hw)
    assert max(placed.input_hw) == input_size
    for side, source, scale in zip(placed.input_hw, source_hw, reversed(placed.scale_xy), strict=True):
        assert 0.5 < source * scale <= side + 1e-6


@pytest.mark.parametrize("source_hw", SIZES_HW)
def test_there_and_back_again(source_hw: tuple[int, int]) -> None:
    placed = letterbox.fit(source_hw, 401, 16)
    height, width = source_hw
    xs, ys = np.meshgrid(np.linspace(-0.5, width - 0.5, 23), np.linspace(-0.5, height - 0.5, 17))
    points = np.stack([xs, ys], axis=-1)
    inside = placed.to_input(points)
    assert inside.dtype == np.float32
    assert inside.min() >= -0.5 - 1e-4
    assert inside[..., 0].max() <= placed.input_hw[1] - 0.5 + 1e-3
    assert inside[..., 1].max() <= placed.input_hw[0] - 0.5 + 1e-3
    assert np.abs(placed.to_source(inside) - points).max() < 1e-3


def test_no_points_are_fine() -> None:
    placed = letterbox.fit((30, 40), 129, 16)
    assert placed.to_source(np.zeros((0, 17, 2), np.float32)).shape == (0, 17, 2)


def test_a_lit_pixel_stays_on_its_cell() -> None:
    """At scale one nothing moves: cell (i, j) of stride 16 is input pixel (16 i, 16 j) is the same source pixel."""
    image = np.zeros((97, 129, 3), np.uint8)
    image[5 * 16, 3 * 16] = 255
    placed = letterbox.fit((97, 129), 129, 16)
    assert placed.scale_xy == (1.0, 1.0)
    canvas = letterbox.apply(image, placed)
    np.testing.assert_array_equal(np.argwhere(canvas[:97, :, 0] == 255), [[80, 48]])
    np.testing.assert_array_equal(placed.to_source(np.array([3 * 16.0, 5 * 16.0])), [48, 80])


@pytest.mark.parametrize("source_hw", [(720, 1280), (600, 455), (90, 71), (64, 200)])
def test_a_spot_lands_where_the_letterbox_says(source_hw: tuple[int, int]) -> None:
    height, width = source_hw
    x, y = width * 0.63, height * 0.41
    ys, xs = np.mgrid[:height, :width]
    sigma = 0.03 * max(source_hw)
    spot = 255 * np.exp(-((xs - x) ** 2 + (ys - y) ** 2) / (2 * sigma**2))
    placed = letterbox.fit(source_hw, 401, 16)
    canvas = letterbox.apply(np.repeat(spot.astype(np.uint8)[..., None], 3, axis=2), placed)
    h, w = (round(side * s) for side, s in zip(source_hw, reversed(placed.scale_xy), strict=True))
    weight = canvas[:h, :w, 0].astype(np.float64)
    ys, xs = np.mgrid[:h, :w]
    centre = np.array([(weight * xs).sum(), (weight * ys).sum()]) / weight.sum()
    assert np.abs(centre - placed.to_input(np.array([x, y]))).max() < 0.1


def test_the_rest_is_grey_and_a_read_only_frame_is_taken() -> None:
    image = np.zeros((100, 150, 3), np.uint8)
    image.flags.writeable = False
    placed = letterbox.fit((100, 150), 129, 16)
    canvas = letterbox.apply(image, placed)
    bottom = round(100 * placed.scale_xy[1])
    assert canvas.shape == (*placed.input_hw, 3)
    assert bottom < len(canvas)  # there is a margin to look at
    assert (canvas[:bottom] == 0).all()
    assert (canvas[bottom:] == letterbox.PAD_VALUE).all()


@pytest.mark.parametrize("image", [np.zeros((9, 8, 3), np.uint8), np.zeros((8, 9, 3), np.float32), np.zeros((8, 9))])
def test_another_picture_is_refused(image: np.ndarray) -> None:
    placed = Letterbox(source_hw=(8, 9), input_hw=(17, 17), scale_xy=(1.0, 1.0))
    with pytest.raises(ValueError, match=r"image: expected uint8 \(8, 9, 3\), got"):
        letterbox.apply(image, placed)
