"""Test-time augmentation against a network that knows the answer at every size, mirrored or not."""

from dataclasses import replace

import numpy as np
import pytest

from engine import letterbox as letterboxes
from engine.augmented import AugmentedEstimator, View, lay, merge
from engine.backends.base import Backend
from engine.decode_config import DecodeConfig
from engine.encode import Person, encode
from engine.estimator import Estimator
from engine.skeleton import DIRECTED_EDGES, FLIP_KEYPOINTS
from engine.structures import ByteArray, FloatArray, Heads, Letterbox

STRIDE, PERSON_STRIDE = 8, 4
# Where the keypoints of a person 100 px high are; the left side, which a viewer sees on the right, is drawn wider.
BODY = np.array(
    [(0, 0), (4, -3), (-3, -3), (9, -1), (-6, -1), (22, 20), (-14, 20), (34, 42), (-18, 42), (40, 60), (-20, 62),
     (14, 62), (-8, 62), (18, 84), (-8, 84), (20, 100), (-8, 100)], np.float32,
)  # fmt: skip
# The nose and the height of two people, as shares of the picture's sides.
PEOPLE = (((0.25, 0.2), 0.4), ((0.72, 0.5), 0.35))
SIZES = {"on the grid": (256, 320), "padded below": (240, 320), "padded on the right": (330, 222)}


def person(hw: tuple[int, int], xy: tuple[float, float], height: float, mirrored: bool) -> Person:
    """Somebody in a source of (H, W) px, or in its mirror image, with everything in source px."""
    keypoints = np.full((17, 3), 2, np.float32)
    keypoints[:, :2] = BODY * height / 100 + np.array(xy, np.float32)
    mask = np.zeros(hw, bool)
    left, top = (keypoints[:, :2].min(axis=0) - 4).astype(int)
    right, bottom = (keypoints[:, :2].max(axis=0) + 4).astype(int)
    mask[max(0, top) : bottom, max(0, left) : right] = True
    if mirrored:
        keypoints = keypoints[list(FLIP_KEYPOINTS)]
        keypoints[:, 0] = hw[1] - 1 - keypoints[:, 0]
        mask = mask[:, ::-1]
    return Person(keypoints, (0, 0, 1, 1), mask)


def truth(placed: Letterbox, mirrored: bool) -> Heads:
    """The true fields of two people in a source, or of its mirror image, as placed."""
    height, width = placed.source_hw
    people = []
    for place, size in PEOPLE:
        p = person(placed.source_hw, (place[0] * width, place[1] * height), size * height, mirrored)
        keypoints = p.keypoints.copy()
        keypoints[:, :2] = placed.to_input(keypoints[:, :2])
        ys, xs = np.mgrid[: placed.input_hw[0], : placed.input_hw[1]]
        source = placed.to_source(np.stack([xs, ys], axis=-1)).round().astype(int)
        inside = (source >= 0).all(axis=-1) & (source < (width, height)).all(axis=-1)
        assert p.mask is not None
        mask = p.mask[source[..., 1].clip(0, height - 1), source[..., 0].clip(0, width - 1)] & inside
        x0, y0 = keypoints[:, :2].min(axis=0)
        x1, y1 = keypoints[:, :2].max(axis=0)
        people.append(replace(p, keypoints=keypoints, mask=mask, box_xywh=(x0, y0, x1 - x0, y1 - y0)))
    return encode(people, placed.input_hw, STRIDE, PERSON_STRIDE, 32.0).heads(STRIDE, placed)


class Knowing(Backend):
    """Answers with the true fields; the picture's first pixel, dark or bright, tells whether it is mirrored."""

    name, stride, multiple = "knowing", STRIDE, 16

    def __init__(self) -> None:
        self.seen: list[tuple[tuple[int, int], bool]] = []

    def infer(self, image: ByteArray, letterbox: Letterbox) -> Heads:
        mirrored = bool(image[0, 0, 0] > 100)
        self.seen.append((letterbox.input_hw, mirrored))
        return truth(letterbox, mirrored)

    def _run(self, image: ByteArray) -> dict[str, FloatArray]:
        raise NotImplementedError

    def close(self) -> None:
        pass


def picture(hw: tuple[int, int]) -> ByteArray:
    """Dark on the left, bright on the right."""
    image = np.zeros((*hw, 3), np.uint8)
    image[:, hw[1] // 2 :] = 200
    return image


def agree(actual: Heads, expected: Heads) -> None:
    """Probabilities and, well inside the disks and masks, offsets."""
    assert actual.letterbox is expected.letterbox
    sure = (expected.keypoint_maps == 1) & (actual.keypoint_maps > 0.99)
    assert sure.sum() > 0.8 * (expected.keypoint_maps == 1).sum()
    assert np.abs(actual.keypoint_maps - expected.keypoint_maps).mean() < 0.02
    assert np.abs(actual.person_map - expected.person_map).mean() < 0.02
    shown = actual.person_map[::2, ::2] * expected.person_map[::2, ::2] == 1
    sources = [source for source, _ in DIRECTED_EDGES]
    for name, where in (
        ("short_offsets", sure),
        ("mid_offsets", sure[sources]),
        ("mask_offsets", np.broadcast_to(shown, sure.shape)),
        ("centroid_offsets", shown[None]),
    ):
        apart = np.linalg.norm(getattr(actual, name) - getattr(expected, name), axis=-3).reshape(where.shape)
        assert where.sum() > 50
        # Where two people's disks meet, the cells beside the line may fall on either side of it.
        assert np.quantile(apart[where], 0.97) < 0.05, name


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("view_size", [321, 241, 481])
def test_every_view_of_the_truth_is_the_truth(size: str, mirrored: bool, view_size: int) -> None:
    plain = letterboxes.fit(SIZES[size], 321, 16)
    view = lay(truth(letterboxes.fit(SIZES[size], view_size, 16), mirrored), plain, mirrored=mirrored)
    if view_size == 321:
        agree(view.heads, truth(plain, mirrored=False))
        return
    # At another scale the disks have another size: smaller ones are whole inside ours.
    expected = truth(plain, mirrored=False)
    both = (view.heads.keypoint_maps > 0.99) & (expected.keypoint_maps == 1)
    assert both.sum() > 0.3 * (expected.keypoint_maps == 1).sum()
    for name, where in (("short_offsets", both), ("mid_offsets", both[[source for source, _ in DIRECTED_EDGES]])):
        apart = np.linalg.norm(getattr(view.heads, name) - getattr(expected, name), axis=1)
        assert np.quantile(apart[where], 0.95) < 0.05, name
    assert np.abs(view.heads.person_map - expected.person_map).mean() < 0.02


def test_the_plain_view_stays_as_it_is() -> None:
    plain = letterboxes.fit((250, 310), 321, 16)
    heads = truth(plain, mirrored=False)
    view = lay(heads, plain, mirrored=False)
    assert view.seen.all()
    assert view.seen_finely.all()
    for name in ("keypoint_maps", "short_offsets", "mid_offsets", "mask_offsets", "centroid_offsets", "person_map"):
        np.testing.assert_allclose(getattr(view.heads, name), getattr(heads, name), atol=2e-3)


def test_a_mirrored_view_says_nothing_about_the_padding() -> None:
    plain = letterboxes.fit((330, 222), 321, 16)
    content_px = round(222 * plain.scale_xy[0])
    assert content_px < plain.input_hw[1] - STRIDE
    view = lay(truth(plain, mirrored=True), plain, mirrored=True)
    px = np.arange(view.seen.shape[1]) * STRIDE
    assert view.seen[:, px < content_px].all()
    assert not view.seen[:, px > content_px + STRIDE / 2].any()
    assert not view.heads.keypoint_maps[:, ~view.seen].any()
    assert not view.heads.person_map[~view.seen_finely].any()


def flat(p: float, offset: float, person: float, seen: bool = True) -> View:
    """A view that says the same everywhere."""
    placed = Letterbox((17, 33), (17, 33), (1.0, 1.0))
    shape = (3, 5)
    return View(
        Heads(
            keypoint_maps=np.full((17, *shape), p * seen, np.float32),
            short_offsets=np.full((17, 2, *shape), offset, np.float32),
            mid_offsets=np.full((32, 2, *shape), offset, np.float32),
            mask_offsets=np.full((17, 2, *shape), offset, np.float32),
            centroid_offsets=np.full((2, *shape), offset, np.float32),
            person_map=np.full((5, 9), person * seen, np.float32),
            stride=STRIDE,
            letterbox=placed,
        ),
        np.full(shape, seen),
        np.full((5, 9), seen),
    )


def test_offsets_count_by_the_probability_that_they_mean_anything() -> None:
    mean = merge([flat(0.9, 10, 0.0), flat(0.3, -10, 1.0)])
    np.testing.assert_allclose(mean.keypoint_maps, 0.6, atol=1e-6)
    np.testing.assert_allclose(mean.person_map, 0.5, atol=1e-6)
    np.testing.assert_allclose(mean.short_offsets, 5, atol=0.05)
    np.testing.assert_allclose(mean.mid_offsets, 5, atol=0.05)
    np.testing.assert_allclose(mean.mask_offsets, -10, atol=0.05)
    np.testing.assert_allclose(mean.centroid_offsets, -10, atol=0.05)


def test_mid_offsets_count_by_the_keypoint_they_start_from() -> None:
    noses, others = flat(0.0, 10, 0.0), flat(0.9, -10, 0.0)
    noses.heads.keypoint_maps[0], others.heads.keypoint_maps[0] = 0.9, 0.0
    mean = merge([noses, others])
    for edge, (source, _) in enumerate(DIRECTED_EDGES):
        np.testing.assert_allclose(mean.mid_offsets[edge], 10 if source == 0 else -10, atol=0.05)


def test_views_that_show_nothing_do_not_count() -> None:
    mean = merge([flat(0.4, 10, 0.6), flat(0.9, -10, 0.9, seen=False)])
    np.testing.assert_allclose(mean.keypoint_maps, 0.4, atol=1e-6)
    np.testing.assert_allclose(mean.person_map, 0.6, atol=1e-6)
    np.testing.assert_allclose(mean.mask_offsets, 10, atol=1e-4)
    nobody = merge([flat(0.9, 3, 0.9, seen=False)])
    assert not nobody.keypoint_maps.any()
    assert np.isfinite(nobody.short_offsets).all()


@pytest.mark.parametrize(
    ("scales", "flip", "seen"),
    [
        ((1.0,), True, [((321, 225), False), ((321, 225), True)]),
        ((0.75, 1.5), False, [((241, 161), False), ((481, 321), False)]),
        ((0.75, 1.0), True, [((241, 161), False), ((241, 161), True), ((321, 225), False), ((321, 225), True)]),
    ],
)
def test_people_are_found_where_they_are(
    scales: tuple[float, ...], flip: bool, seen: list[tuple[tuple[int, int], bool]]
) -> None:
    hw = SIZES["padded on the right"]
    backend = Knowing()
    estimator = AugmentedEstimator(Estimator(backend, 321, DecodeConfig()), scales, flip=flip)
    heads, people = estimator.observe(picture(hw))
    assert backend.seen == seen
    assert heads.letterbox.input_hw == (321, 225)
    assert people.label_map.shape == hw
    assert len(people) == 2
    for place, size in PEOPLE:
        expected = person(hw, (place[0] * hw[1], place[1] * hw[0]), size * hw[0], mirrored=False)
        apart = np.linalg.norm(people.keypoints_xy - expected.keypoints[:, :2], axis=2).max(axis=1)
        assert apart.min() < 3
        mask = people.mask(int(apart.argmin()))
        assert (mask & expected.mask).sum() / (mask | expected.mask).sum() > 0.85


def test_it_answers_as_an_estimator_does() -> None:
    estimator = AugmentedEstimator(Estimator(Knowing(), 321, DecodeConfig()), flip=True)
    image = picture((256, 320))
    np.testing.assert_array_equal(estimator(image).keypoints_xy, estimator.observe(image)[1].keypoints_xy)


@pytest.mark.parametrize("scales", [(), (1.0, 0.0), (-1.0,)])
def test_scales_are_positive(scales: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="scales: expected positive numbers, got "):
        AugmentedEstimator(Estimator(Knowing(), 321), scales)
