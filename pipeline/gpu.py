"""How busy the first NVIDIA GPU is, where the optional package `pynvml` (nvidia-ml-py) and a driver are there."""

import importlib
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class GpuFigures:
    """The whole device, not this program alone.

    Attributes:
        name: as the driver calls it.
        percent: share of the last moments in which it worked, 0 to 100.
        memory_mb: memory in use, 1e6 bytes.
    """

    name: str
    percent: float
    memory_mb: float


class GpuMeter:
    """Reads the first GPU's figures through NVML."""

    def __init__(self, nvml: Any) -> None:
        """`nvml` is the module pynvml. Raises its NVMLError where there is no driver or no GPU."""
        nvml.nvmlInit()
        self._nvml = nvml
        self._device = nvml.nvmlDeviceGetHandleByIndex(0)
        name = nvml.nvmlDeviceGetName(self._device)
        self._name = name.decode() if isinstance(name, bytes) else str(name)  # bytes in older versions

    @classmethod
    def find(cls) -> Self | None:
        """A meter, or None where the package, the driver or the GPU is missing."""
        try:
            nvml = importlib.import_module("pynvml")
        except ImportError:
            return None
        try:
            return cls(nvml)
        except nvml.NVMLError:
            return None

    def read(self) -> GpuFigures | None:
        """The figures of this moment; None once the GPU does not answer any more."""
        try:
            percent = float(self._nvml.nvmlDeviceGetUtilizationRates(self._device).gpu)
            memory_mb = self._nvml.nvmlDeviceGetMemoryInfo(self._device).used / 1e6
        except self._nvml.NVMLError:
            return None
        return GpuFigures(self._name, percent, memory_mb)
