# make demo   set up, then train, infer and evaluate a bundle on demo data (DATA=dir: on your own, in the ISIC layout)
# make test   set up, then run the tests
# make lint   ruff, mypy, codespell, proselint and scripts/prose.py, and whether bundles/ is what its recipes give
# make docs   build the documentation into site/
#
# Tests that need an environment of their own, each made below .venv-*/ at the first call:
# make test-wheel   the wheel, built and installed away from the source
# make test-label   the server, with MONAI Label
# make test-page    the web page, with Gradio and Debian's chromium
#
# What the package stands on, with tools in an environment of their own:
# make audit        known holes in the pinned versions, and what could not be looked up; fails nothing
# make licences     docs/licences.md
# make sbom         dist/amsam_monai.cdx.json, all that the wheel brings, beside the wheel
# make constraints  which pinned versions are behind; `scripts/constraints.py --write` pins the newest

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DATA ?=
DEMO_DIR ?= demo
DOORS = $(if $(wildcard .doors),AMSAM_DOORS=.doors)  # masks of `make test`, which server and page must give too
UV_ADD := $(BIN)/python -m uv pip install --quiet
UV_PIP := $(UV_ADD) --compile-bytecode
UV := $(UV_PIP) --python $(BIN)/python --constraint constraints.txt
NEW_VENV := $(BIN)/python -m uv venv --quiet --clear --python $(BIN)/python
CORE := not slow and not data and not weights and not label and not browser and not wheel

.PHONY: demo test test-wheel test-label test-page lint docs audit licences sbom constraints clean

$(BIN)/.uv:
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	touch $@

$(BIN)/.installed: pyproject.toml constraints.txt $(BIN)/.uv
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
	AMSAM_DOORS=.doors OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "$(CORE)"

test-wheel: $(BIN)/.uv
	rm -rf build dist
	$(BIN)/python -m uv build --quiet --wheel --out-dir dist
	$(NEW_VENV) .venv-wheel
	$(UV_PIP) --python .venv-wheel/bin/python --constraint constraints.txt dist/*.whl pytest pytest-timeout
	.venv-wheel/bin/python -m pytest -m wheel tests/wheel

.venv-label/.installed: pyproject.toml constraints-label.txt $(BIN)/.uv
	$(NEW_VENV) .venv-label
	$(UV_PIP) --python .venv-label/bin/python --constraint constraints-label.txt --editable ".[label,detector]" \
		pytest pytest-timeout
	touch $@

test-label: .venv-label/.installed
	$(DOORS) OMP_NUM_THREADS=1 .venv-label/bin/python -m pytest -m label tests/label_app

.venv-page/.installed: pyproject.toml constraints.txt $(BIN)/.uv
	$(NEW_VENV) .venv-page
	$(UV_PIP) --python .venv-page/bin/python --constraint constraints.txt --editable ".[annotate,detector]" \
		pytest pytest-timeout playwright
	touch $@

test-page: .venv-page/.installed
	$(DOORS) OMP_NUM_THREADS=1 .venv-page/bin/python -m pytest -m browser tests

lint: $(BIN)/.installed-dev
	$(BIN)/ruff check amsam_monai tests scripts
	$(BIN)/ruff format --check amsam_monai tests scripts
	$(BIN)/mypy
	$(BIN)/python scripts/build_bundles.py --check
	$(BIN)/codespell amsam_monai tests scripts docs bundles README.md CONTRIBUTING.md CHANGELOG.md
	$(BIN)/python -m uv tool run --quiet proselint==0.16.0 --config .proselintrc.json check README.md docs
	$(BIN)/python scripts/prose.py

docs: $(BIN)/.installed-docs
	$(BIN)/mkdocs build --quiet --strict

.venv-supply/.installed: $(BIN)/.uv
	$(NEW_VENV) .venv-supply
	$(UV_ADD) --python .venv-supply/bin/python pip-audit pip-licenses cyclonedx-bom
	touch $@

audit: .venv-supply/.installed
	-.venv-supply/bin/python scripts/audit.py

licences: $(BIN)/.installed-dev .venv-page/.installed .venv-label/.installed .venv-supply/.installed
	.venv-supply/bin/python scripts/licences.py $(BIN)/python .venv-page/bin/python .venv-label/bin/python

sbom: .venv-supply/.installed
	rm -rf build dist
	$(BIN)/python -m uv build --quiet --wheel --out-dir dist
	$(NEW_VENV) .venv-sbom
	$(UV_ADD) --python .venv-sbom/bin/python --constraint constraints.txt dist/*.whl
	.venv-supply/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
		--output-file dist/amsam_monai.cdx.json .venv-sbom/bin/python

constraints: $(BIN)/.uv
	$(BIN)/python scripts/constraints.py

clean:
	rm -rf $(DEMO_DIR) site build dist *.egg-info
