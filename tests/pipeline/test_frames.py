import numpy as np
import pytest

from pipeline.frames import Frame, FrameResult, Rendered, StageStats


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


def test_stats_measure_work_waits_and_intervals() -> None:
    # Four frames: 10 ms of work, then 30 ms of waiting, each; the last one took 20 ms.
    spans_s = [(0.00, 0.01), (0.04, 0.05), (0.08, 0.09), (0.12, 0.14)]
    stats = StageStats.from_spans("infer", spans_s)
    assert stats.count == 4
    assert stats.median_ms == pytest.approx(10.0)
    assert stats.p95_ms == pytest.approx(18.5)
    assert stats.busy_share == pytest.approx(0.05 / 0.14)
    assert stats.wait_share == pytest.approx(1 - 0.05 / 0.14)
    assert stats.fps == pytest.approx(3 / 0.13)  # three intervals lie between four frames


def test_stats_of_one_frame_have_no_rate() -> None:
    stats = StageStats.from_spans("infer", [(1.0, 1.5)], count=7)
    assert (stats.count, stats.median_ms, stats.p95_ms) == (7, 500.0, 500.0)
    assert stats.fps is None
    assert stats.wait_share == 0.0


def test_stats_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="no frame"):
        StageStats.from_spans("infer", [])
