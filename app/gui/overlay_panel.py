"""A line for each overlay: switch, key and opacity, and which keypoint the maps are of."""

from typing import Final

from PyQt6.QtCore import Qt
from PyQt6.QtGui import QAction
from PyQt6.QtWidgets import QCheckBox, QGridLayout, QLabel, QWidget

from app.gui.controls import Choice, ShareSlider, faint, heading
from app.gui.overlay_model import OverlayModel
from engine.skeleton import KEYPOINT_NAMES
from pipeline.overlays import LAYER_NAMES, OverlayStyle

SWITCHES: Final = (
    "skhm", "bhm", "offset_arrows", "offset_field", "person_map", "masks", "pose", "pis", "show_scores", "show_ids",
)  # fmt: skip


class OverlayPanel(QWidget):
    """Shows and changes an `OverlayModel`; the switches are the window's actions."""

    def __init__(self, model: OverlayModel, actions: dict[str, QAction], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._model = model
        self.boxes: dict[str, QCheckBox] = {}
        self.sliders: dict[str, ShareSlider] = {}
        keypoints = {name.replace("_", " "): number for number, name in enumerate(KEYPOINT_NAMES)}
        self.choices = {"skhm_keypoint": Choice(self.tr("Heat map of")), "offset_target": Choice(self.tr("Offsets to"))}
        self.choices["skhm_keypoint"].offer({self.tr("all keypoints"): None, **keypoints})
        self.choices["offset_target"].offer({self.tr("the mask's centroid"): None, **keypoints})
        self._layout = QGridLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setVerticalSpacing(3)
        self._layout.setColumnStretch(2, 1)
        self._layout.addWidget(heading(self.tr("Overlays")), 0, 0, 1, 2)
        self._layout.addWidget(faint(self.tr("opacity")), 0, 2)
        for name in SWITCHES:
            self._add_switch(name, actions[name])
            if name == "skhm":
                self._add_choice("skhm_keypoint")
            elif name == "offset_field":
                self._add_choice("offset_target")
        model.changed.connect(self._show)
        self._show(model.style)

    def _add_switch(self, name: str, action: QAction) -> None:
        row = self._layout.rowCount()
        box = QCheckBox(action.text())
        box.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        box.toggled.connect(lambda on: self._model.switch(name, on))
        self.boxes[name] = box
        self._layout.addWidget(faint(action.shortcut().toString()), row, 0)
        self._layout.addWidget(box, row, 1)
        if name in LAYER_NAMES:
            slider = ShareSlider(self.tr("Opacity of {}").format(action.text()), 1.0)
            slider.moved.connect(lambda value: self._model.set(**{f"{name}_opacity": value}))
            self.sliders[name] = slider
            self._layout.addWidget(slider, row, 2)

    def _add_choice(self, name: str) -> None:
        row = self._layout.rowCount()
        choice = self.choices[name]
        choice.chosen.connect(lambda value: self._model.set(**{name: value}))
        label = QLabel(choice.accessibleName())
        label.setIndent(24)
        self._layout.addWidget(label, row, 1)
        self._layout.addWidget(choice, row, 2)

    def _show(self, style: OverlayStyle) -> None:
        for name, box in self.boxes.items():
            box.blockSignals(True)
            box.setChecked(self._model.is_on(name))
            box.blockSignals(False)
        for name, slider in self.sliders.items():
            slider.set_value(getattr(style, f"{name}_opacity"))
        for name, choice in self.choices.items():
            choice.set_value(getattr(style, name))
