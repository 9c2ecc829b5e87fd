# Every target sets up what it needs. An environment that has this checkout and its packages
# installed (pip install -e '.[dev]') is used as it is; without one, .venv is made here.
SHELL := /bin/bash
FOUND := $(shell python scripts/check_environment.py 2>/dev/null)
PYTHON ?= $(or $(FOUND),.venv/bin/python)
ifeq ($(PYTHON),.venv/bin/python)
READY := .venv/.ready
endif

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format table4 api clean

help:  ## show this list
	@grep -E '^[a-z0-9_-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(READY)  ## make the environment, .venv
	@echo "ready: $(PYTHON)"

demo: $(READY)  ## train a small DPI model on cartoon faces and draw from it, in minutes on a CPU
	$(PYTHON) train.py experiment=demo
	$(PYTHON) sample.py run=outputs/demo n=64 device=cpu
	@echo
	@echo "samples      outputs/demo/samples/seed0_DDIM200_n64.png"
	@echo "lambda       outputs/demo/lambda.png"
	@echo "losses       outputs/demo/losses.png"

test: $(READY)  ## run all tests
	$(PYTHON) -m pytest

lint: $(READY)  ## check style and the library's type hints
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy

format: $(READY)  ## put style right
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

table4: $(READY)  ## parameters and GFLOPs of Tables 1 and 4, beside the paper's: results/table4.md
	$(PYTHON) scripts/table4.py > results/table4.md && cat results/table4.md

api: $(READY)  ## make the pages of the API from the docstrings: outputs/api/index.html
	$(PYTHON) -m pdoc dpi.interpolation dpi.evaluation dpi.sharing -o outputs/api

clean:  ## remove .venv; runs and data stay
	rm -rf .venv

# uv takes half a minute; where it cannot be had, pip takes three.
.venv/.ready: pyproject.toml
	python3 -c 'import sys; sys.version_info >= (3, 11) or sys.exit("error: Python 3.11 or later is needed, python3 is " + sys.version.split()[0])'
	python3 -m venv .venv
	(.venv/bin/python -m pip install --quiet uv && .venv/bin/uv pip install --quiet --python .venv/bin/python -e '.[dev]') \
		|| .venv/bin/python -m pip install --quiet -e '.[dev]'
	@touch $@
