"""Options to settings, and settings to JSON and back."""

import argparse
import json
import math

import pytest

from app.run_settings import RunSettings, add_run_arguments, every, moment
from engine.errors import UserError


def settings(*words: str) -> RunSettings:
    parser = argparse.ArgumentParser()
    add_run_arguments(parser)
    return RunSettings.of(parser.parse_args(words))


def test_without_options() -> None:
    assert settings() == RunSettings()
    assert RunSettings().cut.end_s == math.inf


def test_all_options() -> None:
    words = "--save csv,video --overlay bhm,pose --show-scores --smooth --start 1:02 --end 1:00:00.5 --every 0.5s"
    chosen = settings(
        *words.split(), "--max-frames", "9", "--min-score", "0.3", "--mode", "pose", "--input-size", "401"
    )
    assert chosen.save == ("video", "csv")
    assert chosen.overlay == ("bhm", "pose")
    assert chosen.style.needs_heads
    assert (chosen.start_s, chosen.end_s, chosen.every_frames, chosen.every_s) == (62.0, 3600.5, 1, 0.5)
    assert (chosen.track, chosen.smooth, chosen.show_scores, chosen.max_frames) == (True, True, True, 9)
    assert (chosen.min_score, chosen.mode, chosen.input_size) == (0.3, "pose", 401)
    assert chosen.cut.max_frames == 9


def test_a_way_through_json() -> None:
    chosen = settings("--save", "coco", "--end", "3", "--set", "grouping=strict")
    assert RunSettings.from_record(json.loads(json.dumps(chosen.record()))) == chosen
    assert RunSettings.from_record(json.loads(json.dumps(RunSettings().record()))) == RunSettings()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--start", "5", "--end", "5"), "--end 5: lies before --start 5"),
        (("--smooth", "--no-track"), "--smooth needs to know who is who"),
    ],
)
def test_options_that_contradict_each_other(words: tuple[str, ...], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        settings(*words)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("7.25", 7.25), (".5", 0.5), ("90", 90), ("1:30", 90), ("01:02:03.5", 3723.5), ("100:00:00", 360_000)],
)
def test_moments(text: str, seconds: float) -> None:
    assert moment(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "-1", "1:2:3:4", "1:60", "60:00:00:00", "1:75:00", "inf", "nan", "1e3", "1,5", " 1"]
)
def test_no_moments(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        moment(text)


@pytest.mark.parametrize(
    ("text", "value"), [("1", (1, 0.0)), ("25", (25, 0.0)), ("0.5s", (1, 0.5)), ("10s", (1, 10.0))]
)
def test_every(text: str, value: tuple[int, float]) -> None:
    assert every(text) == value


@pytest.mark.parametrize("text", ["0", "-3", "0.5", "s", "0s", "-1s", "infs", "nans", "x"])
def test_not_every(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        every(text)
