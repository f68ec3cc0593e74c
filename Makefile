# Two commands do all the set-up: `make run` to see it work, `make test` to prove it.
# The rest: make serve | worker | check | format | bench | studies | documents | test-peers | test-long | chaos | fuzz | audit |
#   compose-test | screenshots | mlflow | lock | clean

PYTHON ?= python3.11
RUN_DIR ?= .run
LABEL_STUDIO_PORT ?= 8080
PORT ?= 9090
MLFLOW_PORT ?= 5000

BIN := .venv/bin
READY := .venv/.ready
# It measures milliseconds, so nothing may run beside it.
TIMED := tests/live/test_webhooks.py
DEV_READY := .venv/.ready-dev
STUDIO_READY := .venv-label-studio/.ready

# Spinning OpenMP threads starve each other as soon as cores are shared: seven times slower (docs/decisions.md).
export OMP_WAIT_POLICY := PASSIVE
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: documents studies test-peers test-long chaos fuzz audit compose-test screenshots run serve worker test check format bench mlflow lock clean setup

run: $(READY) $(STUDIO_READY)
	@$(BIN)/python -m examples.demo --folder $(RUN_DIR) --label-studio-port $(LABEL_STUDIO_PORT) --port $(PORT)

serve: $(READY)
	@$(BIN)/python _wsgi.py

worker: $(READY)
	@$(BIN)/python -m edgewise work

test: $(DEV_READY) $(STUDIO_READY) check
	@sh tests/system-packages.sh
	@$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder --deselect $(TIMED) $(PYTEST_ARGS)
	@$(BIN)/pytest $(TIMED) $(PYTEST_ARGS)

check: $(DEV_READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/pytest -q tests/test_layers.py

format: $(DEV_READY)
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

screenshots: $(DEV_READY) $(STUDIO_READY)
	@EDGEWISE_SCREENSHOTS=$(CURDIR)/docs $(BIN)/pytest -q tests/live/test_loop.py tests/long/test_dashboard.py

# What the commands print, into docs/commands.md and docs/help.md.
documents: $(DEV_READY) $(STUDIO_READY)
	@$(BIN)/python -m tests.cli.commands_doc
	@EDGEWISE_DOCUMENTS=1 $(BIN)/pytest -q tests/cli/test_commands_on_a_project.py tests/live/test_doctor.py
	@EDGEWISE_DOCUMENTS=1 $(BIN)/pytest -q tests/long/test_doctor.py

# The long measurements behind the README's figures; resumable. DATA: the folder of docs/data.md.
studies: $(DEV_READY)
	@$(BIN)/python -m benchmarks.simulate_wikigold
	@$(BIN)/python -m benchmarks.label_errors
	@$(BIN)/python -m benchmarks.saving banking77
	@$(BIN)/python -m benchmarks.freeal
	@$(BIN)/python -m benchmarks.coverage $(DATA)
	@$(BIN)/python -m benchmarks.stopping $(DATA)
	@$(BIN)/python -m benchmarks.head $(DATA)
	@$(BIN)/python -m benchmarks.labels_saved $(DATA) --proxy --seeds 0,1,2
	@$(BIN)/python -m benchmarks.labels_saved $(DATA)

# What is claimed of speed, against peers, in about an hour; nothing else may run. DATA as above.
bench: $(DEV_READY) $(STUDIO_READY)
	@$(BIN)/python -m benchmarks.rank
	@$(BIN)/python -m benchmarks.push
	@$(BIN)/python -m benchmarks.classification examples/banking77
	@$(BIN)/python -m benchmarks.store
	@$(BIN)/python -m benchmarks.queue
	@$(BIN)/python -m benchmarks.uncertainty
	@$(BIN)/python -m benchmarks.training
	@$(BIN)/python -m benchmarks.serving
	@$(BIN)/python -m benchmarks.activation
	@$(BIN)/python -m benchmarks.scale_out
	@$(BIN)/python -m benchmarks.head $(DATA) --sets wnut17 --seeds 0
	@$(BIN)/python -m benchmarks.labels_saved $(DATA) --again

mlflow: $(READY)
	@MLFLOW_DISABLE_TELEMETRY=true $(BIN)/mlflow ui --host 127.0.0.1 --port $(MLFLOW_PORT) \
	  --backend-store-uri $${MLFLOW_TRACKING_URI:-sqlite:///$(RUN_DIR)/data/mlruns.db}

setup: $(READY) $(STUDIO_READY)

# torch first and by itself: asked for by another package it would bring several GB of CUDA.
$(READY): requirements.txt requirements-label-studio-ml.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "Edgewise needs Python 3.11: install it, or say make PYTHON=/path/to/python3.11."; exit 1; }
	@echo "Making the environment in .venv: about three minutes, once."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/pip install -q $$(grep '^torch==' requirements.txt)
	@$(BIN)/pip install -q -r requirements.txt
	@$(BIN)/pip install -q --no-deps -r requirements-label-studio-ml.txt
	@$(BIN)/pip install -q --no-deps setuptools==84.2.1
	@$(BIN)/pip install -q --no-deps --no-build-isolation -e .
	@touch $@

$(DEV_READY): $(READY) requirements-dev.txt
	@$(BIN)/pip install -q -r requirements-dev.txt
	@touch $@

$(STUDIO_READY): requirements-label-studio.txt
	@echo "Making Label Studio's own environment in .venv-label-studio: about two minutes, once."
	@test -x .venv-label-studio/bin/python || $(PYTHON) -m venv .venv-label-studio
	@.venv-label-studio/bin/pip install -q -r requirements-label-studio.txt
	@touch $@

test-peers: $(DEV_READY)
	@sh tests/peers/build.sh
	@$(BIN)/pytest $(PYTEST_ARGS) tests/peers

test-long: $(DEV_READY) $(STUDIO_READY)
	@$(BIN)/pytest $(PYTEST_ARGS) tests/long

# kill -9 of every service at every moment, full disks, jumping clocks, 100,000 tasks.
chaos: $(DEV_READY) $(STUDIO_READY)
	@sh tests/system-packages.sh
	@$(BIN)/pytest $(PYTEST_ARGS) tests/chaos/test_town.py tests/chaos/long

# 20,000 requests that nobody should send, damaged annotations, and new examples for all that holds of whatever is given;
# about 25 minutes.
fuzz: export EDGEWISE_NEW_EXAMPLES = 1
fuzz: $(DEV_READY) $(STUDIO_READY)
	@EDGEWISE_FUZZ_REQUESTS=20000 $(BIN)/pytest -q tests/fuzz --timeout 2400 $(PYTEST_ARGS)
	@$(BIN)/pytest -q -m hypothesis tests --ignore tests/fuzz --timeout 2400 $(PYTEST_ARGS)

# Known vulnerabilities of the locked versions. Needs the internet: what could not be asked about fails, it is not clean.
audit:
	@test -x build/audit/bin/pip-audit || { $(PYTHON) -m venv build/audit && build/audit/bin/pip install -q pip-audit==2.10.1; }
	@build/audit/bin/pip-audit --strict --no-deps --disable-pip -r requirements.txt -r requirements-label-studio-ml.txt

compose-test: $(READY)
	@sh tests/compose/run.sh

lock:
	@rm -rf build/lock && $(PYTHON) -m venv build/lock
	@build/lock/bin/pip install -q $$(grep '^torch==' requirements.in)
	@build/lock/bin/pip install -q -r requirements.in
	@{ echo "# Every package of the server and the worker, pinned: \`make lock\` writes this file from requirements.in."; \
	   build/lock/bin/pip freeze | sed 's/+cpu$$//'; } > requirements.txt
	@rm -rf build/lock

clean:
	@rm -rf $(RUN_DIR) .mypy_cache .ruff_cache .pytest_cache .hypothesis build
