"""What TensorBoard shows of a run: every number of its log, and now and then targets beside predictions."""

import contextlib
import importlib.util
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import torch
from torch import Tensor

from engine.model import InferenceNet, PosePlusSegNet
from engine.modes import HEAD_CHANNELS
from engine.structures import ByteArray
from engine.training.pictures import draw_fields, stack

Sample = tuple[Tensor, dict[str, Tensor]]
_LOSSES: Final = frozenset(["loss", "aux", *HEAD_CHANNELS])


def available() -> bool:
    """Whether the `tensorboard` package is there. A run does without, but then writes log.jsonl alone."""
    return importlib.util.find_spec("tensorboard") is not None


class Board:
    """Writes event files into a folder.

    Raises:
        OSError: they cannot be written; so do its methods, if later than at once, for a thread of its own writes.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        """`first_step`: the next to come; what an interrupted run wrote from there on is forgotten."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=first_step)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        with contextlib.nullcontext() if error is None else contextlib.suppress(OSError):  # one full disk, one message
            self._writer.close()

    def scalars(self, record: Mapping[str, Any]) -> None:
        """One record of the log."""
        for name, value in record.items():
            if name != "step":
                self._writer.add_scalar(f"loss/{name}" if name in _LOSSES else name, value, record["step"])

    def pictures(self, step: int, net: PosePlusSegNet, samples: Iterable[Sample]) -> None:
        """Each sample: its targets above, what `net` says of it below; the panels are those of `draw_fields`."""
        for number, sample in enumerate(samples):
            picture = compare(net, sample)
            self._writer.add_image(f"sample/{number}", picture, step, dataformats="HWC")


@torch.no_grad()
def compare(net: PosePlusSegNet, sample: Sample) -> ByteArray:
    """The fields of a training sample above those that `net`, in eval mode, predicts: uint8 RGB."""
    image, targets = sample
    device = next(net.parameters()).device
    outputs = InferenceNet(net)(image[None].to(device))
    heads = {name: head[0].cpu() for name, head in zip(HEAD_CHANNELS, outputs, strict=True)}
    person = heads["person_map"][0]
    finer = (person.shape[0] - 1) // (heads["mask_offsets"].shape[1] - 1)
    shown = (person[::finer, ::finer] >= 0.5).expand(len(targets["mask_weight"]), -1, -1)
    rows = (
        (targets["keypoint_maps"], targets["person_map"], targets["mask_offsets"], targets["mask_weight"]),
        (heads["keypoint_maps"], person, heads["mask_offsets"], shown),
    )
    return stack([draw_fields(image.numpy(), *(field.numpy() for field in row)) for row in rows])
