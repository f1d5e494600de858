# make demo: set everything up and make the post's first picture.  make test: the same for the tests.
# Another Python: make test PYTHON=python3.13 VENV=.venv-3.13

PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin/python

# Chainer's source package needs an older setuptools while it is built; old pips read the first, new ones the second.
export PIP_CONSTRAINT = constraints.txt
export PIP_BUILD_CONSTRAINT = constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo test lint pictures table clean

# An interrupted demo goes on where it was.
demo: $(VENV)/installed
	$(RUN) train_gaussian_mixture.py --out result/demo $(if $(wildcard result/demo/settings.json),--resume)

test: $(VENV)/installed-test
	$(RUN) -m pytest -n auto --dist worksteal

lint: $(VENV)/installed-test
	$(RUN) -m ruff check .

# The README's pictures, from the default runs of both scripts.
pictures: demo
	$(RUN) train_swiss_roll.py --out result/demo_roll $(if $(wildcard result/demo_roll/settings.json),--resume)
	$(RUN) benchmarks/readme_pictures.py

# The README's table: three seeds of both 2-D tasks, some ten minutes on two cores.
table: $(VENV)/installed
	$(RUN) benchmarks/quality.py

$(VENV)/installed: requirements.txt constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 9) and "Python 3.9 or later is needed: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install -q -r requirements.txt
	touch $@

$(VENV)/installed-test: requirements-test.txt $(VENV)/installed
	$(RUN) -m pip install -q -r requirements-test.txt
	touch $@

clean:
	rm -rf $(VENV)
