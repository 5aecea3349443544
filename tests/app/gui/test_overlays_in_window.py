"""What the switches, sliders and lists do to the picture: pixels that should change do, others do not."""

from collections.abc import Callable

import numpy as np
import pytest
from PyQt6.QtCore import QPoint, Qt
from PyQt6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from app.gui.application import Application
from app.gui.overlay_panel import SWITCHES
from pipeline.overlays import LAYER_NAMES

DEADLINE_MS = 30_000
Change = Callable[[Callable[[], object]], np.ndarray]


@pytest.fixture
def change(still: Application, qtbot: QtBot) -> Change:
    """Do something to the standing picture; the picture that follows."""

    def run(action: Callable[[], object]) -> np.ndarray:
        with qtbot.waitSignal(still.player.shown, timeout=DEADLINE_MS):
            action()
        qtbot.waitUntil(lambda: not still.player.redrawing, timeout=DEADLINE_MS)
        canvas = still.window.view.canvas
        assert canvas is not None
        return canvas.copy()

    return run


@pytest.fixture
def plain(still: Application, change: Change) -> np.ndarray:
    """The picture without any overlay."""
    canvas = change(still.overlays.clear)
    rendered = still.player.last
    assert rendered is not None
    np.testing.assert_array_equal(canvas, rendered.result.frame.image)
    return canvas


@pytest.mark.parametrize("name", SWITCHES)
def test_box_changes_its_pixels(name: str, still: Application, change: Change, plain: np.ndarray, qtbot: QtBot) -> None:
    """Ticked with the mouse, the picture gets the overlay; ticked again, it is the plain one. The key does the same."""
    box = still.window.overlay_panel.boxes[name]
    with_overlay = change(lambda: qtbot.mouseClick(box, Qt.MouseButton.LeftButton, pos=QPoint(8, box.height() // 2)))
    changed = np.any(with_overlay != plain, axis=2)
    assert changed.mean() > 0.0005  # a number above somebody is small
    assert box.isChecked()
    assert still.window.commands[name].isChecked()
    if name != "bhm":  # which darkens all that is no body
        assert not changed.all()
    without = change(lambda: qtbot.mouseClick(box, Qt.MouseButton.LeftButton, pos=QPoint(8, box.height() // 2)))
    np.testing.assert_array_equal(without, plain)
    by_key = change(lambda: qtbot.keySequence(still.window, still.window.commands[name].shortcut()))
    np.testing.assert_array_equal(by_key, with_overlay)


def test_overlays_differ_from_each_other(still: Application, change: Change, plain: np.ndarray) -> None:
    pictures = [
        change(lambda name=name: (still.overlays.clear(), still.overlays.switch(name, True))) for name in SWITCHES
    ]
    assert len({picture.tobytes() for picture in pictures}) == len(SWITCHES)


@pytest.mark.parametrize("name", LAYER_NAMES)
def test_opacity(name: str, still: Application, change: Change, plain: np.ndarray) -> None:
    """At 0 an overlay is not there; in between it is fainter than at 1."""
    slider = still.window.overlay_panel.sliders[name]

    def difference(value: int) -> float:
        canvas = change(lambda: slider.focusProxy().setValue(value))
        return float(np.abs(canvas.astype(int) - plain).mean())

    change(lambda: still.overlays.switch(name, True))
    nothing, faint, full = difference(0), difference(40), difference(99)
    assert nothing == 0
    assert 0 < faint < full


def test_poses_and_masks_is_both(still: Application) -> None:
    panel, overlays = still.window.overlay_panel, still.overlays
    overlays.clear()
    overlays.switch("pis", True)
    assert panel.boxes["pose"].isChecked()
    assert panel.boxes["masks"].isChecked()
    overlays.switch("masks", False)
    assert not panel.boxes["pis"].isChecked()
    assert panel.boxes["pose"].isChecked()


def test_keypoint_of_the_heat_map(still: Application, change: Change, plain: np.ndarray) -> None:
    everything = change(lambda: still.overlays.switch("skhm", True))
    choice = still.window.overlay_panel.choices["skhm_keypoint"]
    nose = change(lambda: choice.activated.emit(1))
    assert still.overlays.style.skhm_keypoint == 0
    assert np.any(nose != everything)
    assert choice.currentText() == "nose"


def test_keypoint_of_the_mask_offsets(still: Application, change: Change, plain: np.ndarray) -> None:
    assert still.window.overlay_panel.choices["offset_target"].currentText() == "right shoulder"
    for name in ("offset_arrows", "offset_field"):
        still.overlays.clear()
        to_shoulder = change(lambda name=name: still.overlays.switch(name, True))
        to_nose = change(lambda: still.overlays.set(offset_target=0))
        assert np.any(to_nose != to_shoulder)
        still.overlays.set(offset_target=6)


def test_keypoints_go_round(still: Application) -> None:
    seen = []
    for _ in range(18):
        still.overlays.next_keypoint("skhm_keypoint", 1)
        seen.append(still.overlays.style.skhm_keypoint)
    assert seen == [*range(17), None]
    still.overlays.next_keypoint("skhm_keypoint", -1)
    assert still.overlays.style.skhm_keypoint == 16


def test_thresholds_move_a_standing_picture(still: Application, change: Change) -> None:
    """Each of the four is heeded at once; those of the decode are applied to the heads that were kept."""
    still.overlays.set(masks=True, pose=True)
    sliders = still.window.thresholds.sliders
    before = still.window.view.canvas
    assert before is not None
    for name, value in (("keypoint", 90), ("person", 95), ("distance", 1), ("score", 99)):
        usual = sliders[name].focusProxy().value()
        moved = change(lambda name=name, value=value: sliders[name].focusProxy().setValue(value))
        assert np.any(moved != before), name
        if name == "score":
            assert still.player.last is not None
            assert len(still.player.last.result.instances) == 0
        back = change(lambda name=name, usual=usual: sliders[name].focusProxy().setValue(usual))
        np.testing.assert_array_equal(back, before, name)


def test_the_person_map_follows_p(still: Application, change: Change, plain: np.ndarray) -> None:
    loose = change(lambda: still.overlays.switch("person_map", True))
    strict = change(lambda: still.window.thresholds.sliders["person"].focusProxy().setValue(98))
    assert np.any(strict != plain, axis=2).sum() < np.any(loose != plain, axis=2).sum()


def test_many_moves_end_in_the_last(still: Application, qtbot: QtBot, qapp: QApplication) -> None:
    """A slider that is dragged asks for many pictures: the last one is the one that stays."""
    for value in range(0, 100, 3):
        still.overlays.set(masks_opacity=value / 100)
    qtbot.waitUntil(lambda: not still.player.redrawing, timeout=DEADLINE_MS)
    dragged = still.window.view.canvas
    with qtbot.waitSignal(still.player.shown, timeout=DEADLINE_MS):
        still.player.redraw()
    np.testing.assert_array_equal(dragged, still.window.view.canvas)
