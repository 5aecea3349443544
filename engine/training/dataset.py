"""Pictures and labels to training samples: one random affine for picture, keypoints and masks, then the encoding.

Sample number n of a run depends on (seed, n) alone, so a resumed run sees exactly what the uninterrupted one would.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from engine import coco
from engine.coco import BadPictureError, BadPictures, Picture
from engine.encode import Targets, encode
from engine.errors import UserError
from engine.structures import ByteArray
from engine.training.augmentation import Augmentation, degrade, random_affine, recolour, warp_image
from engine.training.config import TrainConfig
from engine.training.packed import PackedList
from engine.training.paste import can_be_pasted, paste_people
from engine.training.people import warp_people


@dataclass(frozen=True, slots=True)
class DataPart:
    """One annotation file in a mix.

    Attributes:
        images, annotations: folder of pictures and COCO file.
        share: how often it is drawn, relative to the other parts.
        all_people_listed: False where people may stand unlabelled in the pictures.
    """

    images: Path
    annotations: Path
    share: float = 1.0
    all_people_listed: bool = True


class TrainingSet(Dataset[tuple[Tensor, dict[str, Tensor]]]):
    """`length` samples drawn from a weighted mix of data parts: (image uint8 (S, S, 3) BGR, targets by name).

    A picture that cannot be used is left out, and the sample drawn anew. Every data process counts for itself what it
    finds; more than 1 % of a part's pictures end the run.
    """

    def __init__(
        self,
        parts: list[DataPart],
        *,
        size: int,
        stride: int,
        person_stride: int,
        radius: float,
        augmentation: Augmentation,
        seed: int,
        length: int,
    ) -> None:
        shares = np.array([part.share for part in parts], dtype=np.float64)
        if not len(parts) or shares.min() < 0 or shares.sum() <= 0:
            raise UserError("the training mix: shares must not be negative, and one must be above zero")
        self.shares = shares / shares.sum()
        self.parts = [_LoadedPart(part) for part in parts]
        # Everybody who can be pasted is drawn as often, whichever part he is from: (index of part, of picture).
        self.donors = np.array([(n, i) for n, part in enumerate(self.parts) for i in part.donors], dtype=np.int32)
        self.size, self.stride, self.person_stride, self.radius = size, stride, person_stride, radius
        self.augmentation, self.seed, self.length = augmentation, seed, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        rng = np.random.default_rng((self.seed, index))
        while True:
            part = self.parts[int(rng.choice(len(self.parts), p=self.shares))]
            picture = part.pictures[int(rng.integers(len(part.pictures)))]
            giver, donor = part, None
            if len(self.donors) and rng.random() < self.augmentation.paste_share:
                n, i = self.donors[int(rng.integers(len(self.donors)))].tolist()
                giver, donor = self.parts[n], self.parts[n].pictures[i]
            try:
                image, targets = make_sample(
                    picture,
                    self.size,
                    self.stride,
                    self.person_stride,
                    self.radius,
                    self.augmentation,
                    rng,
                    all_people_listed=part.all_people_listed,
                    donor=donor,
                )
            except BadPictureError as error:
                (part if error.path == picture.path else giver).bad.add(error)
                continue
            named = {name: torch.from_numpy(getattr(targets, name)) for name in Targets.__slots__}
            return torch.from_numpy(image), named


def training_set(config: TrainConfig, parts: list[DataPart]) -> TrainingSet:
    """All the samples of a run."""
    return TrainingSet(
        parts,
        size=config.size,
        stride=config.net.stride,
        person_stride=config.net.person_stride,
        radius=config.radius,
        augmentation=config.augmentation,
        seed=config.seed,
        length=config.steps * config.batch,
    )


class _LoadedPart:
    """The usable pictures of a part, which of them have somebody who can be pasted, and the bad ones so far."""

    def __init__(self, part: DataPart) -> None:
        with_people = [p for p in coco.read_pictures(part.images, part.annotations) if p.annotations]
        if not with_people:
            raise UserError(f"{part.annotations}: no picture with a labelled person")
        self.bad = BadPictures(part.annotations, len(with_people))
        usable = coco.readable(with_people, self.bad)
        self.donors = [
            n for n, p in enumerate(usable) if part.share > 0 and any(can_be_pasted(a, p) for a in p.annotations)
        ]
        self.pictures = PackedList(usable)
        self.all_people_listed = part.all_people_listed


def make_sample(
    picture: Picture,
    size: int,
    stride: int,
    person_stride: int,
    radius: float,
    augmentation: Augmentation,
    rng: np.random.Generator,
    *,
    all_people_listed: bool,
    donor: Picture | None = None,
) -> tuple[ByteArray, Targets]:
    """One augmented sample: image uint8 (size, size, 3) BGR and its targets.

    With a `donor`, some of its people are pasted in.

    Raises:
        BadPictureError: the picture or the donor.
    """
    image = coco.read_picture(picture)
    flip = bool(rng.random() < augmentation.flip_share)
    matrix = random_affine(picture, size, augmentation, rng, flip=flip)
    warped = warp_image(image, matrix, size)
    inside = np.ones(image.shape[:2], np.uint8)
    shown = cv2.warpAffine(inside, matrix, (size, size), flags=cv2.INTER_NEAREST).astype(bool)
    people = warp_people(picture, matrix, (size, size), flip=flip)
    if donor is not None:
        warped, people = paste_people(warped, people, shown, donor, augmentation, rng)
    targets = encode(
        people,
        (size, size),
        stride,
        person_stride,
        radius,
        all_people_listed=all_people_listed,
        picture=shown,
    )
    return degrade(recolour(warped, augmentation, rng), augmentation, rng), targets
