"""`--precision` and files as `--model`: what opens, and what is said where it cannot."""

from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.options import add_model_arguments, describe, open_estimator
from engine.errors import UserError
from engine.models import find_model


def opened(*arguments: object) -> str:
    """What these options open, in words."""
    parser = ArgumentParser()
    add_model_arguments(parser)
    options = parser.parse_args([str(argument) for argument in arguments])
    with open_estimator(options) as estimator:
        return describe(options, estimator)


@pytest.mark.parametrize(
    ("precision", "backend"), [("auto", "onnx cpu int8"), ("int8", "onnx cpu int8"), ("fp32", "onnx cpu fp32")]
)
def test_the_name_says_the_precision(precision: str, backend: str) -> None:
    words = opened("--backend", "onnx", "--precision", precision, "--input-size", 129)
    assert words == f"mobile on {backend}, input 129 px"


def test_an_onnx_file_runs_in_its_own_precision() -> None:
    path = find_model("mobile").onnx_int8
    assert opened("--model", path) == f"{path} on onnx cpu int8, input 641 px"
    with pytest.raises(UserError, match=r"^--precision fp32: .*mobile-int8\.onnx is int8$"):
        opened("--model", path, "--precision", "fp32")
    with pytest.raises(UserError, match=r"^--backend torch: a \.onnx file runs on the onnx "):
        opened("--model", path, "--backend", "torch")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--backend", "onnx", "--precision", "fp16"), "back end 'onnx' has no fp16: expected auto or fp32 or int8"),
        (("--backend", "torch", "--precision", "int8"), "back end 'torch' has no int8: expected auto or "),
        (("--precision", "half"), "unknown precision 'half': expected one of auto, fp32, fp16, int8"),
        (("--model", "a.safetensors", "--precision", "int8"), "back end 'torch' has no int8"),
        (("--model", "gone.onnx"), "gone.onnx: no such file"),
    ],
)
def test_what_is_not_there_is_one_line(options: tuple[str, ...], message: str, call: Callable[..., Any]) -> None:
    ended = call("run", Path(__file__).parents[2] / "assets" / "astronaut.jpg", "--out", "unused", *options)
    assert ended.status == 2
    assert ended.error_line().startswith(message)
    assert not Path("unused").exists()
