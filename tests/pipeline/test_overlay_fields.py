"""The layers that show the network's own fields: that they lie where they should, and read no more than they show."""

import dataclasses

import numpy as np
import pytest

from engine.decode import decode
from engine.decode_config import DecodeConfig
from engine.encode import Person, encode
from engine.letterbox import fit
from engine.skeleton import NUM_EDGES, NUM_KEYPOINTS, RIGHT_SHOULDER
from engine.structures import Heads, Letterbox
from pipeline.overlays import LAYERS, FieldLayer, OverlayStyle
from pipeline.overlays.arrows import arrows
from pipeline.overlays.kernels import blend_cells
from pipeline.overlays.palette import PART_COLOURS, PARTS
from pipeline.render import draw

STRIDE, PERSON_STRIDE = 8, 4
FIELDS = [layer.name for layer in LAYERS if isinstance(layer, FieldLayer)]
LEFT_WRIST = 9


def grey(height, width):
    return np.full((height, width, 3), 128, np.uint8)


def only(name, **changes):
    return dataclasses.replace(OverlayStyle.of([name]), **changes)


def difference(before, after):
    """How much two pictures differ: int (H, W)."""
    return np.abs(after.astype(int) - before).sum(axis=2)


def empty_heads(letterbox, **fields):
    """Heads that say nothing, except for the given fields."""
    h, w = ((side - 1) // STRIDE + 1 for side in letterbox.input_hw)
    finer = STRIDE // PERSON_STRIDE
    shapes = {
        "keypoint_maps": (NUM_KEYPOINTS, h, w),
        "short_offsets": (NUM_KEYPOINTS, 2, h, w),
        "mid_offsets": (2 * NUM_EDGES, 2, h, w),
        "mask_offsets": (NUM_KEYPOINTS, 2, h, w),
        "centroid_offsets": (2, h, w),
        "person_map": ((h - 1) * finer + 1, (w - 1) * finer + 1),
    }
    arrays = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()} | fields
    return Heads(**arrays, stride=STRIDE, letterbox=letterbox)


@pytest.fixture(scope="module")
def scene():
    """A grey picture of 220 x 320 px, perfect heads of two people in it at half its size, and the people."""
    box = Letterbox((220, 320), (113, 161), (0.5, 0.5))
    people = []
    for left, top, size in ((16, 8, 80), (100, 40, 48)):
        keypoints = np.full((NUM_KEYPOINTS, 3), 2, np.float32)
        keypoints[:, 0] = left + size * np.linspace(0.1, 0.5, NUM_KEYPOINTS)
        keypoints[:, 1] = top + size * np.linspace(0.1, 0.9, NUM_KEYPOINTS)[::-1]
        mask = np.zeros(box.input_hw, bool)
        mask[top : top + size, left : left + int(0.6 * size)] = True
        people.append(Person(keypoints, (left, top, 0.6 * size, size), mask))
    heads = encode(people, box.input_hw, STRIDE, PERSON_STRIDE, DecodeConfig().radius_px).heads(STRIDE, box)
    return grey(220, 320), heads, decode(heads, DecodeConfig()), people


# ---- where the cells lie


@pytest.mark.parametrize("source_hw", [(64, 96), (97, 60), (450, 777)])
@pytest.mark.parametrize("cell", [(0, 0), (2, 3), (3, 2)])
@pytest.mark.parametrize("name", ["bhm", "skhm", "person_map"])
def test_a_lit_cell_is_seen_at_its_place_in_the_source(make_instances, name, cell, source_hw) -> None:
    box = fit(source_hw, 65, 16)
    heads = empty_heads(box)
    if name == "person_map":
        heads.person_map[cell[0] * 2, cell[1] * 2] = 1
    else:
        heads.keypoint_maps[:, cell[0], cell[1]] = 1
    image = np.full((*source_hw, 3), 0, np.uint8)  # darkening does not show on black
    seen = difference(image, draw(image, make_instances(0, *source_hw), only(name), heads)).astype(float)
    x, y = box.to_source(np.array([cell[1], cell[0]]) * STRIDE)
    seen -= seen.min()
    assert np.abs(np.argwhere(seen == seen.max()) - (y, x)).max(axis=1).min() < 1
    if min(cell) > 0:  # all around it: the centre of gravity tells within a pixel
        ys, xs = np.indices(seen.shape)
        assert abs((seen * xs).sum() / seen.sum() - x) < 1
        assert abs((seen * ys).sum() / seen.sum() - y) < 1


@pytest.mark.parametrize("grid_hw", [(1, 1), (1, 4), (3, 2), (5, 7)])
def test_cells_are_blended_bilinearly(grid_hw) -> None:
    rng = np.random.default_rng(sum(grid_hw))
    colours = rng.integers(0, 256, (*grid_hw, 3), dtype=np.uint8)
    values = rng.integers(0, 256, grid_hw, dtype=np.uint8)
    canvas = rng.integers(0, 256, (23, 31, 3), dtype=np.uint8)
    columns = np.linspace(-0.4, grid_hw[1] - 0.7, 31).astype(np.float32)
    rows = np.linspace(-0.4, grid_hw[0] - 0.7, 23).astype(np.float32)
    alphas = np.clip(np.arange(-40, 216) * 2, 0, 256).astype(np.int32)

    def enlarged(plane):
        lines = [np.interp(columns, np.arange(grid_hw[1]), line) for line in plane.astype(float)]
        return np.stack([np.interp(rows, np.arange(grid_hw[0]), column) for column in np.stack(lines).T], axis=1)

    share = np.interp(enlarged(values), np.arange(256), alphas)[..., None] / 256
    colour = np.stack([enlarged(colours[..., channel]) for channel in range(3)], axis=-1)
    expected = canvas * (1 - share) + colour * share
    blend_cells(canvas, colours, values, alphas, columns, rows)
    np.testing.assert_allclose(canvas, expected, atol=3)  # alphas are of whole values: half a step of 2 in 256


def test_cells_that_show_nothing_leave_the_picture_alone() -> None:
    canvas = grey(20, 20)
    steps = np.linspace(0, 2, 20).astype(np.float32)
    alphas = np.where(np.arange(256) > 100, 256, 0).astype(np.int32)
    blend_cells(canvas, np.zeros((3, 3, 3), np.uint8), np.full((3, 3), 100, np.uint8), alphas, steps, steps)
    np.testing.assert_array_equal(canvas, grey(20, 20))


# ---- what each of them shows


def test_the_person_map_covers_the_pixels_of_the_people(scene) -> None:
    image, heads, instances, people = scene
    style = only("person_map", person_map_opacity=1.0)
    seen = difference(image, draw(image, instances, style, heads))
    painted, masks = seen >= seen.max() / 2, people[0].mask | people[1].mask
    masks = np.repeat(np.repeat(masks, 2, axis=0), 2, axis=1)[:220, :320]
    assert (painted & masks).sum() / (painted | masks).sum() > 0.95


def test_a_higher_person_threshold_paints_less(scene) -> None:
    image, heads, instances, _ = scene
    low, high = (
        (difference(image, draw(image, instances, only("person_map", person_threshold=p), heads)) > 0).sum()
        for p in (0.2, 0.8)
    )
    assert 0 < high < low


def test_bhm_darkens_all_but_the_bodies(scene) -> None:
    image, heads, instances, people = scene
    drawn = draw(image, instances, only("bhm"), heads)
    x, y = heads.letterbox.to_source(people[0].keypoints[8, :2]).round().astype(int)
    np.testing.assert_allclose(drawn[-1, -1], 128 * 0.4, atol=2)  # no heat is nearly black
    assert drawn[y, x].max() > 128


def test_skhm_is_brightest_at_the_keypoint_and_has_its_colour(scene) -> None:
    image, heads, instances, people = scene
    drawn = draw(image, instances, only("skhm", skhm_keypoint=LEFT_WRIST, skhm_opacity=1.0), heads)
    for person in people:
        x, y = heads.letterbox.to_source(person.keypoints[LEFT_WRIST, :2]).round().astype(int)
        np.testing.assert_allclose(drawn[y, x], PART_COLOURS[PARTS[LEFT_WRIST]], atol=2)
    np.testing.assert_allclose(drawn[-1, -1], 64, atol=1)  # no disk: only darker


def test_skhm_shows_all_keypoints_or_one(scene) -> None:
    image, heads, instances, people = scene
    x, y = heads.letterbox.to_source(people[0].keypoints[0, :2]).round().astype(int)
    every = draw(image, instances, only("skhm"), heads)
    wrist = draw(image, instances, only("skhm", skhm_keypoint=LEFT_WRIST), heads)
    assert difference(image, every)[y, x] > 100
    np.testing.assert_array_equal(wrist[y, x], wrist[-1, -1])


@pytest.mark.parametrize("target", [RIGHT_SHOULDER, 0, None])
def test_arrows_lead_from_people_to_their_own_target(scene, target) -> None:
    _, heads, _, people = scene
    starts, ends = arrows(heads, target, 0.9)
    reached = np.zeros(len(ends), int)
    for person in people:
        middle = np.argwhere(person.mask).mean(axis=0)[::-1]
        goal = heads.letterbox.to_source(middle if target is None else person.keypoints[target, :2])
        x, y = heads.letterbox.to_input(starts).round().astype(int).T
        own = person.mask[y, x]
        assert own.sum() > 10
        np.testing.assert_allclose(ends[own], np.broadcast_to(goal, ends[own].shape), atol=1)
        reached += own
    assert (reached == 1).all()


def test_arrows_stay_few_however_much_of_the_picture_people_fill() -> None:
    box = Letterbox((1281, 1281), (1281, 1281), (1.0, 1.0))
    field = np.full((2, 161, 161), 40, np.float32)
    person_map = np.ones((321, 321), np.float32)
    person_map[:32], person_map[:, :32] = 0, 0  # people begin at pixel 128
    starts, ends = arrows(empty_heads(box, person_map=person_map, centroid_offsets=field), None, 0.5)
    assert 200 < len(starts) < 800
    np.testing.assert_array_equal(ends - starts, np.full(starts.shape, 40))
    assert 128 <= starts.min() < 192  # all over the people, and nowhere else
    assert np.ptp(starts, axis=0).min() > 1000


def test_an_offset_without_length_gives_no_arrow(make_instances) -> None:
    box = Letterbox((64, 64), (65, 65), (65 / 64, 65 / 64))
    heads = empty_heads(box, person_map=np.ones((17, 17), np.float32))
    assert len(arrows(heads, None, 0.5)[0]) == 0
    image = grey(64, 64)
    np.testing.assert_array_equal(draw(image, make_instances(0, 64, 64), only("offset_arrows"), heads), image)


def test_the_field_has_the_colour_of_its_direction(scene) -> None:
    image, heads, instances, people = scene
    drawn = draw(image, instances, only("offset_field", offset_target=None, offset_field_opacity=1.0), heads)
    y, x = np.argwhere(people[0].mask).mean(axis=0)
    left, above, centre, outside = (
        drawn[tuple(heads.letterbox.to_source(np.array(at)).round().astype(int)[::-1])].astype(int)
        for at in ((x - 18, y), (x, y - 30), (x, y), (x + 80, y + 60))
    )
    assert left.argmax() == 2  # leads right: red
    assert above.argmax() == 1  # leads down: green
    assert centre.max() < 60
    np.testing.assert_array_equal(outside, 128)


@pytest.mark.parametrize("name", ["offset_field", "offset_arrows"])
def test_another_target_gives_another_picture(scene, name) -> None:
    image, heads, instances, _ = scene
    pictures = [draw(image, instances, only(name, offset_target=target), heads) for target in (RIGHT_SHOULDER, 0, None)]
    for one, other in ((0, 1), (1, 2), (2, 0)):
        assert difference(pictures[one], pictures[other]).any()


# ---- opacity


@pytest.mark.parametrize("name", FIELDS)
def test_opacity_zero_shows_nothing(scene, name) -> None:
    image, heads, instances, _ = scene
    np.testing.assert_array_equal(draw(image, instances, only(name, **{f"{name}_opacity": 0.0}), heads), image)
    assert difference(image, draw(image, instances, only(name), heads)).any()


@pytest.mark.parametrize("name", [name for name in FIELDS if name != "skhm"])  # two blends on each other
def test_half_the_opacity_is_half_the_way(scene, name) -> None:
    image, heads, instances, _ = scene
    full, half = (
        draw(image, instances, only(name, **{f"{name}_opacity": opacity}), heads).astype(int) for opacity in (1.0, 0.5)
    )
    np.testing.assert_allclose(half, (full + image) / 2, atol=1.5)


# ---- what is read


class Watched:
    """Heads that note which of their fields are read."""

    def __init__(self, heads):
        self._heads = heads
        self.read = set()

    def __getattr__(self, name):
        self.read.add(name)
        return getattr(self._heads, name)


@pytest.mark.parametrize(
    ("style", "fields"),
    [
        (only("bhm"), {"keypoint_maps"}),
        (only("skhm"), {"keypoint_maps", "short_offsets"}),
        (only("person_map"), {"person_map"}),
        (only("offset_field"), {"person_map", "mask_offsets"}),
        (only("offset_field", offset_target=None), {"person_map", "centroid_offsets"}),
        (only("offset_arrows"), {"person_map", "mask_offsets"}),
        (only("offset_arrows", offset_target=None), {"person_map", "centroid_offsets"}),
        (OverlayStyle(show_scores=True), set()),
        (OverlayStyle.of([]), set()),
    ],
)
def test_only_what_is_shown_is_read(scene, style, fields) -> None:
    image, heads, instances, _ = scene
    watched = Watched(heads)
    np.testing.assert_array_equal(draw(image, instances, style, watched), draw(image, instances, style, heads))
    assert watched.read - {"stride", "person_stride", "letterbox"} == fields


def test_of_a_chosen_keypoint_no_other_map_counts(scene) -> None:
    image, heads, instances, _ = scene
    others = np.arange(NUM_KEYPOINTS) != LEFT_WRIST
    poisoned = {}
    for name in ("keypoint_maps", "short_offsets", "mask_offsets"):
        poisoned[name] = getattr(heads, name).copy()
        poisoned[name][others] = np.nan
    for style in (
        only("skhm", skhm_keypoint=LEFT_WRIST),
        only("offset_field", offset_target=LEFT_WRIST),
        only("offset_arrows", offset_target=LEFT_WRIST),
    ):
        expected = draw(image, instances, style, heads)
        np.testing.assert_array_equal(draw(image, instances, style, dataclasses.replace(heads, **poisoned)), expected)


@pytest.mark.parametrize("name", FIELDS)
def test_without_heads_a_field_layer_is_left_out(scene, name) -> None:
    image, _, instances, _ = scene
    np.testing.assert_array_equal(draw(image, instances, only(name)), image)


def test_heads_of_another_picture_are_refused(scene, make_instances) -> None:
    _, heads, _, _ = scene
    with pytest.raises(ValueError, match=r"heads: expected those of a picture of \(64, 96\), got \(220, 320\)"):
        draw(grey(64, 96), make_instances(1), OverlayStyle(), heads)


@pytest.mark.parametrize("name", FIELDS)
def test_nothing_that_is_given_is_modified(scene, name) -> None:
    image, heads, instances, _ = scene
    fields = ("keypoint_maps", "short_offsets", "mask_offsets", "centroid_offsets", "person_map")
    before = {field: getattr(heads, field).copy() for field in fields}
    first, second = (draw(image, instances, only(name), heads) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(image, 128)
    for field in fields:
        np.testing.assert_array_equal(getattr(heads, field), before[field])


# ---- sizes


@pytest.mark.parametrize("source_hw", [(1, 1), (1, 50), (50, 1), (7, 300), (1080, 20)])
def test_pictures_of_any_shape_are_drawn(make_instances, source_hw) -> None:
    box = fit(source_hw, 65, 16)
    h, w = ((side - 1) // STRIDE + 1 for side in box.input_hw)
    heads = empty_heads(
        box,
        keypoint_maps=np.ones((NUM_KEYPOINTS, h, w), np.float32),
        person_map=np.ones((2 * h - 1, 2 * w - 1), np.float32),
        mask_offsets=np.full((NUM_KEYPOINTS, 2, h, w), 9, np.float32),
    )
    style = dataclasses.replace(OverlayStyle.of(FIELDS), show_scores=True)
    drawn = draw(grey(*source_hw), make_instances(0, *source_hw), style, heads)
    assert drawn.shape == (*source_hw, 3)
    assert (difference(grey(*source_hw), drawn) > 0).all()  # to the last row and column
