"""The settings file: what is kept comes back, what is damaged is set aside."""

from pathlib import Path

import pytest

from app.gui.network import NetworkChoice, Thresholds
from app.gui.settings import RECENT_KEPT, Settings, WindowPlaces, load, save, with_recent
from pipeline.overlays import OverlayStyle

OTHER = Settings(
    theme="light",
    folder='C:\\Videos "2026"\n\x7f',
    recent=("/clips/Müller ☃.mp4", "rtsp://***@host/1", "camera:0"),
    loop=True,
    controls=False,
    monitor=False,
    places=WindowPlaces("AdnQywAD", "AAAA/w==", "AAAA"),
    network=NetworkChoice("other", "torch", "fp16", "seg", 513),
    thresholds=Thresholds(0.3, 0.6, 0.25),
    overlays=OverlayStyle(skhm=True, skhm_keypoint=3, offset_target=None, masks=False, pose_opacity=0.25),
)


def test_everything_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "settings.toml"
    save(OTHER, path)
    assert load(path) == (OTHER, "")
    assert [file.name for file in path.parent.iterdir()] == ["settings.toml"]


def test_without_a_file(tmp_path: Path) -> None:
    assert load(tmp_path / "settings.toml") == (Settings(), "")


def test_what_is_missing_or_unknown(tmp_path: Path) -> None:
    """An older file lacks some, a newer one knows more: neither is damaged."""
    path = tmp_path / "settings.toml"
    path.write_text('theme = "light"\nnew = 1\n[thresholds]\nscore = 1\n[later]\nx = 2\n', encoding="utf-8")
    assert load(path) == (Settings(theme="light", thresholds=Thresholds(score=1.0)), "")


@pytest.mark.parametrize(
    "text",
    [
        "theme = ",
        "theme = 3",
        'loop = "yes"',
        "recent = [1]",
        "network = 1",
        '[network]\nmode = "all"',
        "[network]\ninput_size = true",
        "[thresholds]\nperson = 1.5",
        "[overlays]\nskhm_keypoint = 17",
        '[overlays]\nskhm_keypoint = "nose"',
        "\ufffd\x00",
    ],
)
def test_damaged(text: str, tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(text, encoding="utf-8")
    settings, problem = load(path)
    assert settings == Settings()
    assert problem.startswith(f"{path}: the settings were damaged")
    assert "settings.toml.damaged" in problem
    assert not path.exists()
    assert (tmp_path / "settings.toml.damaged").read_text(encoding="utf-8") == text


def test_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_bytes(b'theme = "\xff"')
    assert "damaged" in load(path)[1]


def test_not_a_file(tmp_path: Path) -> None:
    settings, problem = load(tmp_path)
    assert settings == Settings()
    assert "cannot be read" in problem


def test_recent() -> None:
    recent: tuple[str, ...] = ()
    for number in range(RECENT_KEPT + 3):
        recent = with_recent(recent, f"{number}.mp4")
    recent = with_recent(recent, "9.mp4")
    assert len(recent) == RECENT_KEPT
    assert recent[:3] == ("9.mp4", f"{RECENT_KEPT + 2}.mp4", f"{RECENT_KEPT + 1}.mp4")
    assert recent.count("9.mp4") == 1


def test_a_name_that_utf_8_cannot_hold_is_not_kept() -> None:
    assert with_recent(("a.mp4",), "\udcff.mp4") == ("a.mp4",)
