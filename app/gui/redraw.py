"""Draws a held picture again: the newest wish wins, and the window does not wait for it."""

from collections.abc import Callable

from app.gui.background import Background
from pipeline.frames import Rendered


class Redrawer:
    """Calls `draw` in a thread, once at a time; wishes that come meanwhile are worked off in one go.

    Attributes:
        busy: whether a wish is not worked off yet.
    """

    def __init__(
        self,
        background: Background,
        draw: Callable[[Rendered, bool], Rendered],
        done: Callable[[Rendered], None],
        failed: Callable[[Exception], None],
    ) -> None:
        """Nothing is drawn yet.

        Args:
            draw: a picture, and whether to ask the network again, to the picture drawn again; in the other thread.
            done: gets the picture that was drawn again; in the GUI's thread.
            failed: gets an error of `draw`; in the GUI's thread.
        """
        self._background = background
        self._draw = draw
        self._done = done
        self._failed = failed
        self.busy = False
        self._wanted: Rendered | None = None
        self._ask_network = False

    def request(self, rendered: Rendered, ask_network: bool = False) -> None:
        """Draw this picture again as soon as possible."""
        self._wanted = rendered
        self._ask_network |= ask_network
        if not self.busy:
            self._start()

    def _start(self) -> None:
        before, ask_network = self._wanted, self._ask_network
        self._wanted, self._ask_network = None, False
        self.busy = before is not None
        if before is None:
            return

        def done(after: Rendered) -> None:
            self._done(after)
            self._start()

        def failed(error: Exception) -> None:
            self._failed(error)
            self._start()

        self._background.run("redraw", lambda: self._draw(before, ask_network), done, failed)
