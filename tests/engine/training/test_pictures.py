import numpy as np
import pytest

from engine.training.pictures import direction_colours, draw_fields, stack

SIDE, CELLS, PERSON_CELLS = 65, 9, 17
GREY = np.full((SIDE, SIDE, 3), 100, np.uint8)


def nothing() -> dict[str, np.ndarray]:
    return {
        "keypoint_maps": np.zeros((17, CELLS, CELLS), np.float32),
        "person_map": np.zeros((PERSON_CELLS, PERSON_CELLS), np.float32),
        "mask_offsets": np.zeros((34, CELLS, CELLS), np.float32),
        "mask_weight": np.zeros((17, CELLS, CELLS), np.float32),
    }


def panels(fields: dict[str, np.ndarray]) -> list[np.ndarray]:
    picture = draw_fields(GREY, **fields)
    assert picture.shape == (SIDE, 3 * SIDE, 3)
    assert picture.dtype == np.uint8
    return np.split(picture, 3, axis=1)


def test_where_nothing_is_said_the_darkened_picture_shows() -> None:
    for panel in panels(nothing()):
        assert (panel == 40).all()


def test_cells_lie_on_their_pixels() -> None:
    fields = nothing()
    fields["keypoint_maps"][4, 2, 5] = 1
    fields["person_map"][3, 7] = 1
    fields["mask_offsets"][0::2, 6, 1] = 64
    fields["mask_weight"][:, 6, 1] = 0.1
    keypoints, person, directions = panels(fields)
    for panel, (row, column), reach in ((keypoints, (16, 40), 8), (person, (12, 28), 4), (directions, (48, 8), 8)):
        changed = (panel != 40).any(axis=2)
        rows, columns = np.nonzero(changed)
        assert changed[row, column]
        assert (rows.min(), rows.max()) == (row - reach + 1, row + reach - 1)
        assert (columns.min(), columns.max()) == (column - reach + 1, column + reach - 1)
    assert tuple(person[12, 28]) == (255, 255, 255)
    assert tuple(directions[48, 8]) == (255, 0, 0)


def test_the_picture_s_colours_stay() -> None:
    blue = np.zeros((SIDE, SIDE, 3), np.uint8)
    blue[..., 0] = 250  # BGR in, RGB out
    assert tuple(draw_fields(blue, **nothing())[0, 0]) == (0, 0, 100)


def test_keypoints_have_hues_of_their_own() -> None:
    seen = set()
    for keypoint in range(17):
        fields = nothing()
        fields["keypoint_maps"][keypoint] = 1
        seen.add(tuple(panels(fields)[0][0, 0]))
    assert len(seen) == 17


@pytest.mark.parametrize(
    ("vector", "colour"),
    [((64, 0), (255, 0, 0)), ((-64, 0), (0, 255, 255)), ((32, 0), (128, 0, 0)), ((0, 64), (127, 255, 0)),
     ((0, -64), (128, 0, 255)), ((500, 0), (255, 0, 0)), ((1, 0), (64, 0, 0))],
)  # fmt: skip
def test_directions_are_hues_and_lengths_brightness(vector: tuple[float, float], colour: tuple[int, ...]) -> None:
    offsets = np.tile(np.array(vector, np.float32), 17)[:, None, None]
    colours, present = direction_colours(offsets, np.ones((17, 1, 1), np.float32))
    np.testing.assert_allclose(colours[0, 0], colour, atol=1)
    assert present[0, 0] == 1


def test_only_what_has_weight_has_a_say() -> None:
    offsets = np.zeros((4, 1, 2), np.float32)
    offsets[0], offsets[2] = 64, -64
    weight = np.array([[[0.5, 0]], [[0, 0]]], np.float32)
    colours, present = direction_colours(offsets, weight)
    np.testing.assert_allclose(colours[0, 0], (255, 0, 0), atol=1)
    assert present.tolist() == [[1, 0]]


def test_rows_are_stacked_with_a_line_between() -> None:
    stacked = stack([GREY, GREY * 0, GREY])
    assert stacked.shape == (3 * SIDE + 4, SIDE, 3)
    assert (stacked[SIDE : SIDE + 2] == 255).all()
    assert (stacked[-SIDE:] == 100).all()
