"""Another network while the picture goes on."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pytestqt.qtbot import QtBot

from app.gui.application import Application
from app.gui.network import NetworkChoice, Thresholds
from app.gui.settings import Settings, save
from engine.decode_config import DecodeConfig
from engine.errors import UserError

DEADLINE_MS = 30_000
Start = Callable[..., Application]


@pytest.fixture
def looping(start: Start, clip: Path) -> Application:
    app = start(clip)
    app.player.set_loop(True)
    return app


@pytest.fixture
def gate(networks: Any) -> Iterator[threading.Event]:
    """Networks open only when this is set."""
    event = threading.Event()
    yield event
    event.set()


def choose(app: Application, **values: object) -> None:
    """As the user does, in the lists of the panel."""
    for name, value in values.items():
        choice = app.window.network_panel.lists[name]
        data = [choice.itemData(index) for index in range(choice.count())]
        choice.setCurrentIndex(data.index(value))
        choice.activated.emit(data.index(value))


def test_picture_goes_on_until_the_new_one_is_ready(
    looping: Application, networks: Any, gate: threading.Event, qtbot: QtBot
) -> None:
    app, before = looping, looping.network._estimator
    networks.before = lambda choice: gate.wait(20)
    choose(app, mode="pose")
    assert "Loading" in app.window.status["loading"].text()
    for _ in range(3):
        with qtbot.waitSignal(app.player.shown, timeout=DEADLINE_MS):
            pass
    assert app.network._estimator is before
    gate.set()
    qtbot.waitUntil(lambda: app.network.choice.mode == "pose", timeout=DEADLINE_MS)
    assert app.network._estimator is not before
    assert networks.asked[-1] == NetworkChoice(mode="pose")
    assert app.window.status["loading"].text() == ""
    with qtbot.waitSignal(app.player.shown, timeout=DEADLINE_MS):
        pass


def test_every_list_asks_for_its_own(looping: Application, networks: Any, qtbot: QtBot) -> None:
    for name, value in (("backend", "onnx"), ("precision", "fp32"), ("mode", "seg"), ("input_size", 513)):
        choose(looping, **{name: value})
        qtbot.waitUntil(lambda: getattr(looping.network.choice, name) == value, timeout=DEADLINE_MS)  # noqa: B023
    assert networks.asked[-1] == NetworkChoice(backend="onnx", precision="fp32", mode="seg", input_size=513)


def test_failure_keeps_what_runs(looping: Application, networks: Any, qtbot: QtBot) -> None:
    def fail(choice: NetworkChoice) -> None:
        raise UserError("torch is not installed: pip install torch")

    networks.before = fail
    choose(looping, backend="torch")
    qtbot.waitUntil(looping.window.message.isVisible, timeout=DEADLINE_MS)
    assert "pip install torch" in looping.window.message.text
    assert looping.window.network_panel.lists["backend"].currentText() == "auto"
    with qtbot.waitSignal(looping.player.shown, timeout=DEADLINE_MS):
        pass


def test_of_several_choices_the_last_one_counts(
    looping: Application, networks: Any, gate: threading.Event, qtbot: QtBot
) -> None:
    """Even if an earlier one takes longer."""
    networks.before = lambda choice: gate.wait(20) if choice.mode == "pose" else None
    choose(looping, mode="pose")
    looping.network.choose(NetworkChoice(mode="seg"))
    qtbot.waitUntil(lambda: looping.network.choice.mode == "seg", timeout=DEADLINE_MS)
    running = looping.network._estimator
    gate.set()
    qtbot.wait(200)
    assert looping.network.choice.mode == "seg"
    assert looping.network._estimator is running


def test_standing_picture_is_looked_at_again(still: Application, qtbot: QtBot) -> None:
    heads = still.player.last.result.heads
    choose(still, input_size=641)
    qtbot.waitUntil(lambda: still.player.last.result.heads is not heads, timeout=DEADLINE_MS)


def test_network_of_the_settings_that_is_not_there_any_more(
    settings_path: Path, networks: Any, clip: Path, qtbot: QtBot, request: pytest.FixtureRequest
) -> None:
    def fail(choice: NetworkChoice) -> None:
        if choice.model != "mobile":
            raise UserError(f"unknown model {choice.model!r}")

    networks.before = fail
    save(Settings(network=NetworkChoice(model="gone")), settings_path)
    app = request.getfixturevalue("start")(clip)
    assert "gone" in app.window.message.text
    assert app.network.choice == NetworkChoice()


def test_thresholds_in_the_config() -> None:
    config = Thresholds(0.3, 0.6, 0.2).applied_to(DecodeConfig())
    assert (config.min_score, config.person_threshold, config.distance_threshold) == (0.3, 0.6, 0.2)
    assert config.cluster_distance == DecodeConfig().cluster_distance
    assert Thresholds(distance=0.2).applied_to(DecodeConfig(mode="seg")).cluster_distance == 0.2
    assert Thresholds(distance=0.0).applied_to(DecodeConfig()).distance_threshold > 0
    with pytest.raises(ValueError, match="person"):
        Thresholds(person=1.1)


def test_thresholds_moved_while_loading_hold(
    looping: Application, networks: Any, gate: threading.Event, qtbot: QtBot
) -> None:
    networks.before = lambda choice: gate.wait(20)
    choose(looping, mode="pose")
    looping.commands.set_thresholds(Thresholds(score=0.9))
    gate.set()
    qtbot.waitUntil(lambda: looping.network.choice.mode == "pose", timeout=DEADLINE_MS)
    assert looping.network._estimator.config.min_score == 0.9
