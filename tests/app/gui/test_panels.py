"""Message bar, monitor, transport bar and themes, each by itself."""

import time
from collections.abc import Iterator

import pytest
from PyQt6.QtCore import Qt
from PyQt6.QtGui import QColor
from PyQt6.QtWidgets import QApplication, QLabel, QToolButton
from pytestqt.qtbot import QtBot

from app.gui import messages
from app.gui.loop_gap import LoopGap
from app.gui.messages import MessageBar
from app.gui.shortcuts import make_actions
from app.gui.statistics_panel import StatisticsPanel
from app.gui.themes import DARK, LIGHT, THEMES, Theme
from app.gui.transport_bar import TransportBar, clock
from pipeline.gpu import GpuFigures
from pipeline.statistics import Snapshot, StageFigures

DEADLINE_MS = 30_000


@pytest.fixture
def bar(qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> Iterator[MessageBar]:
    monkeypatch.setattr(messages, "INFO_SHOWN_MS", 50)
    made = MessageBar()
    qtbot.addWidget(made)
    yield made
    made.dismiss()


def test_info_goes_by_itself(bar: MessageBar, qtbot: QtBot) -> None:
    bar.show_message("info", "Saved")
    assert bar.isVisible()
    qtbot.waitUntil(lambda: not bar.isVisible(), timeout=DEADLINE_MS)


@pytest.mark.parametrize(("level", "stays"), [("error", False), ("warning", False), ("info", True)])
def test_what_matters_stays_until_it_is_closed(
    level: messages.Level, stays: bool, bar: MessageBar, qtbot: QtBot
) -> None:
    bar.show_message("info", "Saved")
    bar.show_message(level, "No such file", stays)
    qtbot.wait(150)
    assert bar.isVisible()
    assert bar.text == "No such file"
    qtbot.mouseClick(bar.findChild(QToolButton), Qt.MouseButton.LeftButton)
    assert not bar.isVisible()


def snapshot(seconds: float, gpu: GpuFigures | None = None) -> Snapshot:
    stage = StageFigures(fps=14.25, p50_ms=60.5, p95_ms=70.25, p99_ms=None, busy=0.875)
    return Snapshot(
        seconds=seconds,
        stages=dict.fromkeys(("capture", "infer", "decode", "render"), stage),
        displayed=10,
        displayed_fps=13.5,
        age_p50_ms=100.0,
        age_p95_ms=150.0,
        age_p99_ms=None,
        drops={"infer": 11, "decode": 12, "render": 13, "reader": 14},
        drops_per_s=dict.fromkeys(("infer", "decode", "render", "reader"), 0.0),
        bottleneck="infer",
        cpu_percent=151.0,
        rss_mb=500.0,
        threads=13,
        gpu=gpu,
    )


def test_monitor_shows_the_figures(qtbot: QtBot) -> None:
    panel = StatisticsPanel()
    qtbot.addWidget(panel)
    panel.show_snapshot(snapshot(1.0, GpuFigures("card", 40.0, 1000.0)))
    texts = [label.text() for label in panel.findChildren(QLabel)]
    for text in ("13.5 frames/s shown, limited by infer", "60.5", "–", "88 %", "11", "14", "150.0"):
        assert text in texts, text
    assert any(text.startswith("CPU 151 %") and text.endswith("GPU 40 %, 1000 MB") for text in texts)


def test_plot_rolls(qtbot: QtBot) -> None:
    panel = StatisticsPanel()
    qtbot.addWidget(panel)
    for number in range(300):
        panel.show_snapshot(snapshot(number / 2))
    x, y = panel.curves[0].getData()
    assert len(x) == 120
    assert (x[-1], y[-1]) == (0.0, 13.5)
    assert x[0] >= -60
    panel.clear()
    assert panel.curves[0].getData()[0] is None or len(panel.curves[0].getData()[0]) == 0


@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)
def test_text_can_be_read(theme: Theme) -> None:
    """Contrast by WCAG 2: at least 4.5 to 1."""
    pairs = [(theme.text, ground) for ground in (theme.window, theme.base, theme.button)]
    pairs += [(theme.faint, theme.window), (theme.on_accent, theme.accent)]
    pairs += [("#ffffff", ground) for ground in (theme.error, theme.warning, theme.info)]
    for text, ground in pairs:
        assert contrast(text, ground) >= 4.5, (text, ground)
    for curve in theme.curves:
        assert contrast(curve, theme.base) >= 3, curve


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    def linear(value: float) -> float:
        return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4

    red, green, blue, _ = QColor(colour).getRgbF()
    return 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00.0"), (5.55, "0:05.6"), (59.96, "1:00.0"), (3599.99, "1:00:00.0"), (7325.3, "2:02:05.3")],
)
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_seek_bar_goes_where_it_is_clicked(qtbot: QtBot, qapp: QApplication) -> None:
    host = QLabel()
    qtbot.addWidget(host)
    transport = TransportBar(make_actions(host), host)
    transport.resize(800, 40)
    transport.show_source(live=False, duration_s=10.0)
    host.show()
    sought: list[float] = []
    transport.sought.connect(sought.append)
    bar = transport.seek_bar
    qtbot.mouseClick(bar, Qt.MouseButton.LeftButton, pos=bar.rect().center())
    assert sought[-1] == pytest.approx(5.0, abs=0.2)


def test_gap_is_measured(qtbot: QtBot) -> None:
    gap = LoopGap()
    gap.start()
    qtbot.wait(50)
    time.sleep(0.3)  # a slot that holds up the window
    qtbot.wait(50)
    gap.stop()
    assert gap.longest_ms >= 250


def test_theme_reaches_every_widget(application: object, qtbot: QtBot) -> None:
    window = application.window
    window.show()
    dark = window.grab().toImage().pixelColor(5, 60).lightness()
    window.commands["theme"].trigger()
    light = window.grab().toImage().pixelColor(5, 60).lightness()
    assert dark < 128 < light
    assert window.commands["theme"].isChecked()
    assert (DARK.name, LIGHT.name) == ("dark", "light")
