import numpy as np
import pytest

from pipeline.frames import Frame, FrameResult, Rendered


def test_a_frame_is_read_only_and_leaves_the_callers_array_writable() -> None:
    image = np.zeros((4, 6, 3), dtype=np.uint8)
    frame = Frame.of(image, 0, 0.0, None)
    with pytest.raises(ValueError, match="read-only"):
        frame.image[0, 0, 0] = 1
    image[0, 0, 0] = 1


def test_a_frame_of_a_strided_view_is_contiguous_and_equal() -> None:
    image = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)[:, ::-1]
    frame = Frame.of(image, 0, 0.0, None)
    assert frame.image.flags.c_contiguous
    np.testing.assert_array_equal(frame.image, image)


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 6), np.uint8), np.zeros((4, 6, 4), np.uint8), np.zeros((4, 6, 3), np.float32)],
    ids=["grey", "alpha", "float"],
)
def test_a_frame_refuses_other_pictures(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"image: expected uint8 \(H, W, 3\), got"):
        Frame.of(image, 0, 0.0, None)


def test_a_frame_refuses_a_writable_array() -> None:
    with pytest.raises(ValueError, match="read-only"):
        Frame(np.zeros((4, 6, 3), np.uint8), 0, 0.0, None)


def test_a_result_refuses_instances_of_another_size(make_instances) -> None:
    frame = Frame.of(np.zeros((4, 6, 3), np.uint8), 0, 0.0, None)
    with pytest.raises(ValueError, match=r"expected a label map of \(4, 6\), got \(6, 4\)"):
        FrameResult(frame, make_instances(0, 6, 4), None, {})


def test_stage_times_cannot_change_later(make_instances) -> None:
    frame = Frame.of(np.zeros((4, 6, 3), np.uint8), 0, 0.0, None)
    stage_ms = {"infer": 1.0}
    result = FrameResult(frame, make_instances(0, 4, 6), None, stage_ms)
    stage_ms["infer"] = 2.0
    assert result.stage_ms["infer"] == 1.0
    with pytest.raises(TypeError):
        result.stage_ms["infer"] = 3.0  # type: ignore[index]


def test_reprs_name_sizes_and_never_print_arrays(make_rendered, make_instances) -> None:
    text = repr(make_rendered(3, 0.12, instances=make_instances(2)))
    assert "Frame(3, 96x64" in text
    assert "canvas 96x64" in text
    assert "array" not in text


def test_a_canvas_is_checked(make_rendered) -> None:
    with pytest.raises(ValueError, match="canvas: expected uint8"):
        Rendered(make_rendered().result, np.zeros((4, 6), np.uint8))


@pytest.mark.parametrize(
    "identities", [np.array([1]), np.array([[1, 2]]), np.array([1.0, 2.0]), np.array([1, 2], np.uint8)]
)
def test_a_result_refuses_other_identities(make_instances, identities) -> None:
    frame = Frame.of(np.zeros((64, 96, 3), np.uint8), 0, 0.0, None)
    with pytest.raises(ValueError, match=r"identities: expected int64 \(2,\), got"):
        FrameResult(frame, make_instances(2), None, {}, identities)
    assert FrameResult(frame, make_instances(2), None, {}).identities is None


@pytest.mark.parametrize(("t_media_s", "expected"), [(None, 7.5), (2.0, 2.0), (0.0, 0.0)])
def test_a_frames_time_is_the_recordings_or_the_cameras(t_media_s, expected) -> None:
    assert Frame.of(np.zeros((4, 6, 3), np.uint8), 0, 7.5, t_media_s).time_s == expected
