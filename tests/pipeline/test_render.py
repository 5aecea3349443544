import itertools

import numpy as np
import pytest

from pipeline.overlays import OverlayStyle
from pipeline.render import draw

STYLES = [
    OverlayStyle(pose=pose, masks=masks, show_scores=scores, pose_opacity=opacity)
    for pose, masks, scores, opacity in itertools.product((False, True), (False, True), (False, True), (0.6, 1.0))
]


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)


@pytest.mark.parametrize("style", STYLES)
def test_the_input_is_never_modified(image, make_instances, style) -> None:
    instances = make_instances(3)
    before, labels = image.copy(), instances.label_map.copy()
    draw(image, instances, style)
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(instances.label_map, labels)


@pytest.mark.parametrize("style", STYLES)
def test_nobody_found_gives_an_equal_picture_that_is_another_array(image, make_instances, style) -> None:
    drawn = draw(image, make_instances(0), style)
    np.testing.assert_array_equal(drawn, image)
    assert not np.shares_memory(drawn, image)


def test_all_overlays_off_gives_an_equal_picture(image, make_instances) -> None:
    np.testing.assert_array_equal(draw(image, make_instances(3), OverlayStyle.of([])), image)


def test_read_only_and_strided_inputs_give_the_same_writable_result(image, make_instances) -> None:
    instances = make_instances(2)
    instances.label_map.setflags(write=False)
    expected = draw(image, instances, OverlayStyle())
    image.setflags(write=False)
    strided = np.repeat(image, 2, axis=1)[:, ::2]
    for same in (image, strided):
        drawn = draw(same, instances, OverlayStyle())
        np.testing.assert_array_equal(drawn, expected)
        assert drawn.flags.writeable
        assert drawn.flags.c_contiguous


def test_drawing_twice_gives_the_same(image, make_instances) -> None:
    style = OverlayStyle(show_scores=True, pose_opacity=0.7)
    first, second = (draw(image, make_instances(4), style) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_pis_is_the_pose_drawn_over_the_masks(image, make_instances) -> None:
    instances = make_instances(2)
    masked = draw(image, instances, OverlayStyle.of(["masks"]))
    np.testing.assert_array_equal(
        draw(image, instances, OverlayStyle.of(["pis"])), draw(masked, instances, OverlayStyle.of(["pose"]))
    )


def test_a_toggle_changes_only_the_pixels_of_its_overlay(image, make_instances) -> None:
    instances = make_instances(2)
    pose_pixels = (draw(image, instances, OverlayStyle.of(["pose"])) != image).any(axis=2)
    with_pose, without = (draw(image, instances, OverlayStyle.of(names)) for names in (["pis"], ["masks"]))
    toggled = (with_pose != without).any(axis=2)
    assert toggled.any()
    assert not (toggled & ~_grown(pose_pixels)).any()


def _grown(pixels):
    """By one pixel: an anti-aliased edge may happen to equal the picture under it."""
    padded = np.pad(pixels, 1)
    return np.logical_or.reduce([padded[dy : dy + 64, dx : dx + 96] for dy in range(3) for dx in range(3)])


@pytest.mark.parametrize(
    "picture", [np.zeros((96, 64, 3), np.uint8), np.zeros((64, 96), np.uint8), np.zeros((64, 96, 3), np.float32)]
)
def test_another_size_or_type_is_refused(make_instances, picture) -> None:
    with pytest.raises(ValueError, match=r"image: expected uint8 \(64, 96, 3\), got"):
        draw(picture, make_instances(1), OverlayStyle())
