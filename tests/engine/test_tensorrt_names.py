"""Every name that the back end uses on TensorRT's objects, read off its own source, is in the library's bindings.

TensorRT 11's bindings can be installed without the library itself; a few empty functions in its place let them load.
"""

import ast
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from engine.backends.tensorrt_build import find_module

SOURCES = sorted((Path(__file__).parents[2] / "engine" / "backends").glob("tensorrt_*.py"))
# What our variables hold: TensorRT's classes, and the module itself.
CLASSES = {
    "trt": "",
    "ILogger": "ILogger",
    "builder": "Builder",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "config": "IBuilderConfig",
    "profile": "IOptimizationProfile",
    "_runtime": "Runtime",
    "engine": "ICudaEngine",
    "_context": "IExecutionContext",
    "Severity": "ILogger.Severity",
    "DataType": "DataType",
}
ONLY_RTX = {("IExecutionContext", "is_stream_capturable")}
STUBS = {
    "libnvinfer.so.11": (
        "createInferBuilder_INTERNAL",
        "createInferRefitter_INTERNAL",
        "createInferRuntime_INTERNAL",
        "getBuilderPluginRegistry",
        "getPluginRegistry",
    ),
    "libnvinfer_plugin.so.11": ("initLibNvInferPlugins",),
    "libnvonnxparser.so.11": (
        "createNvOnnxParser_INTERNAL",
        "createNvOnnxParserRefitter_INTERNAL",
        "getNvOnnxParserVersion",
    ),
}
LISTING = """
import functools, importlib, json, sys
trt = importlib.import_module(sys.argv[1])
classes = json.loads(sys.argv[2])
owner = lambda path: functools.reduce(getattr, path.split("."), trt) if path else trt
print(json.dumps({"version": trt.__version__, "names": {path: dir(owner(path)) for path in classes}}))
"""


def used_names() -> set[tuple[str, str]]:
    """(class, name) of every attribute in the sources whose owner is one of our variables for TensorRT's objects."""
    used = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                owner = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", None)
                if owner in CLASSES and not node.attr.startswith("__"):
                    used.add((CLASSES[owner], node.attr))
    return used


@pytest.fixture
def library_folder(tmp_path: Path) -> Path:
    """Libraries with TensorRT's names that can do nothing."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    for library, functions in STUBS.items():
        source = tmp_path / f"{library}.c"
        source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in functions))
        options = ["-shared", "-fPIC", f"-Wl,-soname,{library}", "-o", tmp_path / library]
        subprocess.run([compiler, *options, source], check=True)
    return tmp_path


def missing_names(module: str, environment: dict[str, str]) -> tuple[str, set[tuple[str, str]]]:
    """The bindings' version, and what we use that they do not have."""
    paths = json.dumps(sorted(set(CLASSES.values())))
    command = [sys.executable, "-c", LISTING, module, paths]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    return said["version"], {(path, name) for path, name in used_names() if name not in said["names"][path]}


def test_the_list_of_names_is_not_empty() -> None:
    expected = {
        ("", "Runtime"),
        ("IExecutionContext", "execute_async_v3"),
        ("IExecutionContext", "set_tensor_address"),
        ("IBuilderConfig", "progress_monitor"),
        ("IOptimizationProfile", "set_shape"),
        ("OnnxParser", "get_error"),
        ("ICudaEngine", "create_execution_context"),
    }
    assert expected <= used_names()


def test_tensorrt_11_has_every_name(library_folder: Path) -> None:
    if importlib.util.find_spec("tensorrt_bindings") is None:
        pytest.skip("needs the bindings of TensorRT 11 (requirements-dev.txt)")
    version, missing = missing_names("tensorrt_bindings", {"LD_LIBRARY_PATH": str(library_folder)})
    assert version.startswith("11.")
    assert missing <= ONLY_RTX


def test_tensorrt_rtx_has_every_name() -> None:
    module = find_module("tensorrt_rtx")
    if module is None:
        pytest.skip("needs tensorrt-rtx (requirements-dev.txt)")
    _, missing = missing_names(module, {})
    assert missing == set()
