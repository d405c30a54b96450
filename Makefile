# make setup | demo | test | quick | clients | lint | format | tables | reference | bench | clean
# `make setup` needs Python 3.11 or newer; demo, test and bench also need an Elasticsearch (docs/running.md).
.DELETE_ON_ERROR:
.PHONY: setup demo test quick clients lint format tables reference bench clean
.DEFAULT_GOAL := setup
MAKEFLAGS += --no-print-directory

# the first Python that is new enough; PYTHON=... names another
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$python" && break; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# the tests also drive the sidecar with the 9.x client, which cannot share an environment with the 8.x client
CLIENT_9 := $(VENV)/clients/9
CLIENT_9_READY := $(VENV)/clients/.9-ready
# what model folders are held against: torch once (3 GB), and the releases beside it
REFERENCE := $(VENV)/clients/sentence-transformers
REFERENCE_READY := $(VENV)/clients/.sentence-transformers-ready
RECORDED := tests/runtime/reference
# the client libraries that people use; they pin the 8.x client themselves
LIBRARIES := $(VENV)/clients/libraries
LIBRARIES_READY := $(VENV)/clients/.libraries-ready
NODE := $(VENV)/clients/node
NODE_READY := $(VENV)/clients/.node-ready
JAVA := $(VENV)/clients/java
JAVA_READY := $(VENV)/clients/.java-ready
GO := $(VENV)/clients/go
GO_READY := $(VENV)/clients/.go-ready
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
BENCHES := $(basename $(notdir $(wildcard bench/local_models.py bench/gateway.py bench/search.py bench/front.py)))

# what Python compiles is kept, since tests start many a process that would compile it again
test quick clients: export PYTHONDONTWRITEBYTECODE :=

setup: $(READY) $(CLIENT_9_READY)
# not where it is the first step of another goal
ifeq ($(MAKECMDGOALS),$(filter setup,$(MAKECMDGOALS)))
	@echo "Ready: $(BIN)/sidecar serve"
endif

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; none was found (PYTHON=... names one)." >&2; exit 1; }
	@echo "Making a virtual environment in $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)

$(READY): pyproject.toml | $(BIN)/python
	@echo "Installing the sidecar and what its tests need, a minute or two ..."
	@$(PIP) install --editable '.[dev]'
	@touch $@

$(CLIENT_9_READY): | $(BIN)/python
	@echo "Installing the 9.x client, with which the tests try the sidecar as well ..."
	@rm -rf $(CLIENT_9)
	@$(PIP) install --no-warn-conflicts --target $(CLIENT_9) 'elasticsearch[async]>=9.4,<10'
	@touch $@

# ARGS="..." goes on to the program
demo: setup
	$(BIN)/python -m demo $(ARGS)

test: setup
	$(BIN)/python -m pytest $(ARGS)

# the tests that need no Elasticsearch and are not marked slow, side by side
quick: setup
	$(BIN)/python -m pytest --quick --numprocesses auto --dist worksteal $(ARGS)

$(LIBRARIES_READY): | $(BIN)/python
	rm -rf $(LIBRARIES)
	$(BIN)/python -m venv $(LIBRARIES)
	$(LIBRARIES)/bin/python -m pip --disable-pip-version-check --quiet install \
		'openai>=2,<3' 'cohere>=5,<6' 'huggingface_hub>=1,<2' 'elasticsearch-haystack>=7,<8' \
		'langchain-elasticsearch>=1,<2' 'langchain-openai>=1,<2' 'langchain-cohere>=0.5,<1' \
		'llama-index-vector-stores-elasticsearch>=0.6,<1' 'llama-index-embeddings-openai>=0.5,<1' \
		'llama-index-postprocessor-cohere-rerank>=0.5,<1'
	@touch $@

# the JavaScript client, both lines, where Node.js is there
$(NODE_READY): | $(BIN)/python
	@if command -v npm >/dev/null; then mkdir -p $(NODE) && npm install --silent --no-audit --no-fund --no-save \
		--prefix $(NODE) 'elasticsearch-8@npm:@elastic/elasticsearch@^8.19' 'elasticsearch-9@npm:@elastic/elasticsearch@^9.4' \
		&& touch $@; else echo "no npm: the JavaScript client is left out" >&2; fi

# the Java client, where Maven is there
$(JAVA_READY): tests/clients/pom.xml | $(BIN)/python
	@if command -v mvn >/dev/null; then rm -rf $(JAVA) && mvn --quiet --batch-mode --file $< dependency:copy-dependencies \
		-DoutputDirectory=$(abspath $(JAVA)) && touch $@; else echo "no mvn: the Java client is left out" >&2; fi

# the typed Go client, both lines, where Go is there; each compiles for minutes
$(GO_READY): tests/clients/go_client.go.txt | $(BIN)/python
	@if command -v go >/dev/null; then for line in 8 9; do mkdir -p $(GO)/$$line \
		&& sed "s#/v9#/v$$line#g; s#-v9#-v$$line#" $< > $(GO)/$$line/main.go && cd $(GO)/$$line && rm -f go.mod go.sum \
		&& go mod init clients 2>/dev/null && go get github.com/elastic/go-elasticsearch/v$$line 2>/dev/null \
		&& go build -o client . && cd $(CURDIR) || exit 1; done && touch $@; \
		else echo "no go: the typed Go client is left out" >&2; fi

# the sidecar driven with the client libraries that people use
clients: setup $(LIBRARIES_READY) $(NODE_READY) $(JAVA_READY) $(GO_READY)
	$(BIN)/python -m pytest tests/clients $(ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# the lists in the docs that are made from the code
tables: setup
	$(BIN)/python -m tools.service_index
	$(BIN)/python -m tools.departures
	$(BIN)/python -m tools.model_layouts

$(REFERENCE_READY): | $(BIN)/python
	rm -rf $(REFERENCE)
	$(PIP) install --no-warn-conflicts --target $(REFERENCE)/6 'sentence-transformers>=6.2,<7' onnx torch
	$(PIP) install --no-warn-conflicts --no-deps --target $(REFERENCE)/5 'sentence-transformers>=5.1,<6' \
		'transformers>=4.57,<5' 'tokenizers>=0.22,<0.23' 'huggingface-hub>=0.36,<1' requests pillow \
		'optimum>=2.1,<3' 'optimum-onnx>=0.1,<0.2'
	$(PIP) install --no-warn-conflicts --no-deps --target $(REFERENCE)/3 'sentence-transformers>=3.4,<4' \
		'transformers>=4.49,<4.50' 'tokenizers>=0.21,<0.22' 'huggingface-hub>=0.29,<0.30' requests pillow
	@touch $@

# records anew what sentence-transformers and Optimum make of small model folders, and holds the sidecar against it
reference: setup $(REFERENCE_READY)
	@set -e; for release in 3 5 6; do echo "== sentence-transformers $$release"; \
		PYTHONPATH=$(REFERENCE)/$$release:$(REFERENCE)/6 $(BIN)/python $(RECORDED)/layouts.py \
			$(RECORDED)/sentence_transformers_$$release.tar.xz; done
	PYTHONPATH=$(REFERENCE)/5:$(REFERENCE)/6:. $(BIN)/python -m tests.runtime.reference.optimum_layouts \
		$(RECORDED)/optimum_2.tar.xz
	$(BIN)/python -m pytest tests/runtime/test_reference_layouts.py $(ARGS)

bench: setup
	@set -e; for program in $(BENCHES); do echo "== bench/$$program.py"; $(BIN)/python -m bench.$$program $(ARGS); done

clean:
	rm -rf $(VENV) dist build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
