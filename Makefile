# make demo   set up, then train, infer and evaluate a bundle on demo data (DATA=dir: on your own, in the ISIC layout)
# make test   set up, then run the tests
# make lint   ruff, mypy, codespell, proselint and scripts/prose.py, and whether bundles/ is what its recipes give
# make docs   build the documentation into site/
# make bench  how fast this machine is: tables, and a JSON for each in $(BENCH)/, in under a quarter of an hour
#
# Tests that `make test` leaves out:
# make test-wheel   both wheels, built, and installed away from the source in an environment that is made for it
# make test-label   the server, in an environment with MONAI Label, .venv-label/
# make test-page    the web page, with Debian's chromium
# make coverage     `make test`, and which lines of the package it does not run, in .coverage-report/
#
# make wheels       dist/: the package's wheel, and that of the bundles
# make release      dist/: wheels, bundles as zips, SBOM, checksums; then the tag. DRY_RUN=1: no SBOM, no tag
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
BENCH ?= bench
BENCHMARKS = OMP_NUM_THREADS=1 $(BIN)/python scripts/benchmarks
DOORS = $(if $(wildcard .doors),AMSAM_DOORS=.doors)  # masks of `make test`, which server and page must give too
UV_ADD := $(BIN)/python -m uv pip install --quiet
UV_PIP := $(UV_ADD) --compile-bytecode
UV := $(UV_PIP) --python $(BIN)/python --constraint constraints.txt
BUILD_WHEEL := $(BIN)/python -m uv build --quiet --wheel
NEW_VENV := $(BIN)/python -m uv venv --quiet --clear --python $(BIN)/python
CORE := not slow and not data and not weights and not label and not browser and not wheel

.PHONY: demo bench test coverage wheels test-wheel test-label test-page lint docs audit licences sbom release constraints clean

$(BIN)/.uv:
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	touch $@

$(BIN)/.installed: pyproject.toml constraints.txt $(BIN)/.uv
	$(UV) --editable ".[detector,backbones]"
	touch $@

$(BIN)/.installed-dev: $(BIN)/.installed
	$(UV) --editable ".[detector,backbones,annotate,dev]"
	touch $@

$(BIN)/.installed-docs: $(BIN)/.installed
	$(UV) --editable ".[docs]"
	touch $@

demo: $(BIN)/.installed
	$(BIN)/python scripts/demo.py --out $(DEMO_DIR) $(if $(DATA),--data "$(DATA)")

# PEERS="--python transformers=OTHER/bin/python" for peers of environments of their own, AGAINST=DIR: another checkout's clicks
bench: $(BIN)/.installed-dev
	-$(BENCHMARKS)/encoder.py --rounds 1 --images 2 --out $(BENCH)/encoder.json $(PEERS)
	-$(BENCHMARKS)/aisam_classes.py --threads 1 --repeats 5 --out $(BENCH)/aisam_slice.json
	-$(BENCHMARKS)/volume.py --volumes 2 --rounds 1 --out $(BENCH)/volume.json
	-$(BENCHMARKS)/volume_memory.py --side 256 --out $(BENCH)/growth.json
	-$(BENCHMARKS)/train_step.py --out $(BENCH)/train_step.json
	-$(BENCHMARKS)/clicks.py --threads 1 --weights none --out $(BENCH)/click.json $(if $(AGAINST),--against $(AGAINST))
	-$(BENCHMARKS)/cohort.py --pictures 40 --out $(BENCH)/cohort.json
	-$(BENCHMARKS)/export.py --weights none --rounds 3 --out $(BENCH)/export.json

test: $(BIN)/.installed-dev
	AMSAM_DOORS=.doors OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "$(CORE)"

coverage: $(BIN)/.installed-dev
	$(UV) pytest-cov
	AMSAM_DOORS=.doors OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "$(CORE)" \
		--cov --cov-report term:skip-covered --cov-report html:.coverage-report

wheels: $(BIN)/.uv
	rm -rf build dist
	$(BUILD_WHEEL) --out-dir dist .
	$(BUILD_WHEEL) --out-dir dist bundles

test-wheel: wheels
	env=$$(mktemp -d) && trap 'rm -rf "$$env"' EXIT && $(NEW_VENV) "$$env" && \
	$(UV_PIP) --python "$$env/bin/python" --constraint constraints.txt \
		"$$(ls $(CURDIR)/dist/amsam_monai-*.whl)[annotate]" pytest pytest-timeout && \
	"$$env/bin/python" -m pytest -m wheel --confcutdir tests/wheel tests/wheel/test_without_bundles.py && \
	$(UV_ADD) --python "$$env/bin/python" dist/amsam_monai_bundles-*.whl && \
	"$$env/bin/python" -m pytest -m wheel --confcutdir tests/wheel tests/wheel/test_bundles.py tests/wheel/test_wheel.py

.venv-label/.installed: pyproject.toml constraints-label.txt $(BIN)/.uv
	$(NEW_VENV) .venv-label
	$(UV_PIP) --python .venv-label/bin/python --constraint constraints-label.txt --editable ".[label,detector]" \
		pytest pytest-timeout
	touch $@

test-label: .venv-label/.installed
	$(DOORS) OMP_NUM_THREADS=1 .venv-label/bin/python -m pytest -m label tests/label_app

test-page: $(BIN)/.installed-dev
	$(DOORS) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m browser tests

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

licences: $(BIN)/.installed-dev .venv-label/.installed .venv-supply/.installed
	.venv-supply/bin/python scripts/licences.py $(BIN)/python .venv-label/bin/python

sbom: .venv-supply/.installed
	rm -rf build
	$(BUILD_WHEEL) --out-dir build/wheels .
	$(NEW_VENV) .venv-sbom
	$(UV_ADD) --python .venv-sbom/bin/python --constraint constraints.txt build/wheels/*.whl
	mkdir -p dist
	.venv-supply/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
		--output-file dist/amsam_monai.cdx.json .venv-sbom/bin/python

release: $(BIN)/.uv
	$(BIN)/python scripts/release.py $(if $(DRY_RUN),--dry-run)

constraints: $(BIN)/.uv
	$(BIN)/python scripts/constraints.py

clean:
	rm -rf $(DEMO_DIR) $(BENCH) site build dist .coverage .coverage-report *.egg-info
