from pipeline.gate import Gate, Pausable


def passed(gate: Gate, count: int) -> list[bool]:
    return [gate.passes() for _ in range(count)]


def test_open_everything_passes_and_steps_mean_nothing() -> None:
    gate = Gate()
    gate.step()
    assert passed(gate, 2) == [True, True]
    gate.pause()
    assert passed(gate, 2) == [False, False]  # the step is not kept for later


def test_closed_one_frame_passes_for_each_step() -> None:
    gate = Gate()
    gate.pause()
    gate.step()
    gate.step()
    assert passed(gate, 4) == [True, True, False, False]


def test_opening_forgets_steps_that_were_not_taken() -> None:
    gate = Gate()
    gate.pause()
    gate.step()
    gate.resume()
    gate.pause()
    assert passed(gate, 1) == [False]


def test_pausing_twice_is_pausing_once() -> None:
    gate = Gate()
    gate.pause()
    gate.pause()
    gate.resume()
    assert passed(gate, 1) == [True]


def test_it_can_pause_like_a_recording() -> None:
    assert isinstance(Gate(), Pausable)
