import dataclasses
import os
import tomllib
from pathlib import Path

import pytest

from engine.errors import UserError
from engine.models import DEFAULT_REGISTRY, ModelEntry, check_metrics, file_sha256, find_model, load_registry, register

MINIMAL = """
[small]
onnx = "small.onnx"
weights = "small.safetensors"
onnx_sha256 = "0"
weights_sha256 = "1"
onnx_bytes = 2
weights_bytes = 3
licence = "Apache-2.0"
training_data = "COCO"
input_size = 401
stride = 8
"""


def make_entry(folder: Path, name: str = "small") -> ModelEntry:
    onnx, weights = folder / f"{name}.onnx", folder / f"{name}.safetensors"
    onnx.write_bytes(b"graph of " + name.encode())
    weights.write_bytes(b"weights of " + name.encode())
    return ModelEntry(
        name=name,
        onnx=onnx,
        weights=weights,
        onnx_sha256=file_sha256(onnx),
        weights_sha256=file_sha256(weights),
        onnx_bytes=onnx.stat().st_size,
        weights_bytes=weights.stat().st_size,
        licence="Apache-2.0",
        training_data='COCO "train2017"\n\\ and Grüße 🙂 \x7f',
        input_size=401,
        stride=8,
        metrics={
            "keypoint_ap": 0.51, "pictures": 338, "flip": False, "by size": [0.25, 1e-9, -1.0],
            "mask": {"ap": 0.2, "ap.50": 0.4}, "input": "641",
        },
    )  # fmt: skip


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    path = tmp_path / "models.toml"
    register(make_entry(tmp_path), path)
    return path


def test_what_is_registered_comes_back(registry: Path, tmp_path: Path) -> None:
    assert load_registry(registry) == {"small": make_entry(tmp_path)}
    assert find_model("small", registry) == make_entry(tmp_path)


def test_an_int8_file_is_stored_with_its_hash_or_not_at_all(registry: Path, tmp_path: Path) -> None:
    path = tmp_path / "small-int8.onnx"
    path.write_bytes(b"integers")
    plain = find_model("small", registry)
    assert "int8" not in registry.read_text(encoding="utf-8")
    entry = dataclasses.replace(plain, onnx_int8=path, onnx_int8_sha256=file_sha256(path), onnx_int8_bytes=8)
    register(entry, registry)
    assert tomllib.loads(registry.read_text(encoding="utf-8"))["small"]["onnx_int8"] == "small-int8.onnx"
    assert find_model("small", registry) == entry
    entry.verify()
    path.write_bytes(b"integer!")
    for part in ("onnx_int8", None):
        with pytest.raises(UserError, match=r"small-int8\.onnx: sha256 differs"):
            entry.verify(part)  # type: ignore[arg-type]
    plain.verify()
    entry.verify("onnx")


def test_other_entries_survive_in_their_order(registry: Path, tmp_path: Path) -> None:
    register(make_entry(tmp_path, "big"), registry)
    register(dataclasses.replace(make_entry(tmp_path), input_size=641, metrics={}), registry)
    entries = load_registry(registry)
    assert list(entries) == ["small", "big"]
    assert entries["big"] == make_entry(tmp_path, "big")
    assert (entries["small"].input_size, entries["small"].metrics) == (641, {})
    before = registry.read_bytes()
    register(entries["small"], registry)
    assert registry.read_bytes() == before


def test_paths_are_stored_beside_the_file(registry: Path) -> None:
    assert tomllib.loads(registry.read_text(encoding="utf-8"))["small"]["onnx"] == "small.onnx"


def test_a_failed_write_leaves_the_old_file(registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = registry.read_bytes()

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        register(make_entry(tmp_path, "big"), registry)
    assert registry.read_bytes() == before
    assert not list(tmp_path.glob(".*"))


def test_names_and_places_toml_cannot_take_are_refused(registry: Path, tmp_path: Path) -> None:
    entry = make_entry(tmp_path)
    with pytest.raises(ValueError, match="name: expected letters"):
        register(dataclasses.replace(entry, name="two words"), registry)
    with pytest.raises(ValueError, match="elsewhere"):
        register(dataclasses.replace(entry, onnx=tmp_path.parent / "elsewhere" / "small.onnx"), registry)
    with pytest.raises(TypeError, match="NoneType"):
        register(dataclasses.replace(entry, metrics={"ap": None}), registry)


def test_an_unknown_model_lists_the_known(registry: Path, tmp_path: Path) -> None:
    register(make_entry(tmp_path, "big"), registry)
    with pytest.raises(UserError, match="unknown model 'huge': expected one of small, big"):
        find_model("huge", registry)
    registry.write_text("# nothing yet\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"unknown model 'huge': .*models\.toml lists none"):
        find_model("huge", registry)


def test_whole_files_pass(registry: Path) -> None:
    entry = find_model("small", registry)
    for part in ("onnx", "weights", None):
        entry.verify(part)


@pytest.mark.parametrize("part", ["onnx", "weights"])
def test_a_damaged_file_is_named_with_its_remedy(registry: Path, part: str) -> None:
    entry = find_model("small", registry)
    path: Path = getattr(entry, part)
    path.write_bytes(path.read_bytes() + b" ")
    for which in (part, None):
        with pytest.raises(UserError, match=r"sha256 differs from models\.toml \(.*git checkout -- ") as caught:
            entry.verify(which)  # type: ignore[arg-type]
        assert str(caught.value).startswith(f"{path}: ")
    entry.verify("weights" if part == "onnx" else "onnx")
    path.unlink()
    with pytest.raises(UserError, match=f"{path.name}: missing; restore it with git checkout"):
        entry.verify()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("stride = 8", "", r"\[small\] has no 'stride'"),
        ("stride = 8", 'stride = "8"', r"\[small\] stride: expected int, got '8'"),
        ("stride = 8", "stride = true", r"\[small\] stride: expected int, got True"),
        ('onnx = "small.onnx"', "onnx = 1", r"\[small\] onnx: expected str, got 1"),
        ("stride = 8", "stride = 8\ncolour = 1", r"\[small\] has an unknown key 'colour'"),
        ("stride = 8", "stride = 8\nmetrics = 3", r"\[small\] metrics: expected dict, got 3"),
        ("stride = 8", 'stride = 8\nonnx_int8 = "a.onnx"', r"\[small\] has no 'onnx_int8_sha256'"),
        ("stride = 8", 'stride = 8\nonnx_int8_bytes = "8"', r"\[small\] has no 'onnx_int8'"),
        ("stride = 8", "stride = 8\nonnx_int8 = 8", r"\[small\] onnx_int8: expected str, got 8"),
        ("[small]", "small = 3\n[other]", r"expected only tables such as \[small\], got small = 3"),
        ("[small]", "[small", "not valid TOML"),
    ],
)
def test_a_wrong_registry_is_named_with_the_place(old: str, new: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "models.toml"
    path.write_text(MINIMAL, encoding="utf-8")
    assert load_registry(path)["small"].onnx == tmp_path / "small.onnx"
    path.write_text(MINIMAL.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(UserError, match=rf"models\.toml: {message}"):
        load_registry(path)


def test_a_missing_or_binary_registry_is_named(tmp_path: Path) -> None:
    path = tmp_path / "models.toml"
    with pytest.raises(UserError, match=r"models\.toml: missing; restore it with git checkout"):
        load_registry(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="not valid TOML"):
        load_registry(path)


def test_the_shipped_registry_and_its_files_agree() -> None:
    for entry in load_registry(DEFAULT_REGISTRY).values():
        entry.verify()
        assert (entry.onnx.stat().st_size, entry.weights.stat().st_size) == (entry.onnx_bytes, entry.weights_bytes)
        if entry.onnx_int8 is not None:
            assert entry.onnx_int8.stat().st_size == entry.onnx_int8_bytes
        assert entry.licence
        assert entry.training_data


def test_figures_that_cannot_be_stored_are_refused() -> None:
    check_metrics({"keypoints": {"AP": 0.3, "sizes": [401, 641]}, "note": "x"})
    with pytest.raises(UserError, match="metrics: expected text, a number"):
        check_metrics({"keypoints": {"AP": None}})
