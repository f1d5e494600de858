# make demo: set everything up and make the post's first picture.  make test: the same for the tests.
# Another Python: make test PYTHON=python3.13 VENV=.venv-3.13

PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin/python
# With COMPILED=1, as in make demo COMPILED=1, numba is installed, and compiles what NumPy would compute.
COMPILER = $(if $(COMPILED),$(VENV)/installed-compiled)

export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo test test-all faults test-parity test-compiled test-mpi lint docs figures classifier measure tables speed gpu large-data clean

# An interrupted demo goes on where it was, and says so by what is exported here.  Seed 1 is neither a good one nor a bad
# one: docs/results.md says how much seeds differ.
demo: export DDGM_TO_GO_ON = make demo
demo: $(VENV)/installed $(COMPILER)
	$(RUN) train_gaussian_mixture.py --out result/demo $(if $(wildcard result/demo/settings.json),--resume,--seed 1)

# All but what takes long: some ten minutes on two cores.
test: $(VENV)/installed-test $(COMPILER)
	$(RUN) -m pytest -m 'not slow' -n auto --dist worksteal

# What takes long too: a minute or two more.
test-all: $(VENV)/installed-test $(COMPILER)
	$(RUN) -m pytest -n auto --dist worksteal

# The faults of docs/reliability.md, in full: SIGKILLs, full disks, ten thousand damaged files for each reader.  Ten to
# twenty minutes.  Then docs/results/reliability.json is what they have told.
faults: $(VENV)/installed-pytorch $(VENV)/installed-mpi
	$(RUN) -m pytest tests/test_faults.py tests/test_fuzz.py tests/test_processes.py --thorough --record -n auto --dist worksteal

# The same models in PyTorch, and TensorBoard's files, which `make test` leaves out where they are missing: some minutes.
test-parity: $(VENV)/installed-pytorch
	$(RUN) -m pytest tests/test_parity.py tests/test_checkpoints.py tests/test_event_files.py \
		'tests/test_fuzz.py::test_damaged_inputs[EventFiles]' -n auto --dist worksteal

# What numba compiles, beside NumPy, and what a step costs with it: some minutes.
test-compiled: $(VENV)/installed-test $(VENV)/installed-compiled
	$(RUN) -m pytest tests/test_compiled.py -n auto

# Several processes, started by mpiexec: some minutes.
test-mpi: $(VENV)/installed-mpi
	$(RUN) -m pytest tests/test_processes.py

lint: $(VENV)/installed-test
	$(RUN) -m ruff check .

# The pages and a reference of all modules as a site, result/site/index.html; a dead link or a warning ends it.
docs: $(VENV)/installed-docs
	$(RUN) -m benchmarks.pictures.site

# Every picture and video of the post, and a page of them, result/post/index.html; MNIST is fetched if it is missing, the
# icons are any folder of pictures:
#     make figures IMAGES=path [MNIST=path] [SMALL=docs, for the documents' copies]
MNIST ?= data/mnist
figures: $(VENV)/installed $(COMPILER)
	$(RUN) -m benchmarks.pictures.post --mnist $(MNIST) $(if $(IMAGES),--images $(IMAGES)) $(if $(SMALL),--small $(SMALL))

# The classifier behind the metrics of digits, for other data than MNIST, whose comes with the package: a minute or two,
# once.  train_mnist.py makes it too when it needs it.
#     make classifier MNIST=path
classifier: $(VENV)/installed
	$(RUN) -m benchmarks.results.classifier --data $(MNIST)

# Everything that the documents show, measured with the present code where it was not yet: hours, on a machine that does
# nothing else.  LIST=1 only says what is left, SAME_BITS=1 keeps what the present code would find again, and ONLY names
# some of docs/results/.
#     make measure IMAGES=path [MNIST=path] [ONLY='plane density'] [LIST=1] [SAME_BITS=1]
measure: $(VENV)/installed $(addprefix $(VENV)/installed-,$(if $(LIST),,compiled $(if $(SAME_BITS),,pytorch mpi)))
	$(RUN) -m benchmarks.results --mnist $(MNIST) $(if $(IMAGES),--images $(IMAGES)) $(if $(ONLY),--only $(ONLY)) \
		$(if $(LIST),--list) $(if $(SAME_BITS),--same_bits)

# Fill the tables of README.md and docs/ from docs/results/*.json.
tables: $(VENV)/installed
	$(RUN) -m benchmarks.results.tables

# How long a training step takes beside PyTorch and plain Chainer: some minutes on a machine that does nothing else.
#     make speed [COMPILED=1] [SPEED='--scaling --startup']
speed: $(VENV)/installed-pytorch $(COMPILER)
	$(RUN) -m benchmarks.speed $(SPEED)

# Everything that a GPU is to show, in ten minutes: tests, agreement with the CPU, speed, pictures.
#     make gpu IMAGES=path [MNIST=path] [CUDA=13]
CUDA ?= 12
gpu: $(VENV)/installed-pytorch $(VENV)/installed-cuda$(CUDA)
	$(RUN) -m benchmarks.checks.gpu --mnist $(MNIST) $(if $(IMAGES),--images $(IMAGES)) --record

# What many pictures and long runs cost, for docs/large-data.md: ten minutes on a machine that does nothing else, and
# some gigabytes in data/.
large-data: $(VENV)/installed
	$(RUN) -m benchmarks.speed.large_data

# $(VENV).unfinished stands while something is installed.  What an interrupted try left is made anew, not trusted.
ifneq ($(wildcard $(VENV).unfinished),)
$(info $(VENV) was left unfinished, and is made anew)
$(shell rm -f $(VENV)/installed*)
endif

$(VENV)/installed: constraints.txt prepare_pip.py requirements.txt
	@if [ -e $(VENV).unfinished ] || [ ! -e $(RUN) ]; then \
		touch $(VENV).unfinished && $(PYTHON) -m venv --clear $(VENV) || { \
			echo 'No environment can be made: give another folder or Python, as in make VENV=folder PYTHON=python3.12' >&2; \
			exit 1; }; fi
	@$(RUN) prepare_pip.py
	@$(call INSTALL,requirements.txt)

$(VENV)/installed-test: requirements-test.txt $(VENV)/installed
	@$(call INSTALL,requirements-test.txt)

$(VENV)/installed-compiled: requirements-compiled.txt $(VENV)/installed
	@$(call INSTALL,requirements-compiled.txt)

$(VENV)/installed-docs: requirements-docs.txt $(VENV)/installed
	@$(call INSTALL,requirements-docs.txt)

$(VENV)/installed-pytorch: requirements-pytorch.txt $(VENV)/installed-test
	@$(call INSTALL,requirements-pytorch.txt)

$(VENV)/installed-mpi: requirements-mpi.txt $(VENV)/installed-test
	@$(call INSTALL,requirements-mpi.txt)

$(VENV)/installed-cuda$(CUDA): requirements-cuda$(CUDA).txt $(VENV)/installed-test
	@$(call INSTALL,requirements-cuda$(CUDA).txt)

define INSTALL
echo 'Installing $(1) into $(VENV) ...'; touch $(VENV).unfinished; \
$(RUN) -m pip install -q -r $(1) || { echo 'pip could not install $(1), and says above why.  It needs the network.  \
Then the same make again.' >&2; exit 1; }; \
rm $(VENV).unfinished; touch $@
endef

clean:
	rm -rf $(VENV) $(VENV).unfinished
