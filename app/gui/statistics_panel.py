"""The monitor: rates and frame age as a rolling plot, each stage's times, what is dropped, and what it all costs."""

from collections import deque
from typing import Final

import pyqtgraph
from PyQt6.QtCore import Qt
from PyQt6.QtGui import QResizeEvent
from PyQt6.QtWidgets import QGridLayout, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from app.gui.controls import faint
from app.gui.themes import Theme
from pipeline.statistics import Snapshot, StageFigures

UPDATE_MS: Final = 500
PLOTTED_S: Final = 60.0
PLOT_FROM_PX: Final = 640  # in a narrower panel the table alone has room


class StatisticsPanel(QWidget):
    """Shows snapshots of `pipeline.statistics`, about two a second."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._history: deque[tuple[float, float, float]] = deque(maxlen=round(PLOTTED_S * 1000 / UPDATE_MS))
        self._plot = pyqtgraph.PlotWidget()
        self._legend = self._plot.getPlotItem().addLegend(offset=(8, 4), colCount=2)
        self.curves = [self._plot.plot(name=name) for name in (self.tr("shown"), self.tr("captured"))]
        self._cells: dict[tuple[int, int], QLabel] = {}
        self._load = faint("")
        self._load.setWordWrap(True)
        self._headline = QLabel()
        self._headline.setProperty("role", "heading")
        self._grid = QGridLayout()
        self._lay_out()
        self.clear()

    def _lay_out(self) -> None:
        plot_item = self._plot.getPlotItem()
        plot_item.setMenuEnabled(False)
        plot_item.ctrlMenu.setParent(self, plot_item.ctrlMenu.windowFlags())  # else nobody would delete it
        plot_item.hideButtons()
        plot_item.setLabel("left", self.tr("frames/s"))
        plot_item.setLabel("bottom", self.tr("seconds ago"))
        self._plot.setMouseEnabled(x=False, y=False)
        self._plot.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._plot.setXRange(-PLOTTED_S, 0, padding=0)
        self._plot.setMinimumHeight(120)
        self._grid.setHorizontalSpacing(14)
        self._grid.setVerticalSpacing(1)
        for column, text in enumerate(self._columns()):
            self._cell(0, column, text)
        figures = QVBoxLayout()
        figures.addWidget(self._headline)
        figures.addLayout(self._grid)
        figures.addWidget(self._load)
        figures.addStretch()
        layout = QHBoxLayout(self)
        layout.setContentsMargins(6, 4, 6, 4)
        layout.addWidget(self._plot, 1)
        layout.addLayout(figures)

    def _columns(self) -> tuple[str, ...]:
        return (
            self.tr("stage"), self.tr("frames/s"), self.tr("p50 ms"), self.tr("p95 ms"), self.tr("p99 ms"),
            self.tr("busy"), self.tr("dropped"),
        )  # fmt: skip

    def resizeEvent(self, event: QResizeEvent | None) -> None:  # noqa: N802 - Qt's name
        self._plot.setVisible(self.width() >= PLOT_FROM_PX)
        super().resizeEvent(event)

    def apply_theme(self, theme: Theme) -> None:
        """Take the theme's colours; pyqtgraph knows nothing of palettes."""
        self._plot.setBackground(theme.base)
        for side in ("left", "bottom"):
            axis = self._plot.getPlotItem().getAxis(side)
            axis.setPen(theme.line)
            axis.setTextPen(theme.text)
        for curve, colour in zip(self.curves, theme.curves, strict=False):
            curve.setPen(pyqtgraph.mkPen(colour, width=2))
        for _, label in self._legend.items:
            label.setText(label.text, color=theme.text)

    def clear(self) -> None:
        """Forget the source before."""
        self._history.clear()
        for curve in self.curves:
            curve.setData([], [])
        self._headline.setText(self.tr("No picture yet"))

    def show_paused(self) -> None:
        """Leave the figures as they were, and say why they stand still."""
        self._headline.setText(self.tr("Paused"))

    def show_snapshot(self, snapshot: Snapshot) -> None:
        """Show these figures and add them to the plot."""
        self._headline.setText(self._headline_of(snapshot))
        drops = dict(zip(snapshot.stages, ("", *map(str, snapshot.drops.values())), strict=False))
        for row, (stage, figures) in enumerate(snapshot.stages.items(), start=1):
            for column, text in enumerate((stage, *_stage_texts(figures), drops[stage])):
                self._cell(row, column, text)
        ages = (snapshot.age_p50_ms, snapshot.age_p95_ms, snapshot.age_p99_ms)
        last = (
            self.tr("shown, age"),
            f"{snapshot.displayed_fps:.1f}",
            *map(_ms, ages),
            "",
            str(snapshot.drops["reader"]),
        )
        for column, text in enumerate(last):
            self._cell(len(snapshot.stages) + 1, column, text)
        self._load.setText(self._load_of(snapshot))
        self._plot_rates(snapshot)

    def _headline_of(self, snapshot: Snapshot) -> str:
        rate = self.tr("{:.1f} frames/s shown").format(snapshot.displayed_fps)
        limit = self.tr("limited by {}").format(snapshot.bottleneck) if snapshot.bottleneck else ""
        return ", ".join(filter(None, (rate, limit)))

    def _load_of(self, snapshot: Snapshot) -> str:
        parts = [
            self.tr("CPU {:.0f} %").format(snapshot.cpu_percent),
            self.tr("{:.0f} MB").format(snapshot.rss_mb),
            self.tr("{} threads").format(snapshot.threads),
        ]
        if snapshot.gpu is not None:
            parts.append(self.tr("GPU {:.0f} %, {:.0f} MB").format(snapshot.gpu.percent, snapshot.gpu.memory_mb))
        return "  ·  ".join(parts)

    def _plot_rates(self, snapshot: Snapshot) -> None:
        self._history.append((snapshot.seconds, snapshot.displayed_fps, snapshot.stages["capture"].fps))
        seconds = [row[0] - snapshot.seconds for row in self._history]
        highest = max(max(row[1:]) for row in self._history)
        self._plot.setYRange(0, max(1.0, 1.4 * highest), padding=0)  # the legend needs room
        for number, curve in enumerate(self.curves, start=1):
            curve.setData(seconds, [row[number] for row in self._history])

    def _cell(self, row: int, column: int, text: str) -> None:
        label = self._cells.get((row, column))
        if label is None:
            label = self._cells[row, column] = faint("") if row == 0 else QLabel()
            side = Qt.AlignmentFlag.AlignLeft if column == 0 else Qt.AlignmentFlag.AlignRight
            self._grid.addWidget(label, row, column, side)
        if label.text() != text:
            label.setText(text)


def _stage_texts(figures: StageFigures) -> tuple[str, ...]:
    steps = map(_ms, (figures.p50_ms, figures.p95_ms, figures.p99_ms))
    return f"{figures.fps:.1f}", *steps, f"{100 * figures.busy:.0f} %"


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
