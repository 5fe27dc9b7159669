# make demo   real traces of the bundled model, scored by the real server, in a minute
# make test   lint, types, import rules, tests and coverage
# Both create .venv by themselves from the pinned, CPU-only set in constraints/cpu.txt.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
PIP    := $(BIN)/python -m pip --disable-pip-version-check
TORCH  := $(shell grep '^torch==' constraints/cpu.txt)

.PHONY: demo test lint coverage bench venv format clean

demo: venv
	$(BIN)/mrt-reward demo

test: lint coverage

lint: venv
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

coverage: venv
	$(BIN)/coverage erase
	$(BIN)/python -m pytest --cov --cov-branch --cov-report=term

bench: venv
	$(BIN)/python -m tests.bench.bench_prefixes

format: venv
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

venv: $(STAMP)

# The CPU build of torch comes from wherever pip is configured to look, and otherwise from PyTorch's own CPU index.
$(STAMP): pyproject.toml constraints/cpu.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet "$(TORCH)" -c constraints/cpu.txt || \
	  $(PIP) install --quiet "$(TORCH)" -c constraints/cpu.txt --extra-index-url https://download.pytorch.org/whl/cpu
	$(PIP) install --quiet -e ".[transformers,dev]" -c constraints/cpu.txt
	@if $(PIP) list --format=freeze | grep -i '^nvidia-'; then \
	  echo "error: CUDA packages were installed into $(VENV); expected the CPU-only set" >&2; exit 1; fi
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis .import_linter_cache dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
