"""Random geometry and colour: within their limits, each switchable, the same for the same random numbers."""

import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.coco import Picture
from engine.letterbox import PAD_VALUE
from engine.training.augmentation import Augmentation, degrade, random_affine, recolour, warp_image

Annotate = Callable[..., dict[str, Any]]
PLAIN = Augmentation(colour=0, tint=0, saturation=0, hue_degrees=0, grey_share=0, blur_share=0, jpeg_share=0)


@pytest.mark.parametrize("flip", [False, True])
def test_random_affine_is_a_similarity_within_its_limits(annotate: Annotate, flip: bool) -> None:
    picture = Picture(1, Path("never_read.jpg"), 300, 220, (annotate(),))
    rng = np.random.default_rng(0)
    turned = 0
    for _ in range(50):
        matrix = random_affine(picture, 193, Augmentation(), rng, flip=flip)
        linear = matrix[:, :2] @ np.diag([-1.0 if flip else 1.0, 1.0])
        zoom = math.sqrt(abs(np.linalg.det(linear)))
        assert 0.6 <= zoom <= 1.8
        assert (np.linalg.det(matrix[:, :2]) < 0) == flip
        np.testing.assert_allclose(linear.T @ linear, zoom**2 * np.eye(2), atol=1e-9)
        angle = math.degrees(math.atan2(matrix[1, 0], matrix[1, 1]))
        assert abs(angle) <= 30
        turned += abs(angle) > 0
        # The crop's middle shows the picture.
        x, y = np.linalg.solve(matrix[:, :2], np.array([96.0, 96.0]) - matrix[:, 2])
        assert 0 <= x <= 300
        assert 0 <= y <= 220
    assert 5 < turned < 40


def test_crops_are_guided_to_people(annotate: Annotate) -> None:
    """In a large picture a crop without guidance seldom meets one small person; with it, always."""
    picture = Picture(1, Path("never_read.jpg"), 3000, 2200, (annotate(bbox=[1500, 900, 60, 80]),))
    person = np.array([1530.0, 940.0])
    found = {}
    for share in (0.0, 1.0):
        rng, found[share] = np.random.default_rng(1), 0
        for _ in range(40):
            matrix = random_affine(picture, 193, Augmentation(person_share=share), rng, flip=False)
            place = matrix[:, :2] @ person + matrix[:, 2]
            found[share] += bool((place >= 0).all() and (place <= 192).all())
    assert found[0.0] < 5
    assert found[1.0] == 40


def test_a_shrunken_picture_does_not_alias() -> None:
    """A chessboard of single pixels becomes grey, not a coarser chessboard."""
    board = (np.indices((200, 200)).sum(axis=0) % 2 * 255).astype(np.uint8)
    matrix = np.array([[0.4, 0.0, 10.0], [0.0, 0.4, 10.0]])
    warped = warp_image(np.repeat(board[..., None], 3, axis=2), matrix, 129)
    assert (warped.shape, warped.dtype) == ((129, 129, 3), np.uint8)
    inside = warped[15:85, 15:85].astype(int)
    assert np.abs(inside - 127).max() < 10
    assert (warped[95:] == PAD_VALUE).all()


def test_recolour_keeps_dtype_shape_and_place() -> None:
    image = np.zeros((20, 30, 3), np.uint8)
    image[5:9, 7:12] = (200, 100, 50)
    for seed in range(5):
        out = recolour(image, Augmentation(grey_share=0.5), np.random.default_rng(seed))
        assert (out.dtype, out.shape) == (np.uint8, image.shape)
        inside, outside = out[5:9, 7:12].reshape(-1, 3), np.delete(out, np.s_[5:9], axis=0).reshape(-1, 3)
        assert len(np.unique(inside, axis=0)) == len(np.unique(outside, axis=0)) == 1
        assert (inside[0] != outside[0]).any()


def test_each_change_of_colour_changes_what_it_says() -> None:
    image = np.random.default_rng(0).integers(60, 190, (16, 16, 3)).astype(np.uint8)
    grey = np.repeat(image[..., :1], 3, axis=2)

    def out(source: np.ndarray, **changes: float) -> np.ndarray:
        return recolour(source, replace(PLAIN, **changes), np.random.default_rng(4)).astype(int)

    np.testing.assert_array_equal(out(image), image)
    assert (np.ptp(out(image, grey_share=1), axis=2) == 0).all()
    # Hue and saturation leave greys alone; saturation leaves the luma of everything.
    np.testing.assert_allclose(out(grey, hue_degrees=90, saturation=0.9), grey, atol=1)
    luma = np.array([0.114, 0.587, 0.299])
    np.testing.assert_allclose(out(image, saturation=0.3) @ luma, image @ luma, atol=1.5)
    for change in ({"hue_degrees": 30}, {"saturation": 0.3}, {"colour": 0.3}, {"tint": 0.2}):
        assert np.abs(out(image, **change) - image).max() > 3, change
    assert (np.ptp(out(grey, colour=0.3), axis=2) == 0).all()
    assert (np.ptp(out(grey, tint=0.2), axis=2) > 0).any()


def test_blur_and_compression_keep_the_scene() -> None:
    rng = np.random.default_rng(0)
    image = np.kron(rng.integers(0, 255, (8, 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    np.testing.assert_array_equal(degrade(image, PLAIN, rng), image)
    for change in ({"blur_share": 1.0}, {"jpeg_share": 1.0, "jpeg_quality": 30}):
        out = degrade(image, replace(PLAIN, **change), np.random.default_rng(2))  # type: ignore[arg-type]
        assert (out.shape, out.dtype) == (image.shape, np.uint8)
        assert (out != image).any()
        centres = np.abs(out[4::8, 4::8].astype(int) - image[4::8, 4::8])
        assert centres.mean() < 12


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("flip_share", 1.5, "0 to 1"),
        ("paste_share", -0.1, "0 to 1"),
        ("least_zoom", 0.0, "0.05 to 20"),
        ("most_zoom", 0.5, "0.6 to 20"),
        ("rotate_degrees", float("nan"), "0 to 180"),
        ("paste_most", 0, "1 to 100"),
        ("jpeg_quality", 96, "1 to 95"),
        ("colour", 2, "0 to 1"),
    ],
)
def test_numbers_out_of_range_are_refused_by_name(field: str, value: Any, expected: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"[augmentation] {field}: expected {expected}, got {value}")):
        Augmentation(**{field: value})
