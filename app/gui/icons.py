"""The pictures on the buttons: a few polygons each, drawn in the colour of the theme's text, sharp at any size."""

from typing import Final

from PyQt6.QtCore import QPointF, QRectF, QSize, Qt
from PyQt6.QtGui import QBrush, QColor, QIcon, QPainter, QPen, QPixmap, QPolygonF

_SIDE: Final = 16.0  # the shapes' own grid
_PIXELS: Final = 64

Points = tuple[tuple[float, float], ...]

_SHAPES: Final[dict[str, tuple[Points, ...]]] = {
    "play": (((4, 2), (14, 8), (4, 14)),),
    "pause": (((3, 2), (7, 2), (7, 14), (3, 14)), ((9, 2), (13, 2), (13, 14), (9, 14))),
    "step": (((3, 3), (10, 8), (3, 13)), ((11, 3), (13, 3), (13, 13), (11, 13))),
    "step_back": (((13, 3), (6, 8), (13, 13)), ((3, 3), (5, 3), (5, 13), (3, 13))),
    "snapshot": (((1, 4), (5, 4), (6, 2), (10, 2), (11, 4), (15, 4), (15, 14), (1, 14)),),
    "sheet": tuple(((x, y), (x + 6, y), (x + 6, y + 6), (x, y + 6)) for x in (1.0, 9.0) for y in (1.0, 9.0)),
    "open_file": (((1, 3), (6, 3), (8, 5), (15, 5), (15, 14), (1, 14)),),
    "loop": (
        ((2, 9), (2, 4), (10, 4), (10, 1), (15, 5.5), (10, 10), (10, 7), (5, 7), (5, 9)),
        ((5, 12), (14, 12), (14, 14), (5, 14)),
    ),
}
_RINGS: Final = {"snapshot": QRectF(5.2, 6, 5.6, 5.6)}
RECORD_RED: Final = "#e5484d"


def icon(name: str, colour: str) -> QIcon:
    """The picture of the action `name` in `colour` (#rrggbb); "record" is a red disc, a square while it runs."""
    made = QIcon()
    if name == "record":
        made.addPixmap(_pixmap("disc", RECORD_RED), QIcon.Mode.Normal, QIcon.State.Off)
        made.addPixmap(_pixmap("square", RECORD_RED), QIcon.Mode.Normal, QIcon.State.On)
    elif name == "play":
        made.addPixmap(_pixmap("play", colour), QIcon.Mode.Normal, QIcon.State.Off)
        made.addPixmap(_pixmap("pause", colour), QIcon.Mode.Normal, QIcon.State.On)
    else:
        made.addPixmap(_pixmap(name, colour))
    return made


def icon_names() -> tuple[str, ...]:
    """The actions that have a picture."""
    return ("record", *(name for name in _SHAPES if name != "pause"))


def icon_size() -> QSize:
    """How large they are on the bars, logical pixels."""
    return QSize(18, 18)


def _pixmap(name: str, colour: str) -> QPixmap:
    pixmap = QPixmap(_PIXELS, _PIXELS)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.scale(_PIXELS / _SIDE, _PIXELS / _SIDE)
    painter.setPen(QPen(Qt.PenStyle.NoPen))
    painter.setBrush(QBrush(QColor(colour)))
    if name == "disc":
        painter.drawEllipse(QRectF(2, 2, 12, 12))
    elif name == "square":
        painter.drawRect(QRectF(3, 3, 10, 10))
    for points in _SHAPES.get(name, ()):
        painter.drawPolygon(QPolygonF([QPointF(x, y) for x, y in points]))
    if name in _RINGS:
        painter.setCompositionMode(QPainter.CompositionMode.CompositionMode_Clear)
        painter.drawEllipse(_RINGS[name])
    painter.end()
    return pixmap
