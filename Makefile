# make demo    set everything up and run the main job: fine-tune a tiny model, show that it helped
# make test    set everything up and run the whole suite (WORKERS=n processes; 3 suit two cores, 1.5 GB each)
# make check   what CI runs: lint, types, tests, wheel
# make bench   the benchmarks
# make litellm LiteLLM in an environment of its own, which `make test` does too; the gateway's benchmark can measure it
# make fuzz    two minutes of coverage-guided fuzzing of the data readers (SECONDS=n for longer)
# make lock    resolve every provider's worker.in and overrides into its locks (needs a package index)
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: demo test emulators litellm check lint types wheel bench fuzz lock setup clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[peft,openai,azure,data,dedupe,gguf,scan,serve,tokens,compare]' --group dev
	touch $@

demo: $(STAMP)
	$(BIN)/finetune run examples/01_quickstart/finetune.yaml --home .finetune

# Written once, or each of the processes that the tests start would compile the project again (empty means: not set).
export PYTHONDONTWRITEBYTECODE :=

# Tests wait for the jobs and servers that they start, so more processes than cores. One thread each: OpenMP's threads spin
# while they wait for a core that another process has. tests/conftest.py orders the files.
WORKERS ?= 3

test: $(STAMP) emulators litellm
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

emulators: tests/emulators/node_modules/.package-lock.json  # without npm the tests that need them are skipped

tests/emulators/node_modules/.package-lock.json: tests/emulators/package-lock.json
	cd tests/emulators && npm ci --no-audit --no-fund --silent || echo "no npm, or no registry: tests against emulators are skipped"

litellm: .cache/litellm/bin/litellm  # an environment of its own, for a test and a benchmark that want it

.cache/litellm/bin/litellm: tests/emulators/litellm.lock | $(STAMP)
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .cache/litellm
	$(BIN)/uv pip sync --quiet --python .cache/litellm/bin/python tests/emulators/litellm.lock || \
	  echo "no registry: the test of LiteLLM is skipped"

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy
	$(BIN)/pyright

wheel: $(STAMP)
	$(BIN)/python -m build --outdir dist .
	$(BIN)/python -m pytest tests/test_wheel.py

check: lint types test wheel

bench: $(STAMP)
	$(BIN)/python benchmarks/train_throughput.py
	$(BIN)/python benchmarks/data_throughput.py --size 100

SECONDS ?= 120

fuzz: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group fuzz
	mkdir -p .cache/fuzz
	$(BIN)/python tests/fuzz/readers.py .cache/fuzz tests/fuzz/corpus \
	  -artifact_prefix=.cache/fuzz/found- -max_total_time=$(SECONDS) -max_len=8192 -timeout=20 -rss_limit_mb=2048

lock: $(STAMP)
	$(BIN)/python -m finetune_sdk.worker.pins $(patsubst %/worker.in,%,$(wildcard providers/finetune_providers/*/worker.in providers/finetune_providers/onnx/olive/worker.in providers/finetune_providers/serving/*/worker.in finetune_sdk/compare/*/worker.in))

clean:
	rm -rf .venv dist build .finetune .pytest_cache .mypy_cache .ruff_cache
