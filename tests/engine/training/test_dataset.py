"""Samples of the training set: picture and targets agree, bad pictures are left out, the mix is what was asked for."""

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from engine.coco import Picture
from engine.errors import UserError
from engine.skeleton import FLIP_KEYPOINTS
from engine.training.augmentation import Augmentation
from engine.training.dataset import DataPart, TrainingSet, make_sample

Annotate = Callable[..., dict[str, Any]]
MakePart = Callable[..., DataPart]
GEOMETRY_ONLY = Augmentation(
    least_zoom=0.8,
    most_zoom=1.6,
    rotate_share=0.7,
    paste_share=0,
    colour=0,
    tint=0,
    saturation=0,
    hue_degrees=0,
    grey_share=0,
    blur_share=0,
    jpeg_share=0,
)


def red_of(annotation: dict[str, Any]) -> dict[int, int]:
    """Markers are told apart by their red; green is the mask's, blue says "marker"."""
    labelled = np.flatnonzero(np.reshape(annotation["keypoints"], (17, 3))[:, 2])
    return {int(k): 40 + 40 * n for n, k in enumerate(labelled)}


@pytest.fixture
def picture(annotate: Annotate, tmp_path: Path) -> Picture:
    """Black, the person green, a blue and red square of 7 px on each keypoint."""
    image = np.zeros((220, 300, 3), np.uint8)
    one = annotate()
    x, y, width, height = one["bbox"]
    image[y : y + height, x : x + width, 1] = 255
    for k, red in red_of(one).items():
        px, py, _ = np.reshape(one["keypoints"], (17, 3))[k].astype(int)
        image[py - 3 : py + 4, px - 3 : px + 4] = (255, 255, red)
    cv2.imwrite(str(tmp_path / "markers.png"), image)
    return Picture(1, tmp_path / "markers.png", 300, 220, (one,))


def test_picture_keypoints_and_masks_move_alike(picture: Picture) -> None:
    """Where the targets place a keypoint the picture shows its marker, and the person map is where it is green."""
    red, flips, seen = red_of(picture.annotations[0]), set(), 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        image, targets = make_sample(picture, 193, 8, 4, 32.0, GEOMETRY_ONLY, rng, all_people_listed=True)
        assert (image.shape, image.dtype) == ((193, 193, 3), np.uint8)
        colours = {}
        for k in range(17):
            disk = np.argwhere(targets.keypoint_maps[k] == 1)
            if len(disk):
                i, j = disk[0]
                x, y = np.round(targets.short_offsets[2 * k : 2 * k + 2, i, j] + (j * 8, i * 8)).astype(int)
                if 3 <= x < 190 and 3 <= y < 190:
                    colours[k] = image[y, x].astype(int)
        seen += len(colours)
        straight = all(k in red and abs(c[2] - red[k]) < 15 for k, c in colours.items())
        flipped = all(FLIP_KEYPOINTS[k] in red and abs(c[2] - red[FLIP_KEYPOINTS[k]]) < 15 for k, c in colours.items())
        assert straight or flipped
        assert all(c[0] > 230 for c in colours.values())
        if straight != flipped:
            flips.add(flipped)
        green = image[::4, ::4, 1].astype(float) / 255
        certain = (targets.person_map < 0.1) | (targets.person_map > 0.9)
        assert certain.mean() > 0.8
        assert np.abs(green - targets.person_map)[certain].max() < 0.5
    assert flips == {True, False}
    assert seen > 36


# --- the training set -------------------------------------------------------------------------------------------------


@pytest.fixture
def make_part(picture: Picture, tmp_path: Path) -> MakePart:
    """A data part of `count` copies of the picture, each with the given people."""

    def make(name: str, people: list[dict[str, Any]], *, count: int = 1, **options: Any) -> DataPart:
        folder = tmp_path / name
        folder.mkdir()
        images, annotations = [], []
        for n in range(1, count + 1):
            shutil.copy(picture.path, folder / f"{n}.png")
            images.append({"id": n, "file_name": f"{n}.png", "width": 300, "height": 220})
            annotations += [{**one, "id": len(annotations) + i, "image_id": n} for i, one in enumerate(people, start=1)]
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps({"images": images, "annotations": annotations}), encoding="utf-8")
        return DataPart(folder, path, **options)

    return make


def training_set(parts: list[DataPart], augmentation: Augmentation | None = None, **changes: Any) -> TrainingSet:
    numbers = {"size": 97, "stride": 8, "person_stride": 4, "radius": 32.0, "seed": 3, "length": 8}
    return TrainingSet(parts, augmentation=augmentation or Augmentation(), **(numbers | changes))


def equal(a: tuple[torch.Tensor, dict[str, torch.Tensor]], b: tuple[torch.Tensor, dict[str, torch.Tensor]]) -> bool:
    return torch.equal(a[0], b[0]) and all(torch.equal(a[1][name], b[1][name]) for name in a[1])


def test_a_sample_depends_on_seed_and_number_alone(make_part: MakePart, annotate: Annotate) -> None:
    parts = [make_part("a", [annotate()]), make_part("b", [annotate()], all_people_listed=False)]
    pasting = Augmentation(paste_share=0.5)
    samples, longer = training_set(parts, pasting), training_set(parts, pasting, length=20)
    assert (len(samples), len(longer)) == (8, 20)
    later = longer[7]
    assert equal(samples[7], later)
    assert not equal(samples[6], later)
    assert not equal(training_set(parts, pasting, seed=4)[7], later)
    image, targets = later
    assert (image.dtype, tuple(image.shape)) == (torch.uint8, (97, 97, 3))
    assert {t.dtype for t in targets.values()} == {torch.float32}


def test_data_processes_make_the_same_samples(make_part: MakePart, annotate: Annotate) -> None:
    samples = training_set([make_part("a", [annotate()], count=3)], Augmentation(paste_share=0.5))
    batches = list(DataLoader(samples, batch_size=2, num_workers=2))
    assert [len(images) for images, _ in batches] == [2, 2, 2, 2]
    for n in range(8):
        images, targets = batches[n // 2]
        assert equal(samples[n], (images[n % 2], {name: field[n % 2] for name, field in targets.items()}))


def test_parts_are_drawn_by_their_shares(make_part: MakePart, annotate: Annotate) -> None:
    """The parts differ in whether anything far from the labelled is known."""
    listed = make_part("a", [annotate()], share=3)
    partial = make_part("b", [annotate(bbox=[200, 150, 4, 4])], share=1, all_people_listed=False)

    def known(*parts: DataPart) -> list[bool]:
        samples = training_set(list(parts), replace(GEOMETRY_ONLY, person_share=0.0), length=40, size=65)
        return [bool((samples[n][1]["person_weight"] > 0).all()) for n in range(40)]

    assert 22 <= sum(known(listed, partial)) <= 38
    assert all(known(listed, replace(partial, share=0.0)))
    with pytest.raises(UserError, match="one must be above zero"):
        training_set([replace(partial, share=0.0)])


def test_a_file_without_people_is_refused(make_part: MakePart) -> None:
    with pytest.raises(UserError, match=r"a\.json: no picture with a labelled person"):
        training_set([make_part("a", [])])


def test_official_files_as_they_are(make_part: MakePart, annotate: Annotate) -> None:
    """No flags of our own; a crowd as run lengths, people too small for keypoints, pictures with nobody."""
    nothing = {"keypoints": [0] * 51, "num_keypoints": 0}
    crowd_rle = {"size": [220, 300], "counts": [0, 60 * 220, 240 * 220]}  # columns 0 to 59
    crowd = annotate(iscrowd=1, bbox=[0, 0, 60, 220], segmentation=crowd_rle, **nothing)
    small = annotate(bbox=[240, 20, 24, 24], segmentation=[[240, 20, 264, 20, 264, 44, 240, 44]], **nothing)
    part = make_part("a", [annotate(), crowd, small])
    labels = json.loads(part.annotations.read_text())
    labels["images"].append({"id": 9, "file_name": "never_read.jpg", "width": 10, "height": 10})
    part.annotations.write_text(json.dumps(labels))
    still = replace(GEOMETRY_ONLY, least_zoom=1, most_zoom=1, rotate_share=0, flip_share=0, person_share=0)
    samples = training_set([part], still, size=321)
    assert len(samples.parts[0].pictures) == 1
    targets = {name: field.numpy() for name, field in samples[0][1].items()}
    # The picture lies in the middle: its pixel (x, y) at (x + 10, y + 50).
    assert (targets["keypoint_weight"][:, 10:30, 3:8] == 0).all()
    assert (targets["person_weight"][15:65, 4:16] == 0).all()
    assert (targets["keypoint_weight"][1, 9:11, 32:34] == 0).all()
    assert (targets["person_map"][19:22, 64:67] == 1).all()
    assert (targets["person_weight"][19:22, 64:67] > 0).all()
    assert targets["centroid_weight"][10, 33] > 0
    assert targets["centroid_weight"][20, 5] == 0
    assert targets["keypoint_weight"][:, 20, 20].all()


def test_pasted_people_come_from_any_part_that_is_drawn(make_part: MakePart, annotate: Annotate) -> None:
    poor = make_part("a", [annotate(segmentation=[])])
    rich = make_part("b", [annotate()], count=2)
    always = replace(GEOMETRY_ONLY, paste_share=1.0)
    assert training_set([poor, rich], always).donors.tolist() == [[1, 0], [1, 1]]
    assert len(training_set([poor, replace(rich, share=0.0)], always).donors) == 0
    without, with_people = training_set([poor, rich], GEOMETRY_ONLY), training_set([poor, rich], always)
    assert sum(not equal(without[n], with_people[n]) for n in range(8)) >= 6


# --- bad pictures -----------------------------------------------------------------------------------------------------


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_a_missing_picture_is_named_and_never_drawn(
    make_part: MakePart, annotate: Annotate, caplog: pytest.LogCaptureFixture
) -> None:
    part = make_part("a", [annotate()], count=200)
    (part.images / "7.png").unlink()
    (part.images / "9.png").write_bytes(b"")
    samples = training_set([part], length=400)
    (message,) = messages(caplog)
    assert message.startswith(f"{part.annotations}: left out 2 of 200 pictures so far: {part.images / '7.png'}: cannot")
    assert message.endswith(f"{part.images / '9.png'}: is empty")
    names = [picture.path.name for picture in samples.parts[0].pictures]
    assert len(names) == 198
    assert not {"7.png", "9.png"} & set(names)
    (part.images / "8.png").unlink()
    with pytest.raises(UserError, match=r"a\.json: 3 of 200 pictures cannot be used, the first: .*7\.png: cannot read"):
        training_set([part])


def test_a_picture_that_turns_out_broken_is_replaced(
    make_part: MakePart, annotate: Annotate, caplog: pytest.LogCaptureFixture
) -> None:
    """Whether it was to be shown or to be cut from; all other samples are what they were."""
    part = make_part("a", [annotate()], count=100)
    broken, numbers = part.images / "8.png", {"length": 150, "size": 33}
    always = Augmentation(paste_share=1.0)
    whole = training_set([part], always, **numbers)
    before = [whole[n] for n in range(150)]
    cv2.imwrite(str(broken), np.zeros((10, 20, 3), np.uint8))
    after = training_set([part], always, **numbers)
    changed = [n for n in range(150) if not equal(before[n], after[n])]
    assert 0 < len(changed) < 10
    reason = f"{broken}: is 20x10, its labels are for 300x220"
    assert messages(caplog) == [f"{part.annotations}: left out 1 of 100 pictures so far: {reason}"]
    again = training_set([part], always, **numbers)
    assert all(equal(after[n], again[n]) for n in changed)
    shutil.copy(broken, part.images / "9.png")
    worse = training_set([part], always, **numbers)
    with pytest.raises(UserError, match=r"a\.json: 2 of 100 pictures cannot be used, the first: .*\.png: is 20x10"):
        list(map(worse.__getitem__, range(150)))


def test_a_broken_donor_counts_against_its_own_part(make_part: MakePart, annotate: Annotate) -> None:
    few = make_part("few", [annotate(segmentation=[])], count=2)
    many = make_part("many", [annotate()], count=100, share=1e-9)
    (many.images / "3.png").write_bytes(b"no picture")
    samples = training_set([few, many], Augmentation(paste_share=1.0), length=300, size=33)
    for n in range(300):
        samples[n]
    assert [len(part.bad) for part in samples.parts] == [0, 1]
