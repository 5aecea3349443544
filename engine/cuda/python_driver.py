"""CUDA through NVIDIA's cuda-python: wheels for every system, kernels compiled by NVRTC."""

import contextlib
import ctypes
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from engine.cuda.driver import CudaError, Gpu, OutOfGpuMemoryError, version_text
from engine.cuda.nvidia_driver import NvidiaDriver
from engine.structures import ByteArray


class PythonDriver(NvidiaDriver):
    """A `CudaDriver` on `cuda.bindings`."""

    name = "cuda-python"

    def __init__(self) -> None:
        """Open the first GPU. Raises CudaError where there is no driver, it is too old, or no GPU."""
        try:
            from cuda.bindings import driver
        except (ImportError, OSError, RuntimeError) as error:
            raise CudaError(f"does not load: {error}") from error
        self._cuda: Any = driver
        super().__init__()  # which also says it best where there is no driver
        self._call("cuInit", 0)
        self._device = self._call("cuDeviceGet", 0)
        attribute = driver.CUdevice_attribute
        major, minor = (
            self._call("cuDeviceGetAttribute", getattr(attribute, f"CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_{part}"),
                       self._device)
            for part in ("MAJOR", "MINOR")
        )  # fmt: skip
        self.gpu = Gpu(
            name=self._call("cuDeviceGetName", 256, self._device).split(b"\0")[0].decode(),
            capability=f"{major}.{minor}",
            driver=version_text(self._call("cuDriverGetVersion")),
            memory=self._call("cuDeviceTotalMem", self._device),
        )
        self._context = self._call("cuDevicePrimaryCtxRetain", self._device)
        self._closers: list[tuple[str, Any]] = []
        self._buffers: set[int] = set()

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        self._call("cuCtxPushCurrent", self._context)
        try:
            yield
        finally:
            self._call("cuCtxPopCurrent")

    def new_stream(self) -> int:
        return self._made("cuStreamDestroy", self._call("cuStreamCreate", 1))  # 1: non-blocking

    def new_event(self) -> int:
        return self._made("cuEventDestroy", self._call("cuEventCreate", 2))  # 2: without timing

    def new_buffer(self, size: int) -> int:
        buffer = int(self._call("cuMemAlloc", size))
        self._buffers.add(buffer)
        return buffer

    def free(self, buffer: int) -> None:
        self._buffers.remove(buffer)
        self._call("cuMemFree", buffer)

    def new_pinned(self, size: int) -> ByteArray:
        address = int(self._call("cuMemHostAlloc", size, 0))
        self._closers.append(("cuMemFreeHost", address))
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))

    def copy_in(self, buffer: int, host: ByteArray, stream: int) -> None:
        self._call("cuMemcpyHtoDAsync", buffer, host.ctypes.data, host.nbytes, stream)

    def copy_out(self, host: ByteArray, buffer: int, stream: int) -> None:
        self._call("cuMemcpyDtoHAsync", host.ctypes.data, buffer, host.nbytes, stream)

    def record(self, event: int, stream: int) -> None:
        self._call("cuEventRecord", event, stream)

    def wait(self, event: int) -> None:
        self._call("cuEventSynchronize", event)

    def load_kernel(self, source: str, name: str) -> Any:
        module = self._call("cuModuleLoadData", compile_kernel(source, self.gpu.capability))
        return self._call("cuModuleGetFunction", module, name.encode())

    def launch(
        self,
        kernel: Any,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        arguments: Sequence[np.generic],
        stream: int,
    ) -> None:
        held = [np.array(argument) for argument in arguments]  # the launch copies what the addresses point to
        addresses = np.array([value.ctypes.data for value in held], dtype=np.uint64)
        self._call("cuLaunchKernel", kernel, *grid, *block, 0, stream, addresses.ctypes.data, 0)

    def _give_back(self) -> None:
        self._call("cuCtxSynchronize")
        for buffer in self._buffers:
            self._call("cuMemFree", buffer)
        for function, handle in reversed(self._closers):
            self._call(function, handle)

    def _release(self) -> None:
        self._call("cuDevicePrimaryCtxRelease", self._device)

    def _made(self, destroy: str, handle: Any) -> int:
        self._closers.append((destroy, handle))
        return int(handle)

    def _call(self, function: str, *arguments: Any) -> Any:
        try:
            status, *values = getattr(self._cuda, function)(*arguments)
        except RuntimeError as error:  # the package's own: a driver that is too old for this function
            raise CudaError(f"{function}: {str(error).splitlines()[0]}") from error
        if status == self._cuda.CUresult.CUDA_ERROR_OUT_OF_MEMORY:
            raise OutOfGpuMemoryError("out of GPU memory")
        if status != self._cuda.CUresult.CUDA_SUCCESS:
            raise CudaError(f"{function}: {status.name}")
        return values[0] if values else None


def compile_kernel(source: str, capability: str) -> bytes:
    """CUDA C to machine code for a compute capability such as "8.9", by NVRTC; needs no GPU.

    Raises:
        CudaError: there is no NVRTC, or it objects to the source.
    """
    try:
        from cuda.bindings import nvrtc

        _, program = nvrtc.nvrtcCreateProgram(source.encode(), b"kernel.cu", 0, [], [])
    except (ImportError, OSError, RuntimeError) as error:
        raise CudaError(f"no NVRTC: {str(error).splitlines()[0]}") from error
    options = [f"--gpu-architecture=sm_{capability.replace('.', '')}".encode(), b"--fmad=false"]
    (status,) = nvrtc.nvrtcCompileProgram(program, len(options), options)
    if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        log = bytearray(nvrtc.nvrtcGetProgramLogSize(program)[1])
        nvrtc.nvrtcGetProgramLog(program, log)
        said = log.rstrip(b"\0").decode(errors="replace").splitlines() or [status.name]
        raise CudaError(f"NVRTC: {said[0]}")
    code = bytearray(nvrtc.nvrtcGetCUBINSize(program)[1])
    nvrtc.nvrtcGetCUBIN(program, code)
    nvrtc.nvrtcDestroyProgram(program)
    return bytes(code)
