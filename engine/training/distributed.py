"""One run in several processes: who takes part, what they add up, and batch norm over all of their pictures.

`torchrun` starts the processes and says in the environment who is who. Each works on its share of every batch; the
counts that normalise the losses and then the gradients are added up, so that the run is the run of one process but for
rounding. PyTorch's DistributedDataParallel is not used: it fixes at its start which parameters learn, and ours change
when the trunk thaws.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed.nn  # its functions take the group there is now, none, as default: see joined()
from torch import Tensor, distributed, nn

from engine.errors import UserError


@dataclass(frozen=True, slots=True)
class Group:
    """The processes of a run, and this one among them.

    Attributes:
        rank: of this process, from 0. world: how many there are. device: what this one computes on.
    """

    rank: int
    world: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    def summed(self, values: Tensor) -> Tensor:
        """The sum of a tensor of all processes, without gradient."""
        if self.world == 1:
            return values.detach()
        result = values.detach().clone()
        _all_reduce(result)
        return result

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each gradient by its sum over all processes."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        if self.world == 1 or not gradients:
            return
        joint = torch.cat([gradient.flatten() for gradient in gradients])
        _all_reduce(joint)
        for gradient, part in zip(gradients, torch.split(joint, [g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view(gradient.shape))

    def any(self, flag: bool) -> bool:
        """Whether `flag` is set in at least one process; so all of them agree."""
        return bool(self.summed(torch.tensor(float(flag), device=self.device)) > 0) if self.world > 1 else flag


def alone() -> Group:
    """A run in this process only, on CUDA where there is one."""
    return Group(0, 1, torch.device("cuda" if torch.cuda.is_available() else "cpu"))


@contextlib.contextmanager
def joined() -> Iterator[Group]:
    """The group that torchrun started this process for: on a GPU each, or on the CPU where there is none.

    After an error the group is left as it is: the others may be waiting for this process, and torchrun ends them.
    Else its threads are gone when this returns. Had somebody kept the group, as the default arguments of
    torch.distributed.nn do where an optimizer imports that later, they would live on, and one that lets go of a tensor
    while Python ends takes the process down.

    Raises:
        UserError: more processes than GPUs.
    """
    if not distributed.is_torchelastic_launched():
        yield alone()
        return
    gpus, processes = torch.cuda.device_count(), int(os.environ["LOCAL_WORLD_SIZE"])
    if 0 < gpus < processes:
        raise UserError(
            f"torchrun started {processes} processes here, and there are {gpus} GPUs: expected one for each"
        )
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if gpus else torch.device("cpu")
    if gpus:
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if gpus else "gloo")
    yield Group(distributed.get_rank(), distributed.get_world_size(), device)
    distributed.destroy_process_group()


def _all_reduce(values: Tensor) -> None:
    """Replace values by their sum over all processes."""
    try:
        distributed.all_reduce(values)
    except RuntimeError as error:
        raise UserError(f"another process of this run has ended and says why: {error}") from error


class _Sum(torch.autograd.Function):
    """The sum over all processes, through which the gradients of all of them flow back."""

    @staticmethod
    def forward(_: Any, values: Tensor) -> Tensor:
        total = values.clone()
        _all_reduce(total)
        return total

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        _all_reduce(total)
        return total


def _sum(values: Tensor) -> Tensor:
    summed: Tensor = _Sum.apply(values)  # type: ignore[no-untyped-call]
    return summed


class SyncBatchNorm2d(nn.BatchNorm2d):
    """Batch norm by the statistics of all processes' pictures; each has as many. PyTorch's own knows no CPU."""

    def __init__(self, like: nn.BatchNorm2d) -> None:
        super().__init__(like.num_features, like.eps, like.momentum)
        self.share = 0.1 if like.momentum is None else like.momentum
        self.load_state_dict(like.state_dict())

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        x = x.float()
        count = distributed.get_world_size() * x.numel() // x.shape[1]
        mean = _sum(x.sum(dim=(0, 2, 3))) / count
        centred = x - mean[:, None, None]
        variance = _sum(centred.square().sum(dim=(0, 2, 3))) / count
        with torch.no_grad():
            self.get_buffer("running_mean").lerp_(mean, self.share)
            self.get_buffer("running_var").lerp_(variance * (count / (count - 1)), self.share)
            self.get_buffer("num_batches_tracked").add_(1)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return centred * scale[:, None, None] + self.bias[:, None, None]


def synchronise_norms(net: nn.Module) -> None:
    """Replace each batch norm in `net`, keeping its parameters and statistics."""
    for name, module in list(net.named_modules()):
        if type(module) is nn.BatchNorm2d:
            net.set_submodule(name, SyncBatchNorm2d(module))
