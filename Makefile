# Every target sets up what it needs. An environment that has this checkout and its packages
# installed (pip install -e '.[dev]') is used as it is; without one, .venv is made here.
SHELL := /bin/bash
FOUND := $(shell python scripts/check_environment.py 2>/dev/null)
PYTHON ?= $(or $(FOUND),.venv/bin/python)
ifeq ($(PYTHON),.venv/bin/python)
READY := .venv/.ready
endif

# The paper's tables: make table2 SCALE=mini SEEDS=0,1,2 ARGS="data=folder data.path=IMAGES"
SCALE ?= paper
SEEDS ?= 0
ARGS ?=
.DEFAULT_GOAL := help
.PHONY: help setup demo test bench lint format counts docs clean
.PHONY: table1 table2 table3 table4 table5 tables figures ablations conditioning report status

help:  ## list the targets
	@grep -E '^[a-z0-9_-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(READY)  ## create the environment, .venv
	@echo "ready: $(PYTHON)"

demo: $(READY)  ## train a small DPI model on cartoon faces and sample from it, in minutes on a CPU
	$(PYTHON) train.py experiment=demo
	$(PYTHON) sample.py run=outputs/demo n=64 device=cpu
	@echo "expected: val_loss about 0.047 after 2,000 steps (docs/TRAINING.md, What to expect)"

test: $(READY)  ## run all tests
	$(PYTHON) -m pytest -n auto --dist worksteal

bench: $(READY)  ## time a CPU: make bench ARGS="scale=small training.batch_size=32"
	$(PYTHON) benchmarks/cpu.py $(ARGS)

lint: $(READY)  ## check style and the library's type hints
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy

format: $(READY)  ## fix style
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

table1: $(READY)  ## as table4, whose runs give the parameters too
table2: $(READY)  ## train and evaluate the runs of Table 2: the error of the predicted noise
table3: $(READY)  ## of Table 3: FID, sFID, precision, recall
table4: $(READY)  ## of Table 4: parameters, operations, time and memory
table5: $(READY)  ## of Table 5: learned and linear lambda
figures: $(READY)  ## of Figures 2, 3 and 5: samples and lambda (Figure 4: table2)
tables: $(READY)  ## of all tables and figures at once
ablations: $(READY)  ## beyond the paper: scalars a step, how theta1 starts, lambda's ends
conditioning: $(READY)  ## beyond the paper: conditionings, each at five learning rates
# A sweep is a grid (configs/groups.yaml); some tables take several, given beside it. A failure in one
# does not stop the next.
GRIDS = ""
table5: GRIDS = "" "cond.schedule=linear"
tables: GRIDS = "" "framework=diffusion eval=[denoising,complexity]" \
	"cond=dpi cond.schedule=linear eval=[objective]"
ablations: GRIDS = "" "training.distinct_scalars=1,2,4,16" "cond=dpi cond.init=independent" \
	"cond=dpi cond.endpoints=exact"
# FiLM of first convolutions, DPI of the finest level, and both: docs/CONDITIONING.md.
conditioning: GRIDS = "" "cond=film cond.include=[*.conv1]" \
	"cond=dpi cond.include=[head.*,encoder.0.*,decoder.2.*,tail.*]" \
	"cond=dpi+film cond.film.include=[*.conv1] cond.dpi.include=[network.head.*,network.encoder.0.*,network.decoder.2.*,network.tail.*]"
table1 table2 table3 table4 table5 figures tables ablations conditioning:
	@set -f; status=0; for grid in $(GRIDS); do \
		echo "train.py sweep=$@ scale=$(SCALE) seed=$(SEEDS) $$grid $(ARGS)"; \
		$(PYTHON) train.py sweep=$(@:table1=table4) scale=$(SCALE) seed=$(SEEDS) $$grid $(ARGS) \
			|| status=1; \
	done; $(PYTHON) report.py scale=$(SCALE) $(if $(filter-out conditioning,$@),paper=true); exit $$status

status: $(READY)  ## the status of every run
	@$(PYTHON) status.py

report: $(READY)  ## tables, figures and one page of what there is: outputs/report/DATA-SCALE/index.html
	$(PYTHON) report.py $(if $(filter-out file,$(origin SCALE)),scale=$(SCALE))

counts: $(READY)  ## parameters and GFLOPs of Tables 1 and 4 at paper size: results/README.md
	$(PYTHON) scripts/tables.py results/README.md && sed -n '/table: counts/,/end of table/p' results/README.md

docs: $(READY)  ## build the documentation and the API reference: outputs/docs/index.html
	$(PYTHON) -m sphinx -W --keep-going -q -c docs . outputs/docs

clean:  ## remove .venv; runs and data stay
	rm -rf .venv

# uv takes half a minute; where it cannot be had, pip takes three.
.venv/.ready: pyproject.toml
	python3 -c 'import sys; sys.version_info >= (3, 11) or sys.exit("error: Python 3.11 or later is needed, python3 is " + sys.version.split()[0])'
	python3 -m venv .venv
	(.venv/bin/python -m pip install --quiet uv && .venv/bin/uv pip install --quiet --python .venv/bin/python -e '.[dev]') \
		|| .venv/bin/python -m pip install --quiet -e '.[dev]'
	@touch $@
