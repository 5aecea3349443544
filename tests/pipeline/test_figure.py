"""The contact sheet: eight panels, each of what its caption says, for pictures of any shape."""

import dataclasses

import numpy as np
import pytest

from engine.letterbox import fit
from engine.skeleton import NUM_EDGES, NUM_KEYPOINTS
from engine.structures import Heads
from pipeline import figure
from pipeline.figure import COLUMNS, PANEL_WIDTH, PANELS, figure_sheet

STRIDE = 8


@pytest.fixture
def given(make_instances):
    """A picture of the given size, the people in it, and heads that say something everywhere."""

    def make(height, width, count=2):
        box = fit((height, width), 65, 16)
        h, w = ((side - 1) // STRIDE + 1 for side in box.input_hw)
        heads = Heads(
            keypoint_maps=np.full((NUM_KEYPOINTS, h, w), 0.8, np.float32),
            short_offsets=np.zeros((NUM_KEYPOINTS, 2, h, w), np.float32),
            mid_offsets=np.zeros((2 * NUM_EDGES, 2, h, w), np.float32),
            mask_offsets=np.full((NUM_KEYPOINTS, 2, h, w), 6, np.float32),
            centroid_offsets=np.zeros((2, h, w), np.float32),
            person_map=np.ones((h, w), np.float32),
            stride=STRIDE,
            letterbox=box,
        )
        image = np.random.default_rng(0).integers(90, 120, (height, width, 3), dtype=np.uint8)
        return image, make_instances(count, height, width), heads

    return make


def panels(sheet, height, width):
    """The pictures in a sheet, each (height, width, 3)."""
    line = sheet.shape[0] // 2
    for number in range(len(PANELS)):
        y = figure._GAP_PX + number // COLUMNS * line
        x = figure._GAP_PX + number % COLUMNS * (PANEL_WIDTH + figure._GAP_PX) + (PANEL_WIDTH - width) // 2
        yield sheet[y : y + height, x : x + width]


def test_the_panels_are_the_papers_in_its_order() -> None:
    assert [caption.split()[1].rstrip(":") for caption, _ in PANELS] == [
        "input",
        "SKHM",
        "BHM",
        "PE",
        "MO",
        "SM",
        "ISM",
        "PIS",
    ]
    assert [caption[:3] for caption, _ in PANELS] == [f"({letter})" for letter in "abcdefgh"]


def test_every_panel_shows_something_of_its_own(given) -> None:
    image, instances, heads = given(64, 96)
    shown = list(panels(figure_sheet(image, instances, heads), 427, 640))
    assert shown[0].shape == (427, 640, 3)
    assert 75 < shown[0].min() <= shown[0].max() < 135  # the picture, enlarged
    for one in range(len(shown)):
        for other in range(one):
            assert (shown[one] != shown[other]).any()


def test_what_is_drawn_follows_the_picture_to_the_panels_size(given) -> None:
    image, instances, heads = given(64, 96)
    shown = list(panels(figure_sheet(image, instances, heads), 427, 640))
    masks = (np.abs(shown[6].astype(int) - shown[0]).sum(axis=2) > 40).nonzero()
    ys, xs = instances.label_map.nonzero()
    for drawn, labelled, scale in ((masks[0], ys, 427 / 64), (masks[1], xs, 640 / 96)):
        assert abs(drawn.min() - labelled.min() * scale) < 3
        assert abs(drawn.max() - (labelled.max() + 1) * scale) < 3
    joints = (np.abs(shown[3].astype(int) - shown[0]).sum(axis=2) > 40).nonzero()
    x, y = (instances.keypoints_xy[0, 0] + 0.5) * (640 / 96, 427 / 64)
    assert np.hypot(joints[1] - x, joints[0] - y).min() < 2
    everywhere = np.abs(shown[5].astype(int) - shown[0]).sum(axis=2)
    assert (everywhere > 0).all()  # the person map of these heads, to the edges of the panel


def test_a_caption_stands_under_each_panel(given) -> None:
    sheet = figure_sheet(*given(64, 96))
    line = sheet.shape[0] // 2
    for number in range(len(PANELS)):
        y = (number // COLUMNS) * line + figure._GAP_PX + 427
        x = figure._GAP_PX + number % COLUMNS * (PANEL_WIDTH + figure._GAP_PX)
        below = sheet[y : y + figure._CAPTION_PX, x : x + PANEL_WIDTH]
        assert below.min() < 80
        assert (below[:, -20:] == 255).all()  # it fits
    assert (sheet[:, :10] == 255).all()


@pytest.mark.parametrize("hw", [(1, 1), (400, 30), (20, 900), (1500, 1100)])
def test_pictures_of_any_shape_fit_their_panels(given, hw) -> None:
    sheet = figure_sheet(*given(*hw, count=0))
    assert sheet.shape[1] == COLUMNS * (PANEL_WIDTH + figure._GAP_PX) + figure._GAP_PX
    assert sheet.shape[0] <= 2 * (figure.PANEL_MAX_HEIGHT + figure._GAP_PX + figure._CAPTION_PX)
    assert sheet.dtype == np.uint8


def test_the_same_input_gives_the_same_sheet_and_stays_as_it_was(given) -> None:
    image, instances, heads = given(64, 96)
    before = image.copy(), instances.label_map.copy(), instances.keypoints_xy.copy(), heads.person_map.copy()
    np.testing.assert_array_equal(figure_sheet(image, instances, heads), figure_sheet(image, instances, heads))
    after = image, instances.label_map, instances.keypoints_xy, heads.person_map
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new)


def test_parts_of_different_pictures_are_refused(given) -> None:
    image, instances, heads = given(64, 96)
    for wrong in (
        (image[:60], instances, heads),
        (image, instances, dataclasses.replace(heads, letterbox=fit((64, 95), 65, 16))),
    ):
        with pytest.raises(ValueError, match="expected picture, instances and heads of one size"):
            figure_sheet(*wrong)
