"""All odd inputs."""

from functools import cache

from tests.odd_inputs import clips, files, pictures, timing
from tests.odd_inputs.case import OddInput


@cache
def odd_inputs() -> tuple[OddInput, ...]:
    """Every one of them; their names differ."""
    return (*clips.inputs(), *timing.inputs(), *pictures.inputs(), *files.inputs())
