# make demo    install into .venv, as a user would, and show the main job: no key, no network beyond the packages
# make test    everything that must hold, with the tools of .venv-dev
# make test-all    the tests on each Python of VERSIONS that this machine has; fewer: PARTS="quick notebooks"
# Another interpreter: make test PYTHON=python3.12. More for pytest: make unit ARGS="-k settings".

PYTHON ?= python3
DEV ?= .venv-dev
VERSIONS ?= 3.11 3.12 3.13
PARTS ?= unit notebooks
ARGS ?=
QUESTION := "Which public functions of the standard library accept a parameter that their docstring never mentions? \
Count them by package, and explain the worst offender."
PIP_INSTALL = -m pip install --quiet --disable-pip-version-check

# Tests start hundreds of processes: what Python has compiled for one, it keeps for all.
unexport PYTHONDONTWRITEBYTECODE

PACKAGING := pyproject.toml README.md rlm_kernel/_version.py $(wildcard kernelspec/*)
SOURCES := $(PACKAGING) $(shell find rlm_kernel -name '*.py')

.NOTPARALLEL:
.PHONY: demo test lint unit quick kernels notebooks test-all clean

demo: .venv/installed
	.venv/bin/jupyter rlm run $(QUESTION) -m scripted:notebooks/stdlib_replies.py \
	  -c "$$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"

test: lint unit notebooks

lint: $(DEV)/installed
	$(DEV)/bin/ruff check .
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/mypy
	$(DEV)/bin/lint-imports --no-cache

unit: quick kernels

# Processes are to start and to answer in time, so a test that failed beside others runs once more alone.
ALONE = --last-failed --last-failed-no-failures none $(ARGS)

# No test selected is pytest's exit code 5.
quick: $(DEV)/installed
	$(DEV)/bin/pytest -m "not kernel" -n 2 $(ARGS) || [ $$? = 5 ] || $(DEV)/bin/pytest -m "not kernel" $(ALONE)

# They wait more than they work: three at a time on two cores.
kernels: $(DEV)/installed
	$(DEV)/bin/pytest -m kernel -n 3 --dist loadfile $(ARGS) || [ $$? = 5 ] || $(DEV)/bin/pytest -m kernel $(ALONE)

# The kernel is the one that the notebook names, so the installed one; its view has to be still to be compared.
notebooks: $(DEV)/installed
	RLM_LIVE=0 $(DEV)/bin/pytest --nbval notebooks
	$(DEV)/bin/pytest --nbval tests/traces/*.ipynb

# A name on the PATH is no interpreter yet: pyenv's shims are there for versions that are switched off.
test-all:
	@for version in $(VERSIONS); do \
	  found=; \
	  for python in python$$version "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/$$version.*/bin/python; do \
	    if "$$python" --version >/dev/null 2>&1; then found=$$python; break; fi; \
	  done; \
	  if [ -z "$$found" ]; then echo "Python $$version: not on this machine, not tested"; continue; fi; \
	  echo "Python $$version: $$found"; \
	  KILLS=1 $(MAKE) --no-print-directory $(PARTS) PYTHON="$$found" DEV=.venv-$$version || exit 1; \
	done

# Files of their own say how far an environment is: one that was interrupted while it was made does not count.
%/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is not Python 3.11 or newer; name one that is: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv --clear $*
	touch $@

.venv/installed: .venv/made $(SOURCES)
	.venv/bin/python $(PIP_INSTALL) .
	touch $@

$(DEV)/installed: $(DEV)/made $(PACKAGING)
	$(DEV)/bin/python $(PIP_INSTALL) -e '.[dev]'
	touch $@

clean:
	rm -rf .venv .venv-* build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
