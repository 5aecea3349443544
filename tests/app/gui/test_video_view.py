"""The view: which pixel of the picture is which pixel of the screen."""

import numpy as np
import pytest
from PyQt6.QtCore import QPoint, QPointF, Qt
from PyQt6.QtGui import QColor
from PyQt6.QtTest import QTest
from pytestqt.qtbot import QtBot

from app.gui.video_view import VideoView


def numbered(width: int, height: int) -> np.ndarray:
    """Each pixel tells where it is: blue its column, green its row."""
    canvas = np.zeros((height, width, 3), dtype=np.uint8)
    canvas[..., 0] = np.arange(width)[None] % 256
    canvas[..., 1] = np.arange(height)[:, None] % 256
    canvas[..., 2] = 200
    return canvas


@pytest.fixture
def view(qtbot: QtBot) -> VideoView:
    view = VideoView()
    qtbot.addWidget(view)
    view.resize(400, 300)
    view.set_ground("#010203")
    view.show()
    return view


def colour(view: VideoView, x: int, y: int) -> tuple[int, int, int]:
    """Red, green and blue on the screen."""
    return QColor(view.grab().toImage().pixel(x, y)).getRgb()[:3]  # type: ignore[return-value]


def test_one_to_one_is_exact(view: VideoView) -> None:
    view.show_canvas(numbered(200, 100))
    view.one_to_one()
    assert colour(view, 100, 100) == (200, 0, 0)  # the middle of 200x100 lies in the middle of 400x300
    assert colour(view, 150, 130) == (200, 30, 50)
    assert colour(view, 99, 100) == (1, 2, 3)


def test_read_only_canvas_of_odd_width(view: VideoView) -> None:
    """Rows of 3 * 201 bytes, which are no multiple of 4, and an array that must not be written to."""
    canvas = numbered(201, 101)
    canvas.setflags(write=False)
    view.show_canvas(canvas)
    view.one_to_one()
    left = round(view.target_rect().left())
    top = round(view.target_rect().top())
    assert colour(view, left + 120, top + 77) == (200, 77, 120)


def test_strided_canvas(view: VideoView) -> None:
    view.show_canvas(numbered(400, 300)[:, ::2])
    view.one_to_one()
    assert colour(view, 100 + 30, 10) == (200, 10, 60)


def test_fit_keeps_the_proportions(view: VideoView) -> None:
    view.show_canvas(numbered(100, 25))
    rect = view.target_rect()
    assert (rect.x(), rect.y(), rect.width(), rect.height()) == (0, 100, 400, 100)
    assert view.zoom == 4
    assert colour(view, 200, 50) == (1, 2, 3)
    view.resize(200, 300)
    assert view.zoom == 2


def test_zoom_holds_the_point_under_the_mouse(view: VideoView) -> None:
    view.show_canvas(numbered(400, 300))
    view.zoom_by(4, QPointF(100, 90))
    assert view.zoom == 4
    assert colour(view, 101, 91) == (200, 90, 100)
    view.zoom_by(0.5, QPointF(100, 90))
    rect = view.target_rect()
    assert ((100 - rect.left()) / view.zoom, (90 - rect.top()) / view.zoom) == pytest.approx((100, 90))


def test_zoom_has_limits(view: VideoView) -> None:
    view.show_canvas(numbered(400, 300))
    for _ in range(60):
        view.zoom_by(2)
    assert view.zoom == 32
    for _ in range(60):
        view.zoom_by(0.5)
    assert view.zoom == 0.05


def test_dragging_moves_a_zoomed_picture(view: VideoView, qtbot: QtBot) -> None:
    view.show_canvas(numbered(400, 300))
    view.zoom_by(2)
    before = view.target_rect()
    qtbot.mousePress(view, Qt.MouseButton.LeftButton, pos=QPoint(200, 150))
    qtbot.mouseMove(view, QPoint(230, 140))
    qtbot.mouseRelease(view, Qt.MouseButton.LeftButton, pos=QPoint(230, 140))
    after = view.target_rect()
    assert (after.x() - before.x(), after.y() - before.y()) == (30, -10)


def test_arrow_keys_move_a_zoomed_picture(view: VideoView) -> None:
    view.show_canvas(numbered(400, 300))
    fitted = view.target_rect()
    QTest.keyClick(view, Qt.Key.Key_Right)
    assert view.target_rect() == fitted
    view.zoom_by(2)
    before = view.target_rect()
    QTest.keyClick(view, Qt.Key.Key_Right)
    QTest.keyClick(view, Qt.Key.Key_Up)
    after = view.target_rect()
    assert (after.x() - before.x(), after.y() - before.y()) == (-40, 30)


def test_double_click_goes_between_the_two_sizes(view: VideoView, qtbot: QtBot) -> None:
    view.show_canvas(numbered(100, 75))
    qtbot.mouseDClick(view, Qt.MouseButton.LeftButton)
    assert view.zoom == 1
    assert not view.fitted
    qtbot.mouseDClick(view, Qt.MouseButton.LeftButton)
    assert view.fitted


def test_tells_its_zoom(view: VideoView, qtbot: QtBot) -> None:
    view.show_canvas(numbered(100, 75))
    with qtbot.waitSignal(view.zoom_changed) as told:
        view.one_to_one()
    assert told.args == [1.0, False]
    with qtbot.waitSignal(view.zoom_changed) as told:
        view.fit()
    assert told.args == [4.0, True]


def test_another_size_keeps_fitting(view: VideoView) -> None:
    view.show_canvas(numbered(100, 75))
    view.show_canvas(numbered(200, 150))
    assert view.zoom == 2


def test_hint_in_place_of_a_picture(view: VideoView) -> None:
    view.show_canvas(numbered(400, 300))
    view.show_hint("Drop a video here")
    assert view.canvas is None
    assert colour(view, 5, 5) == (1, 2, 3)
    image = view.grab().toImage()
    assert any(QColor(image.pixel(x, 150)).lightness() > 128 for x in range(400))
