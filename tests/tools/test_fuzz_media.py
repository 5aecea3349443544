"""The fuzzer: it notices what is bad, and a small run of it finds nothing."""

import random
import sys
from pathlib import Path

import pytest

from tools.fuzz_media import SEEDS, Reader, damaged, fuzz, outcome_of, table

CRASHING = "print('ready', flush=True); input(); import os; os.abort()"
HANGING = "print('ready', flush=True); input(); import time; time.sleep(600)"


def test_nothing_bad_comes_of_sixty_damaged_files() -> None:
    counts = fuzz(60, seed=7)
    assert sum(counts.values()) == 60
    assert {kind for kind, _ in counts} <= {"works", "partial", "error"}, table(counts)
    assert len({suffix for _, suffix in counts}) > 10


@pytest.mark.parametrize(("code", "kind"), [(CRASHING, "crash"), (HANGING, "hang")])
def test_a_child_that_dies_or_hangs_is_noticed_and_replaced(tmp_path: Path, code: str, kind: str) -> None:
    with Reader(limit_s=60.0 if kind == "crash" else 0.5, command=(sys.executable, "-c", code)) as reader:
        assert [reader.read(tmp_path).kind for _ in range(2)] == [kind, kind]
        assert reader.starts == 2


def test_an_error_of_the_program_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"x")
    monkeypatch.setattr("pipeline.sources.open_source", lambda uri: 1 / 0)
    assert outcome_of(path).kind == "traceback"


def test_damage_is_of_many_kinds_and_the_same_each_time() -> None:
    data = bytes(range(256)) * 20
    files = [damaged(data, random.Random(number)) for number in range(200)]
    assert files == [damaged(data, random.Random(number)) for number in range(200)]
    assert len(set(files)) > 180
    assert {-1, 0, 1} == {(len(file) > len(data)) - (len(file) < len(data)) for file in files}


def test_every_seed_is_an_odd_input_that_works() -> None:
    from tests.odd_inputs.table import odd_inputs

    assert set(SEEDS) <= {odd.name for odd in odd_inputs() if odd.expected == "works"}
