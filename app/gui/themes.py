"""How the window looks, dark or light: Qt's Fusion style with two palettes and a few lines of style sheet."""

from dataclasses import dataclass
from typing import Final

from PyQt6.QtCore import QPointF, QRectF
from PyQt6.QtGui import QColor, QPainter, QPalette, QPen, QPolygonF
from PyQt6.QtWidgets import QApplication, QProxyStyle, QStyle, QStyleOption, QWidget


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours as #rrggbb. Text on its ground has a contrast of at least 4.5 : 1 in both themes.

    Attributes:
        window, base, button: grounds of the window, of lists and fields, of buttons.
        text, faint: text, and text of less weight or of what is switched off.
        accent, on_accent: what is chosen, and text on it.
        line: borders.
        canvas: around the picture.
        error, warning, info: grounds of messages; white text lies on them.
        curves: of the plot, in the order of its curves.
    """

    name: str
    window: str
    base: str
    button: str
    text: str
    faint: str
    accent: str
    on_accent: str
    line: str
    canvas: str
    error: str
    warning: str
    info: str
    curves: tuple[str, ...]


DARK: Final = Theme(
    name="dark",
    window="#23262b",
    base="#1a1c20",
    button="#31353c",
    text="#e8eaed",
    faint="#9aa0a9",
    accent="#4aa3ff",
    on_accent="#0b1520",
    line="#43484f",
    canvas="#121316",
    error="#a3262e",
    warning="#855400",
    info="#1d5f99",
    curves=("#4aa3ff", "#ffb454", "#7fd962"),
)
LIGHT: Final = Theme(
    name="light",
    window="#f3f4f6",
    base="#ffffff",
    button="#e4e7eb",
    text="#1c1f23",
    faint="#5c636d",
    accent="#0b63c4",
    on_accent="#ffffff",
    line="#b9bfc7",
    canvas="#d9dce1",
    error="#a3262e",
    warning="#855400",
    info="#1d5f99",
    curves=("#0b63c4", "#b35900", "#2f7d1f"),
)
THEMES: Final = {theme.name: theme for theme in (DARK, LIGHT)}


class _Style(QProxyStyle):
    """Fusion, with boxes to tick that are also seen on a dark ground."""

    def __init__(self) -> None:
        super().__init__("Fusion")

    def drawPrimitive(  # noqa: N802 - Qt's name
        self,
        element: QStyle.PrimitiveElement,
        option: QStyleOption | None,
        painter: QPainter | None,
        widget: QWidget | None = None,
    ) -> None:
        if element != QStyle.PrimitiveElement.PE_IndicatorCheckBox or option is None or painter is None:
            super().drawPrimitive(element, option, painter, widget)
            return
        on = bool(option.state & QStyle.StateFlag.State_On)
        focused = bool(option.state & QStyle.StateFlag.State_HasFocus)
        palette, box = option.palette, QRectF(option.rect).adjusted(0.5, 0.5, -0.5, -0.5)
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        rim = palette.highlight() if on else palette.placeholderText()
        painter.setPen(QPen(palette.text() if focused else rim, 2 if focused else 1))
        painter.setBrush(palette.highlight() if on else palette.base())
        painter.drawRoundedRect(box, 3, 3)
        if on:
            tick = [(0.22, 0.52), (0.42, 0.72), (0.78, 0.30)]
            points = [QPointF(box.left() + x * box.width(), box.top() + y * box.height()) for x, y in tick]
            painter.setPen(QPen(palette.highlightedText().color(), 2))
            painter.drawPolyline(QPolygonF(points))
        painter.restore()


def apply_theme(app: QApplication, theme: Theme) -> None:
    """Give the whole program the colours of `theme`."""
    app.setStyle(_Style())
    app.setPalette(_palette(theme))
    app.setStyleSheet(_style_sheet(theme))


def _palette(theme: Theme) -> QPalette:
    role = QPalette.ColorRole
    palette = QPalette()
    colours = {
        role.Window: theme.window,
        role.Base: theme.base,
        role.AlternateBase: theme.window,
        role.Button: theme.button,
        role.ToolTipBase: theme.base,
        role.ToolTipText: theme.text,
        role.WindowText: theme.text,
        role.Text: theme.text,
        role.ButtonText: theme.text,
        role.BrightText: theme.on_accent,
        role.PlaceholderText: theme.faint,
        role.Highlight: theme.accent,
        role.HighlightedText: theme.on_accent,
        role.Accent: theme.accent,
        role.Link: theme.accent,
        role.Mid: theme.line,
        role.Light: theme.button,
        role.Dark: theme.line,
    }
    for key, colour in colours.items():
        palette.setColor(key, QColor(colour))
    for key in (role.WindowText, role.Text, role.ButtonText):
        palette.setColor(QPalette.ColorGroup.Disabled, key, QColor(theme.faint))
    return palette


def _style_sheet(theme: Theme) -> str:
    return f"""
    QToolTip {{ color: {theme.text}; background: {theme.base}; border: 1px solid {theme.line}; padding: 3px; }}
    QLabel[role="heading"] {{ font-weight: bold; }}
    QLabel[role="faint"] {{ color: {theme.faint}; }}
    QFrame[role="message"] QLabel, QFrame[role="message"] QToolButton {{ color: white; background: transparent; }}
    QFrame[role="message"] {{ border-radius: 4px; }}
    QFrame[level="error"] {{ background: {theme.error}; }}
    QFrame[level="warning"] {{ background: {theme.warning}; }}
    QFrame[level="info"] {{ background: {theme.info}; }}
    QFrame[role="sheet"] {{ background: {theme.window}; border: 1px solid {theme.line}; border-radius: 6px; }}
    """
