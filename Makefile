# make demo   sets itself up, then finds everybody in the sample clip; the result is in out/demo
# make test   sets itself up, then runs every check
# The set-up is a virtual environment in .venv; once it is there, setting up again takes a moment.

PYTHON ?= python3
BIN := .venv/bin
DURATION := 60

.PHONY: help demo test check format bench soak fuzz setup setup-dev clean distclean
.DEFAULT_GOAL := help

help:
	@echo "make demo       set up, then run the program on the sample clip"
	@echo "make test       set up, then format check, lint, types, import rules and tests"
	@echo "make check      the checks of 'make test' alone, without setting up"
	@echo "make bench      measure the live program on a camera on loopback; DURATION=600 for longer than a minute"
	@echo "make soak       the pipeline on a looping clip: memory, threads and file handles over DURATION seconds"
	@echo "make fuzz       2,000 damaged clips and pictures"
	@echo "make format     reformat the code and apply safe lint fixes"
	@echo "make clean      remove results and caches        make distclean   also remove .venv"

setup:
	@$(PYTHON) tools/setup.py run

setup-dev:
	@$(PYTHON) tools/setup.py dev

demo: setup
	$(BIN)/python main.py run assets/sample.mp4 --out out/demo --save video,ndjson

test: setup-dev
	@$(MAKE) --no-print-directory check

check:
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m pytest

format:
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup
	$(BIN)/python tools/bench_live.py --duration $(DURATION)
	$(BIN)/python tools/bench_live.py --duration $(DURATION) --window

soak: DURATION := 600
soak: setup
	$(BIN)/python tools/soak.py --duration $(DURATION)
	$(BIN)/python tools/soak.py --duration $(DURATION) --batch

fuzz: setup
	$(BIN)/python tools/fuzz_media.py --cases 2000

clean:
	rm -rf out .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name .venv -prune -o -type d -name __pycache__ -exec rm -rf {} +

distclean: clean
	rm -rf .venv
