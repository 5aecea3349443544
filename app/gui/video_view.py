"""The picture: fitted into the window, one pixel for one pixel, or zoomed; painted straight from the canvas's bytes."""

from typing import Any, Final

import numpy as np
from PyQt6.QtCore import QPointF, QRectF, QSize, Qt, pyqtSignal
from PyQt6.QtGui import QColor, QImage, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QWheelEvent
from PyQt6.QtWidgets import QSizePolicy, QWidget

from engine.structures import ByteArray

ZOOM_STEP: Final = 1.25
ZOOM_LEAST, ZOOM_MOST = 0.05, 32.0
_ARROWS: Final[dict[int, tuple[int, int]]] = {
    Qt.Key.Key_Left: (-1, 0),
    Qt.Key.Key_Right: (1, 0),
    Qt.Key.Key_Up: (0, -1),
    Qt.Key.Key_Down: (0, 1),
}


def bgr_image(canvas: ByteArray) -> QImage:
    """A QImage on the bytes of a BGR uint8 (H, W, 3), C-contiguous canvas, which must outlive it."""
    height, width = canvas.shape[:2]
    data: Any = canvas.data  # PyQt6's hints know bytes alone
    return QImage(data, width, height, 3 * width, QImage.Format.Format_BGR888)


class VideoView(QWidget):
    """Shows one canvas at a time.

    Signals:
        zoom_changed: device pixels per picture pixel as they are now, and whether the picture is fitted.
    """

    zoom_changed = pyqtSignal(float, bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMinimumSize(160, 120)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self.setAccessibleName(self.tr("Picture"))
        self._canvas: ByteArray | None = None
        self._hint = ""
        self._ground = QColor("black")
        self._zoom: float | None = None  # None: fitted
        self._centre = QPointF()  # picture pixel in the middle of the view, where zoomed
        self._dragged_from: QPointF | None = None

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        return QSize(960, 540)

    @property
    def canvas(self) -> ByteArray | None:
        """What is shown, uint8 (H, W, 3) BGR."""
        return self._canvas

    @property
    def zoom(self) -> float:
        """Device pixels per picture pixel."""
        return self._fit_zoom() if self._zoom is None else self._zoom

    @property
    def fitted(self) -> bool:
        """Whether the picture fills the view, whatever the size of either."""
        return self._zoom is None

    def show_canvas(self, canvas: ByteArray) -> None:
        """Show a BGR uint8 (H, W, 3) canvas; it must not change any more."""
        contiguous = np.ascontiguousarray(canvas)
        if self._canvas is None or self._canvas.shape != contiguous.shape:
            height, width = contiguous.shape[:2]
            self._centre = QPointF(width / 2, height / 2)
            self._canvas = contiguous
            self._tell_zoom()
        self._canvas = contiguous
        self.update()

    def show_hint(self, text: str) -> None:
        """Show a text in place of the picture."""
        self._canvas = None
        self._hint = text
        self.update()

    def set_ground(self, colour: str) -> None:
        """Set the colour around the picture, #rrggbb."""
        self._ground = QColor(colour)
        self.update()

    def fit(self) -> None:
        """Show the whole picture, as large as it can be."""
        self._set_zoom(None)

    def one_to_one(self) -> None:
        """Show one pixel of the picture as one pixel of the screen."""
        self._set_zoom(1.0)

    def zoom_by(self, factor: float, at: QPointF | None = None) -> None:
        """Enlarge by `factor`; the picture stays in place under `at` (in the view, logical pixels; None: centre)."""
        if self._canvas is None:
            return
        middle = QPointF(self.width() / 2, self.height() / 2)
        at = middle if at is None else at
        held = self._to_picture(at)
        if self._zoom is None:
            height, width = self._canvas.shape[:2]
            self._centre = QPointF(width / 2, height / 2)
        zoom = min(ZOOM_MOST, max(ZOOM_LEAST, self.zoom * factor))
        offset = (at - middle) * self.devicePixelRatioF() / zoom
        self._centre = held - offset
        self._set_zoom(zoom)

    def target_rect(self) -> QRectF:
        """Where the picture lies in the view, logical pixels."""
        if self._canvas is None:
            return QRectF()
        scale = self.zoom / self.devicePixelRatioF()
        height, width = self._canvas.shape[:2]
        middle = QPointF(self.width() / 2, self.height() / 2)
        if self._zoom is None:
            corner = middle - QPointF(width, height) * scale / 2
        else:
            corner = middle - self._centre * scale
        return QRectF(corner.x(), corner.y(), width * scale, height * scale)

    def paintEvent(self, event: QPaintEvent | None) -> None:  # noqa: N802 - Qt's name
        painter = QPainter(self)
        painter.fillRect(self.rect(), self._ground)
        if self._canvas is None:
            painter.setPen(QColor("white") if self._ground.lightness() < 128 else QColor("black"))
            inner = self.rect().adjusted(24, 24, -24, -24)
            painter.drawText(inner, Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap, self._hint)
        else:
            # Above two to one every pixel is looked at for itself: no smoothing.
            painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, self.zoom < 2)
            painter.drawImage(self.target_rect(), bgr_image(self._canvas))
        painter.end()

    def resizeEvent(self, event: object) -> None:  # noqa: N802 - Qt's name
        self._tell_zoom()

    def wheelEvent(self, event: QWheelEvent | None) -> None:  # noqa: N802 - Qt's name
        if event is not None and event.angleDelta().y():
            self.zoom_by(ZOOM_STEP ** (event.angleDelta().y() / 120), event.position())

    def mousePressEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802 - Qt's name
        if event is not None and event.button() == Qt.MouseButton.LeftButton and self._zoom is not None:
            self._dragged_from = event.position()

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802 - Qt's name
        if event is not None and self._dragged_from is not None:
            self._pan((self._dragged_from - event.position()) * self.devicePixelRatioF() / self.zoom)
            self._dragged_from = event.position()

    def mouseReleaseEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802 - Qt's name
        self._dragged_from = None

    def mouseDoubleClickEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802 - Qt's name
        if self._zoom is None:
            self.one_to_one()
        else:
            self.fit()

    def keyPressEvent(self, event: QKeyEvent | None) -> None:  # noqa: N802 - Qt's name
        """Arrow keys move a zoomed picture by a tenth of the view."""
        way = _ARROWS.get(event.key()) if event is not None else None
        if way is None or self._zoom is None:
            super().keyPressEvent(event)
        else:
            self._pan(
                QPointF(way[0] * self.width(), way[1] * self.height()) / 10 * self.devicePixelRatioF() / self.zoom
            )

    def _pan(self, by: QPointF) -> None:
        self._centre = self._centre + by
        self.update()

    def _set_zoom(self, zoom: float | None) -> None:
        self._zoom = zoom
        self._tell_zoom()
        self.update()

    def _tell_zoom(self) -> None:
        if self._canvas is not None:
            self.zoom_changed.emit(self.zoom, self.fitted)

    def _fit_zoom(self) -> float:
        if self._canvas is None:
            return 1.0
        height, width = self._canvas.shape[:2]
        return min(self.width() / width, self.height() / height) * self.devicePixelRatioF()

    def _to_picture(self, at: QPointF) -> QPointF:
        rect = self.target_rect()
        scale = self.zoom / self.devicePixelRatioF()
        return QPointF((at.x() - rect.left()) / scale, (at.y() - rect.top()) / scale)
