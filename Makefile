# make demo   set up, then train, infer and evaluate a bundle on demo data (DATA=dir: on your own, in the ISIC layout)
# make test   set up, then run the tests
# make lint   ruff, mypy and codespell
# make docs   build the documentation into site/

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DATA ?=
DEMO_DIR ?= demo
UV := $(BIN)/python -m uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint constraints.txt

.PHONY: demo test lint docs clean

$(BIN)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(UV) --editable ".[detector,backbones]"
	touch $@

$(BIN)/.installed-dev: $(BIN)/.installed
	$(UV) --editable ".[detector,backbones,dev]"
	touch $@

$(BIN)/.installed-docs: $(BIN)/.installed
	$(UV) --editable ".[docs]"
	touch $@

demo: $(BIN)/.installed
	$(BIN)/python scripts/demo.py --out $(DEMO_DIR) $(if $(DATA),--data "$(DATA)")

test: $(BIN)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not slow and not data and not weights and not label and not browser"

lint: $(BIN)/.installed-dev
	$(BIN)/ruff check amsam_monai tests scripts
	$(BIN)/ruff format --check amsam_monai tests scripts
	$(BIN)/mypy
	$(BIN)/codespell amsam_monai tests scripts docs bundles README.md CONTRIBUTING.md CHANGELOG.md

docs: $(BIN)/.installed-docs
	$(BIN)/mkdocs build --quiet --strict

clean:
	rm -rf $(DEMO_DIR) site build *.egg-info
