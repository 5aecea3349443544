"""A labelled person, three pictures with a person each, and the smallest run that trains on them."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from engine.model import NetConfig
from engine.training.config import TrainConfig
from engine.training.dataset import DataPart, training_set

BODY = (90, 60, 120, 100)  # x, y, width, height of the mask, a rectangle
PLACES = {0: (150, 75), 5: (180, 90), 6: (115, 85), 11: (190, 140), 12: (105, 135), 15: (150, 150)}

MakeBatch = Callable[[TrainConfig], tuple[Tensor, dict[str, Tensor]]]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """So small networks gain nothing from more, and lose much where other programs use the cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def annotate() -> Callable[..., dict[str, Any]]:
    """A COCO annotation of a person in a picture of 300 x 220 px, with whatever is given in place of its own."""

    def annotation(**changes: Any) -> dict[str, Any]:
        x, y, width, height = BODY
        keypoints = np.zeros((17, 3))
        for k, place in PLACES.items():
            keypoints[k] = (*place, 2)
        return {
            "id": 1,
            "image_id": 1,
            "category_id": 1,
            "bbox": list(BODY),
            "area": width * height,
            "iscrowd": 0,
            "num_keypoints": len(PLACES),
            "keypoints": keypoints.ravel().tolist(),
            "segmentation": [[x, y, x + width, y, x + width, y + height, x, y + height]],
        } | changes

    return annotation


@pytest.fixture(scope="session")
def tiny() -> TrainConfig:
    """A run of four steps."""
    net = NetConfig("mobile", refine_width=8, outline_width=8)
    return TrainConfig(net, size=65, steps=4, frozen_steps=1, warmup_steps=1, batch=2, workers=0, picture_steps=0)


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[DataPart]:
    """Three pictures of noise with a rectangular person each."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    images, people = [], []
    for n in range(3):
        image = rng.integers(0, 90, (72, 96, 3)).astype(np.uint8)
        x, y, width, height = 20 + 8 * n, 8, 36, 56
        image[y : y + height, x : x + width] += 120
        cv2.imwrite(str(folder / f"{n}.png"), image)
        keypoints = np.full((17, 3), 2.0)
        keypoints[:, :2] = rng.uniform(0, 1, (17, 2)) * (width, height) + (x, y)
        images.append({"id": n, "file_name": f"{n}.png", "width": 96, "height": 72})
        corners = [x, y, x + width, y, x + width, y + height, x, y + height]
        people.append(
            {
                "id": n,
                "image_id": n,
                "category_id": 1,
                "bbox": [x, y, width, height],
                "keypoints": keypoints.ravel().tolist(),
                "segmentation": [corners],
            }
        )
    (folder / "people.json").write_text(json.dumps({"images": images, "annotations": people}), encoding="utf-8")
    return [DataPart(folder, folder / "people.json")]


@pytest.fixture(scope="session")
def make_batch(parts: list[DataPart]) -> MakeBatch:
    """The first batch of a run."""

    def make(config: TrainConfig) -> tuple[Tensor, dict[str, Tensor]]:
        data = training_set(config, parts)
        images, targets = zip(*(data[n] for n in range(config.batch)), strict=True)
        return torch.stack(images), {name: torch.stack([t[name] for t in targets]) for name in targets[0]}

    return make
