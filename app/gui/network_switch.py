"""The network in use: it goes on while the next one is opened, and is exchanged between two pictures."""

import threading

from PyQt6.QtCore import QObject, pyqtSignal

from app.gui.background import Background
from app.gui.network import NetworkChoice, Thresholds, open_network
from engine.estimator import Estimator
from engine.structures import ByteArray, Heads, Instances


class NetworkSwitch(QObject):
    """Owns the estimator in use. `infer` and `decode` are for the pipeline's threads, all else for the GUI's.

    Attributes:
        choice: what runs; text: the same in words, "mobile on onnx cpu int8, input 641 px".
        wanted: what was chosen last, though it may still be loading, or have failed.

    Signals:
        ready: another network runs from the next picture on.
        changed: the `NetworkChoice` that runs and what it is in words; also after a failure, to go back to.
        loading: a line about what is being loaded, "" when it is done.
        failed: the exception.
    """

    ready = pyqtSignal()
    changed = pyqtSignal(object, str)
    loading = pyqtSignal(str)
    failed = pyqtSignal(object)

    def __init__(self, background: Background, thresholds: Thresholds) -> None:
        super().__init__()
        self.choice = self.wanted = NetworkChoice()
        self.text = ""
        self._background = background
        self._thresholds = thresholds
        self._estimator: Estimator | None = None
        self._in_use = threading.Lock()  # held while the network runs: it is closed only between two pictures
        self._calls = 0  # of several wishes only the last one counts

    @property
    def loaded(self) -> bool:
        """Whether there is a network to run."""
        return self._estimator is not None

    def choose(self, choice: NetworkChoice) -> None:
        """Open this network, and use it when it is ready."""
        self._calls += 1
        call = self._calls
        self.wanted = choice
        text = self.tr("Loading the network {}…").format(choice.model)
        if not self.loaded:
            text += "\n" + self.tr("On its very first start the program is compiled, which takes about a minute.")
        self.loading.emit(text)

        def work() -> tuple[Estimator, str]:
            estimator, text = open_network(choice, self._thresholds)
            if call == self._calls:
                self._exchange(estimator)
            else:
                estimator.close()
            return estimator, text

        def done(opened: tuple[Estimator, str]) -> None:
            if call == self._calls:
                self.choice, self.text = choice, opened[1]
                self.set_thresholds(self._thresholds)  # they may have been moved meanwhile
                self._tell()
                self.ready.emit()

        def failed(error: Exception) -> None:
            if call == self._calls:
                self._tell()
                self.failed.emit(error)

        self._background.run("network", work, done, failed)

    def set_thresholds(self, thresholds: Thresholds) -> None:
        """Use these numbers from the next picture on."""
        self._thresholds = thresholds
        if self._estimator is not None:
            self._estimator.config = thresholds.applied_to(self._estimator.config)

    def infer(self, image: ByteArray) -> Heads:
        """What the network says about a BGR uint8 (H, W, 3) picture."""
        with self._in_use:
            return self._loaded().infer(image)

    def decode(self, heads: Heads) -> Instances:
        """Everybody these heads show, with the thresholds as they are now."""
        return self._loaded().decode(heads)

    def close(self) -> None:
        """Close the network; a second call does nothing."""
        self._calls += 1
        self._exchange(None)

    def _loaded(self) -> Estimator:
        if self._estimator is None:
            raise RuntimeError("no network is loaded")
        return self._estimator

    def _exchange(self, estimator: Estimator | None) -> None:
        with self._in_use:
            before, self._estimator = self._estimator, estimator
        if before is not None:
            before.close()

    def _tell(self) -> None:
        self.loading.emit("")
        self.changed.emit(self.choice, self.text)
