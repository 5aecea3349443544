"""What is drawn, as the window knows it: one frozen style, and a signal when another one takes its place."""

import dataclasses
from typing import Any

from PyQt6.QtCore import QObject, pyqtSignal

from engine.skeleton import NUM_KEYPOINTS
from pipeline.overlays import LAYER_NAMES, OverlayStyle


class OverlayModel(QObject):
    """Holds the style; panel and shortcuts change it, player and panel follow.

    Signals:
        changed: the new `OverlayStyle`.
    """

    changed = pyqtSignal(object)

    def __init__(self, style: OverlayStyle) -> None:
        super().__init__()
        self.style = style

    def set(self, **changes: Any) -> None:
        """Change some of the style's fields."""
        style = dataclasses.replace(self.style, **changes)
        if style != self.style:
            self.style = style
            self.changed.emit(style)

    def is_on(self, name: str) -> bool:
        """Whether a layer is on, "pis" if both of its layers are, "show_scores" and "show_ids" if they are written."""
        if name == "pis":
            return self.style.masks and self.style.pose
        return bool(getattr(self.style, name))

    def switch(self, name: str, on: bool) -> None:
        """Turn a layer, "pis", "show_scores" or "show_ids" on or off."""
        self.set(**({"masks": on, "pose": on} if name == "pis" else {name: on}))

    def clear(self) -> None:
        """Show the plain picture."""
        self.set(show_scores=False, show_ids=False, **dict.fromkeys(LAYER_NAMES, False))

    def next_keypoint(self, name: str, step: int) -> None:
        """Go to another keypoint in "skhm_keypoint" or "offset_target"; None comes between the last and the first."""
        now = getattr(self.style, name)
        place = (0 if now is None else now + 1) + step
        place %= NUM_KEYPOINTS + 1
        self.set(**{name: place - 1 if place else None})
