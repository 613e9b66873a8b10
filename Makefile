# make demo   install, fetch weights, run the quickstart, print the report's path
# make setup  its first half: .venv with everything the lock names, and the weights
# make test   the tests;  make check  format, lint, types and tests
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || echo python3)
BIN := .venv/bin
# Two workers of one thread each: torch's own threads gain little on tensors this small.
PYTEST ?= -n 2
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := true
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo setup assets test lint types check lock clean

demo: setup
	$(BIN)/facesec run experiment=quickstart

setup: .venv/ready assets

# --no-deps: the lock is complete, and torchattacks' own pin of requests cannot be met beside mlflow.
.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 14) else f"Found Python {v[0]}.{v[1]}, wanted 3.11, 3.12 or 3.13. Try: make PYTHON=python3.12 setup")'
	$(PYTHON) -m venv .venv
	@echo 'Installing what requirements.lock names: some minutes, about 7 GB with CUDA builds of torch.'
	$(BIN)/python -m pip install --quiet --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps -e .
	touch $@

assets: .venv/ready
	$(BIN)/facesec assets fetch --skip-unavailable

# Without a network the tests that need weights skip, each with its reason.
test: .venv/ready
	-$(BIN)/facesec assets fetch --skip-unavailable
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST)

lint: .venv/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: .venv/ready
	$(BIN)/mypy

check: lint types test

# uv is only needed here. The override lets torchattacks and mlflow share one requests; the torch pair is the tested one.
lock:
	echo 'requests>=2.32' > .override.txt
	printf 'torch==2.14.1\ntorchvision==0.29.1\n' > .constraint.txt
	uv pip compile pyproject.toml --extra torchattacks --extra dev --universal --python-version 3.11 \
	  --override .override.txt --constraint .constraint.txt \
	  --no-header --no-annotate --no-emit-index-url --output-file requirements.lock
	rm .override.txt .constraint.txt

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache
