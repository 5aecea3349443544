"""Every action of the window with its keys and its text: one table, from which the actions and the sheet are made."""

from typing import Final, NamedTuple

from PyQt6.QtCore import QT_TRANSLATE_NOOP, QCoreApplication
from PyQt6.QtGui import QAction, QKeySequence
from PyQt6.QtWidgets import QWidget

_CONTEXT: Final = "shortcuts"


class Shortcut(NamedTuple):
    """One action: `name` for the program, `group` and `text` for the user, `keys` as Qt writes them.

    `short` is what a button says, where that differs from the text.
    """

    name: str
    group: str
    keys: tuple[str, ...]
    text: str
    checkable: bool = False
    short: str = ""


SOURCE, PLAYBACK, OVERLAYS, VIEW, RECORD, HELP = (
    QT_TRANSLATE_NOOP("shortcuts", "Source"),
    QT_TRANSLATE_NOOP("shortcuts", "Playback"),
    QT_TRANSLATE_NOOP("shortcuts", "Overlays"),
    QT_TRANSLATE_NOOP("shortcuts", "View"),
    QT_TRANSLATE_NOOP("shortcuts", "Record"),
    QT_TRANSLATE_NOOP("shortcuts", "Help"),
)

# Keys that a control uses itself (arrows, Tab, Home, …) are left to it: all of the window works without a mouse.
SHORTCUTS: Final = (
    Shortcut("open_file", SOURCE, ("Ctrl+O",), QT_TRANSLATE_NOOP("shortcuts", "Open a video or picture…")),
    Shortcut("open_folder", SOURCE, ("Ctrl+Shift+O",), QT_TRANSLATE_NOOP("shortcuts", "Open a folder of pictures…")),
    Shortcut("open_address", SOURCE, ("Ctrl+L",), QT_TRANSLATE_NOOP("shortcuts", "Type an address or a path")),
    Shortcut("list_cameras", SOURCE, ("F5",), QT_TRANSLATE_NOOP("shortcuts", "Look for cameras again")),
    Shortcut("quit", SOURCE, ("Ctrl+Q",), QT_TRANSLATE_NOOP("shortcuts", "Quit")),
    Shortcut("play", PLAYBACK, ("Space", "K"), QT_TRANSLATE_NOOP("shortcuts", "Play or pause"), True),
    Shortcut("step", PLAYBACK, (".",), QT_TRANSLATE_NOOP("shortcuts", "One frame on")),
    Shortcut("step_back", PLAYBACK, (",",), QT_TRANSLATE_NOOP("shortcuts", "One frame back")),
    Shortcut("skip", PLAYBACK, ("L",), QT_TRANSLATE_NOOP("shortcuts", "Five seconds on")),
    Shortcut("skip_back", PLAYBACK, ("J",), QT_TRANSLATE_NOOP("shortcuts", "Five seconds back")),
    Shortcut("restart", PLAYBACK, ("Backspace",), QT_TRANSLATE_NOOP("shortcuts", "From the beginning")),
    Shortcut("faster", PLAYBACK, ("]",), QT_TRANSLATE_NOOP("shortcuts", "Faster")),
    Shortcut("slower", PLAYBACK, ("[",), QT_TRANSLATE_NOOP("shortcuts", "Slower")),
    Shortcut("loop", PLAYBACK, ("Ctrl+R",), QT_TRANSLATE_NOOP("shortcuts", "Play in a loop"), True),
    Shortcut("skhm", OVERLAYS, ("1",), QT_TRANSLATE_NOOP("shortcuts", "Keypoint heat map (SKHM)"), True),
    Shortcut("bhm", OVERLAYS, ("2",), QT_TRANSLATE_NOOP("shortcuts", "Body heat map (BHM)"), True),
    Shortcut("offset_arrows", OVERLAYS, ("3",), QT_TRANSLATE_NOOP("shortcuts", "Mask offsets as arrows (MO)"), True),
    Shortcut("offset_field", OVERLAYS, ("4",), QT_TRANSLATE_NOOP("shortcuts", "Mask offsets as colours (MO)"), True),
    Shortcut("person_map", OVERLAYS, ("5",), QT_TRANSLATE_NOOP("shortcuts", "Person map (SM)"), True),
    Shortcut("masks", OVERLAYS, ("6",), QT_TRANSLATE_NOOP("shortcuts", "Instance masks (ISM)"), True),
    Shortcut("pose", OVERLAYS, ("7",), QT_TRANSLATE_NOOP("shortcuts", "Poses (PE)"), True),
    Shortcut("pis", OVERLAYS, ("8",), QT_TRANSLATE_NOOP("shortcuts", "Poses and masks (PIS)"), True),
    Shortcut("show_scores", OVERLAYS, ("9",), QT_TRANSLATE_NOOP("shortcuts", "Scores"), True),
    Shortcut("show_ids", OVERLAYS, ("I",), QT_TRANSLATE_NOOP("shortcuts", "Ids of people"), True),
    Shortcut("plain", OVERLAYS, ("0",), QT_TRANSLATE_NOOP("shortcuts", "No overlay at all")),
    Shortcut("next_keypoint", OVERLAYS, ("N",), QT_TRANSLATE_NOOP("shortcuts", "Next keypoint of the heat map")),
    Shortcut("last_keypoint", OVERLAYS, ("P",), QT_TRANSLATE_NOOP("shortcuts", "Keypoint before it")),
    Shortcut(
        "next_target", OVERLAYS, ("Shift+N",), QT_TRANSLATE_NOOP("shortcuts", "Next keypoint of the mask offsets")
    ),
    Shortcut("last_target", OVERLAYS, ("Shift+P",), QT_TRANSLATE_NOOP("shortcuts", "Keypoint before it")),
    Shortcut("fit", VIEW, ("F", "Ctrl+0"), QT_TRANSLATE_NOOP("shortcuts", "Fit the picture into the window"), True),
    Shortcut("one_to_one", VIEW, ("O", "Ctrl+1"), QT_TRANSLATE_NOOP("shortcuts", "One pixel for one pixel"), True),
    Shortcut("zoom_in", VIEW, ("+", "="), QT_TRANSLATE_NOOP("shortcuts", "Larger")),
    Shortcut("zoom_out", VIEW, ("-",), QT_TRANSLATE_NOOP("shortcuts", "Smaller")),
    Shortcut("full_screen", VIEW, ("F11",), QT_TRANSLATE_NOOP("shortcuts", "Full screen"), True),
    Shortcut("controls", VIEW, ("F2",), QT_TRANSLATE_NOOP("shortcuts", "Panel of overlays and thresholds"), True),
    Shortcut("monitor", VIEW, ("F3",), QT_TRANSLATE_NOOP("shortcuts", "Monitor of speed and load"), True),
    Shortcut("theme", VIEW, ("F4",), QT_TRANSLATE_NOOP("shortcuts", "Dark or light"), True),
    Shortcut("record", RECORD, ("R",), QT_TRANSLATE_NOOP("shortcuts", "Record"), True),
    Shortcut(
        "snapshot",
        RECORD,
        ("S",),
        QT_TRANSLATE_NOOP("shortcuts", "Snapshot of the picture"),
        short=QT_TRANSLATE_NOOP("shortcuts", "Snapshot"),
    ),
    Shortcut(
        "sheet",
        RECORD,
        ("C",),
        QT_TRANSLATE_NOOP("shortcuts", "Contact sheet of all overlays (the paper's Figure 1)"),
        short=QT_TRANSLATE_NOOP("shortcuts", "Contact sheet"),
    ),
    Shortcut("figures", RECORD, ("M",), QT_TRANSLATE_NOOP("shortcuts", "Save the monitor's figures as a table (CSV)")),
    Shortcut("folder", RECORD, ("Ctrl+S",), QT_TRANSLATE_NOOP("shortcuts", "Choose the folder for recordings…")),
    Shortcut("shortcuts", HELP, ("F1", "?"), QT_TRANSLATE_NOOP("shortcuts", "Shortcuts"), True),
    Shortcut(
        "dismiss", HELP, ("Esc",), QT_TRANSLATE_NOOP("shortcuts", "Close the message or the sheet, leave full screen")
    ),
)


def translated(text: str) -> str:
    """A text of this table in the user's language."""
    return QCoreApplication.translate(_CONTEXT, text)


def make_actions(parent: QWidget) -> dict[str, QAction]:
    """An action for each line of the table, by name; they work while `parent`'s window has the focus."""
    actions: dict[str, QAction] = {}
    for shortcut in SHORTCUTS:
        action = QAction(translated(shortcut.text), parent)
        action.setObjectName(shortcut.name)
        action.setShortcuts([QKeySequence(keys) for keys in shortcut.keys])
        action.setCheckable(shortcut.checkable)
        if shortcut.short:
            action.setIconText(translated(shortcut.short))
        parent.addAction(action)
        actions[shortcut.name] = action
    return actions


def groups() -> dict[str, list[Shortcut]]:
    """The table's lines by group, both in the table's order."""
    grouped: dict[str, list[Shortcut]] = {}
    for shortcut in SHORTCUTS:
        grouped.setdefault(shortcut.group, []).append(shortcut)
    return grouped
