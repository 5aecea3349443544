"""The network in TensorRT or TensorRT-RTX on an NVIDIA GPU, letterbox included."""

import contextlib
import logging
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, Self

from engine.backends.base import Backend, check_submission, make_heads, whole_input
from engine.backends.plans import Plan, PlanCache
from engine.backends.tensorrt_build import PlanMissingError, Progress, go_on, import_library, make_logger
from engine.backends.tensorrt_plan import Recipe
from engine.backends.tensorrt_slot import Machine, Slot
from engine.cuda.driver import CudaDriver, CudaError, OutOfGpuMemoryError, open_driver
from engine.cuda.letterbox import LetterboxKernel
from engine.errors import UserError
from engine.modes import HEADS_OF_MODE
from engine.structures import ByteArray, FloatArray, Heads, Letterbox

_DEPTH: Final = 2  # one set of pictures computes while the next one is copied
logger = logging.getLogger(__name__)


class TensorRTBackend(Backend):
    """A `Backend` on either TensorRT library, for inputs up to the size that its plan was built for.

    `infer` takes placed pictures as every back end does; `submit` and `collect` place them on the GPU.
    """

    depth = _DEPTH

    def __init__(self, trt: Any, driver: CudaDriver, kernel: LetterboxKernel, plan: Plan, recipe: Recipe) -> None:
        """Load a plan; the driver becomes this back end's own and is closed with it.

        Raises:
            UserError: the plan was made by another version or for another GPU.
            CudaError: out of memory, above all.
        """
        self._driver, self._trt_logger = driver, make_logger(trt)
        self._slots: list[Slot] = []
        self._under_way: deque[tuple[Slot, Letterbox]] = deque()
        with driver.active():
            self._runtime = trt.Runtime(self._trt_logger)
            engine = self._runtime.deserialize_cuda_engine(plan.data)
            if engine is None:
                raise UserError(f"TensorRT cannot load the plan: {(self._trt_logger.errors or ['no reason given'])[0]}")
            red, green, blue = plan.details["mean_rgb"]
            machine = Machine(trt, driver, kernel, engine, recipe.shape, (red, green, blue), HEADS_OF_MODE[recipe.mode])
            self._slots = [Slot(machine) for _ in range(_DEPTH)]
        self._free = deque(self._slots)
        self._shape = recipe.shape
        self.batch = recipe.shape.batch
        self.precision = recipe.precision
        self.name = f"{recipe.library} {driver.gpu.name} {self.precision}"
        self.stride, self.multiple = int(plan.details["stride"]), int(plan.details["multiple"])

    @classmethod
    def open(
        cls, recipe: Recipe, progress: Progress = go_on, *, build: bool = True, cache: PlanCache | None = None
    ) -> Self:
        """Find the plan of `recipe`, or `build` it, and load it; with fewer pictures at once if memory wants that.

        Raises:
            UserError: no library, no driver, no GPU, too little of its memory, a network that cannot be built.
            PlanMissingError: there is no plan and `build` is false.
            BuildCancelledError: `progress` said so.
        """
        trt = import_library(recipe.library)
        cache = cache or PlanCache()
        while True:
            try:
                return cls._open(trt, recipe, progress, build, cache)
            except OutOfGpuMemoryError as error:
                if recipe.shape.batch == 1:
                    raise UserError(f"{recipe.library}: out of GPU memory, even for one picture at once") from error
                recipe = recipe.with_batch(recipe.shape.batch // 2)
                logger.warning("out of GPU memory: going on with %d pictures at once", recipe.shape.batch)
            except CudaError as error:
                raise UserError(f"{recipe.library}: {error}") from error

    @classmethod
    def _open(cls, trt: Any, recipe: Recipe, progress: Progress, build: bool, cache: PlanCache) -> Self:
        kernels: list[LetterboxKernel] = []
        driver = open_driver(lambda opened: kernels.append(LetterboxKernel(opened)))
        try:
            plan, is_new = _find_plan(trt, driver, recipe, progress, build, cache)
            try:
                return cls(trt, driver, kernels[-1], plan, recipe)
            except UserError as error:
                if is_new or not build:
                    raise
                cache.discard(recipe.key(trt, driver.gpu), str(error))
            plan, _ = _find_plan(trt, driver, recipe, progress, build, cache)
            return cls(trt, driver, kernels[-1], plan, recipe)
        except BaseException:
            driver.close()
            raise

    def submit(self, pictures: Sequence[ByteArray], letterbox: Letterbox) -> None:
        self._start(pictures, letterbox)

    def collect(self) -> list[Heads]:
        letterbox, outputs = self._finish()
        return [make_heads(heads, self.stride, letterbox) for heads in outputs]

    def _run(self, image: ByteArray) -> dict[str, FloatArray]:
        if self._under_way:
            raise RuntimeError("infer: collect what was submitted first")
        self._start([image], whole_input((image.shape[0], image.shape[1])))
        _, (outputs,) = self._finish()
        return outputs

    def _start(self, pictures: Sequence[ByteArray], letterbox: Letterbox) -> None:
        check_submission(pictures, letterbox, self.batch, self.multiple)
        if not self._slots:
            raise RuntimeError("the back end is closed")
        if not self._free:
            raise RuntimeError(f"at most {_DEPTH} submissions can be under way")
        if not self._shape.takes(letterbox.input_hw):
            height, width = letterbox.input_hw
            raise UserError(f"an input of {width}x{height} px: this plan takes up to {self._shape.side} px a side")
        slot = self._free[0]
        try:
            with self._driver.active():
                slot.start(pictures, letterbox)
        except CudaError as error:
            raise UserError(f"{self.name}: {error}") from error
        self._under_way.append((self._free.popleft(), letterbox))

    def _finish(self) -> tuple[Letterbox, list[dict[str, FloatArray]]]:
        if not self._under_way:
            raise RuntimeError("nothing was submitted")
        slot, letterbox = self._under_way.popleft()
        self._free.append(slot)
        try:
            with self._driver.active():
                return letterbox, slot.finish()
        except CudaError as error:
            raise UserError(f"{self.name}: {error}") from error

    def close(self) -> None:
        if not self._slots:
            return
        slots, self._slots = self._slots, []
        self._free.clear()
        while self._under_way:  # nothing may be taken away from under the GPU
            with contextlib.suppress(UserError):
                self._finish()
        with self._driver.active():
            for slot in slots:
                slot.close()
            self._runtime = None
        self._driver.close()


def build_plan_of(recipe: Recipe, progress: Progress) -> None:
    """Build the plan of `recipe` for the next one who opens it; takes no GPU memory but what the build needs.

    Raises:
        UserError, BuildCancelledError: see `TensorRTBackend.open`.
    """
    trt = import_library(recipe.library)
    try:
        driver = open_driver(lambda _: None)
        try:
            _find_plan(trt, driver, recipe, progress, True, PlanCache())
        finally:
            driver.close()
    except CudaError as error:
        raise UserError(f"{recipe.library}: {error}") from error


def _find_plan(
    trt: Any, driver: CudaDriver, recipe: Recipe, progress: Progress, build: bool, cache: PlanCache
) -> tuple[Plan, bool]:
    """The plan for this machine, and whether it was built just now."""
    key = recipe.key(trt, driver.gpu)
    if (plan := cache.load(key)) is not None:
        return plan, False
    if not build:
        raise PlanMissingError(f"{recipe.library}: no plan of {recipe.network} for this GPU yet")
    with driver.active():
        return cache.load_or_build(key, lambda: recipe.build(trt, progress), progress), True
