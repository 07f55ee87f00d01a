# make test    everything that has to pass: lint, types, tests
# make demo    a backup of DIR (default: a real tree of this machine), opened as a drive and compared
# make bench   speed and size beside restic and Borg, on the same data (ARGS=--quick: a tenth of it)
# make bench-drives   of it, only the drives (ARGS="--only cp,find --tools kernel,squashfuse")

PYTHON_HERE = .venv/bin/python
DIR ?=
ARGS ?=

.DEFAULT_GOAL = test
.PHONY: test lint types tests demo bench bench-drives soak setup setup-demo setup-bench clean

# One after the other, the quickest first, also under `make -j`.
test: setup
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory types
	@$(MAKE) --no-print-directory tests

lint: setup
	$(PYTHON_HERE) -m ruff check .
	$(PYTHON_HERE) -m ruff format --check .

types: setup
	$(PYTHON_HERE) -m mypy

tests: setup
	@# Not in /tmp: a backup of a folder there sees /tmp itself change, when another test makes something in it.
	@folder=$$(mktemp -d /var/tmp/rpdrive-tests-XXXXXX) && trap 'rm -rf "$$folder"' EXIT && chmod 711 "$$folder" && \
	$(PYTHON_HERE) -m pytest -m "not soak" -n 2 --dist loadfile --basetemp "$$folder/t"

soak: setup
	$(PYTHON_HERE) -m pytest -m soak --timeout 3600

demo: setup-demo
	$(PYTHON_HERE) benchmarks/demo.py $(if $(DIR),"$(DIR)")

bench: setup-bench
	$(PYTHON_HERE) benchmarks/run.py $(ARGS)
	$(PYTHON_HERE) benchmarks/restore.py $(ARGS)
	$(PYTHON_HERE) benchmarks/drives.py $(ARGS)

bench-drives: setup-bench
	$(PYTHON_HERE) benchmarks/drives.py $(ARGS)

setup:
	@tests/setup.sh test

setup-demo:
	@tests/setup.sh demo

setup-bench:
	@tests/setup.sh bench

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -not -path './.tools/*' -prune -exec rm -rf {} +
