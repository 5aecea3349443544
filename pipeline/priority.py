"""Which thread the system prefers where there is more to do than cores: the network's, for all others wait for it.

On two cores that run network, encoder and all else, the network loses a sixth of its pace without this.
"""

import contextlib
import os
import sys
import threading
from typing import Final

NICENESS: Final = 5  # a third of the network's share of a core; far less would starve beside another program


def let_the_network_go_first() -> None:
    """Lower the priority of this thread, and of all it will start. On Linux only; elsewhere nothing happens."""
    if sys.platform == "linux":  # where a thread has a niceness of its own
        thread = threading.get_native_id()
        with contextlib.suppress(OSError):  # it is a wish
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + NICENESS)
