# Two commands are all a fresh machine needs:   make book   and   make test
# The first call of either sets up an environment in .venv; later calls find it and go straight to work.

SHELL := bash
.SHELLFLAGS := -eo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SUITS := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
# The first Python in range is taken; name another with `make book PYTHON=/path/to/python3.12`.
PYTHON ?= $(firstword $(foreach p,python3 python3.11 python3.12 python3.13,$(shell $(p) -c '$(SUITS)' 2>/dev/null && echo $(p))) python3)
PORT ?= 8000

.PHONY: help environment book serve test notebooks policy format colab students pdf epub pins clean

help: ## say what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(READY): requirements.txt constraints.txt pyproject.toml
	@$(PYTHON) -c '$(SUITS)' 2>/dev/null || { echo "mdm-lab needs Python 3.11, 3.12 or 3.13; '$(PYTHON)' is $$($(PYTHON) --version 2>/dev/null || echo not there)."; \
	  echo "Install one of these and say: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -r requirements.txt
	@touch $@

environment: $(READY) ## set up the environment in .venv and nothing else

book: $(READY) ## set up, build the site and say where it is
	$(BIN)/jupyter-book build . -n -W --keep-going
	@echo
	@echo "The book is built: _build/html/index.html"
	@echo "Open that file in a browser, or say: make serve"

serve: ## show the built site on this machine, port 8000 (or PORT=...)
	@test -f _build/html/index.html || { echo "There is no site yet: make book"; exit 1; }
	@echo "http://127.0.0.1:$(PORT)/ (stop with Ctrl-C)"
	@$(BIN)/python -m http.server $(PORT) --bind 127.0.0.1 --directory _build/html

test: $(READY) ## set up and run everything that CI runs
	$(BIN)/python book/tools/verify.py

notebooks: $(READY) ## run chapters and save their outputs (CHAPTER=path for one)
	$(BIN)/python book/tools/execute.py $(CHAPTER)

policy: $(READY) ## check the notebooks' form (CHAPTER=path for one)
	$(BIN)/python book/tools/policy.py $(CHAPTER)

format: $(READY) ## bring code and notebooks into the one style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

colab: $(READY) ## write the Colab edition of the chapters into _build/colab
	$(BIN)/python book/tools/colab.py

students: $(READY) ## write the chapters without solutions and outputs into _build/students
	$(BIN)/python book/tools/colab.py --student

pdf: $(READY) ## print the built site into one PDF (after make book; needs Chromium or Chrome)
	$(BIN)/python book/tools/pdf.py

epub: $(READY) ## pack the built site into an EPUB (after make book; needs Chromium or Chrome)
	$(BIN)/python book/tools/epub.py

pins: $(READY) ## write the versions in .venv into constraints.txt
	$(BIN)/python book/tools/pins.py

clean: ## remove what was built, not the environment
	rm -rf _build
