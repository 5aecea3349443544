"""The command line called from within, and small inputs for it."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app import cli


@dataclass(frozen=True)
class Ended:
    """How a call of the program ended."""

    status: int
    out: str
    err: str

    def error_line(self) -> str:
        """The only line on stderr, without its "error: "."""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("error: ")
        return lines[0].removeprefix("error: ")


Call = Callable[..., Ended]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """`main.py ARGUMENTS` in this process."""

    def run(*arguments: object) -> Ended:
        try:
            status = cli.main([str(argument) for argument in arguments])
        except SystemExit as exit_:  # argparse: --help and wrong options
            status = int(exit_.code or 0)
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return Ended(status, out, err)

    return run


@pytest.fixture(scope="session")
def coco_set(sample_still: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A COCO data set of one picture with one person: pictures/ and labels.json. Tests must not change it."""
    folder = tmp_path_factory.mktemp("coco")
    (folder / "pictures").mkdir()
    shutil.copy(sample_still, folder / "pictures" / "a.jpg")
    # Roughly: face, shoulders and hips of the astronaut; x, y, visibility.
    visible = {0: (220, 140), 1: (235, 120), 2: (205, 120), 3: (260, 130), 4: (190, 135), 5: (330, 250), 6: (110, 260)}
    keypoints = [value for index in range(17) for value in (*visible.get(index, (0, 0)), 2 * (index in visible))]
    person: dict[str, Any] = {
        "id": 1,
        "image_id": 7,
        "category_id": 1,
        "bbox": [40, 20, 400, 490],
        "area": 90_000,
        "iscrowd": 0,
        "num_keypoints": len(visible),
        "keypoints": keypoints,
        "segmentation": [[40, 510, 110, 240, 180, 60, 280, 60, 330, 230, 440, 510]],
    }
    labels = {
        "images": [{"id": 7, "file_name": "a.jpg", "width": 512, "height": 512}],
        "annotations": [person],
        "categories": [{"id": 1, "name": "person"}],
    }
    (folder / "labels.json").write_text(json.dumps(labels), encoding="utf-8")
    return folder
