"""The processes that mpiexec starts for one run: what they tell each other beside arithmetic, and who tells the user.

All of them go through a run in step.  The first alone writes the run folder and prints.  They meet where one may have
failed alone: after the command line, the run folder and the data were read, and at the end.  What ends one of them
there ends all, with one line and one exit status.  Between these places, in training, all decide alike from the same
numbers; what hits one alone there, a full disk say, aborts the others.
"""

import contextlib
import os
import socket
import sys
import time

from ddgm.runs import stop_signals
from ddgm.support import ranks
from ddgm.support.errors import UsageError, one_line
from ddgm.support.ranks import FLAG

NAMES = 'naive', 'pure_nccl'  # of ChainerMN's communicators, those for NumPy and for CuPy
_INSTALL = 'pip install mpi4py, and an MPI, mpich for instance'
_SECONDS = 0.01  # between two looks at whether all have come
_PATIENCE = 10  # seconds in which the first process tells why all end, before mpiexec ends it because of another


class FailedElsewhere(Exception):
    """Another process has failed, with this exit status and this line, ``None`` where it is not this one's to tell."""

    def __init__(self, status, line):
        super().__init__(line)
        self.status, self.line = status, line


class Processes:
    """Those of a run: one, or the ranks of a ChainerMN communicator.

    Attributes:
        communicator: ChainerMN's, or ``None`` where there is one process.
        name (str): By which ChainerMN has it.
        is_first (bool): Whether this one writes and prints.
    """

    def __init__(self, communicator=None, name=None):
        self.communicator = communicator
        self.name = name
        self.size = communicator.size if communicator else 1
        self.is_first = not communicator or communicator.rank == 0
        self._is_in_step = False

    def exchange(self, value=None):
        """The values of all processes, a list; raises ``FailedElsewhere`` where one of them has failed before."""
        return self._exchange((0, None, value)) if self.communicator else [value]

    def from_first(self, compute):
        """What ``compute()`` returns in the first process; the others don't call it."""
        return self.exchange(compute() if self.is_first else None)[0]

    def _exchange(self, outcome):
        all_are_here = self.communicator.mpi_comm.Ibarrier()
        while not all_are_here.Test():  # without keeping a processor busy
            time.sleep(_SECONDS)
        outcomes = self.communicator.mpi_comm.allgather(outcome)
        for status, line, _ in outcomes:
            if status:
                raise FailedElsewhere(status, line if self.is_first else None)
        return [value for _, _, value in outcomes]

    @contextlib.contextmanager
    def in_step(self):
        """A context in which a process that fails alone ends the others at once: they would wait for its numbers."""
        self._is_in_step = True
        yield
        self._is_in_step = False

    def by_all(self, error):
        """The error, which all processes raise at the same place."""
        self._is_in_step = False
        return error

    def device(self, specifier):
        """The Chainer device of this process: of GPUs, the one that is named is the first's, the next the second's …

        Where a process sees one GPU alone, as schedulers arrange it, that one is its own.  Raises ``UsageError`` where
        the communicator is not for such a device, or several processes come to have the same GPU.
        """
        if self.communicator and specifier == 'auto':
            specifier = '@cupy:0' if self.name == 'pure_nccl' else '@numpy'
        on_cpu = specifier in ('-1', '@numpy')
        if not self.communicator:
            return specifier
        if on_cpu == (self.name == 'pure_nccl'):
            raise UsageError('{} {} is for {}: {}'.format(
                FLAG, self.name, *(('GPUs', 'add --device 0, or give naive') if on_cpu else
                                   ('CPUs', 'give pure_nccl, or --device -1'))))
        if on_cpu:
            return specifier
        number = int(specifier.replace('@cupy:', ''))
        if _n_cards() != 1:
            number += self.communicator.intra_rank
        cards = list(filter(None, self.exchange(_card(number))))
        if len(set(cards)) < len(cards):
            raise UsageError('--device {}: {} processes would share {} GPUs: start one process a GPU'.format(
                specifier, len(cards), len(set(cards))))
        return '@cupy:{}'.format(number)

    def environment(self):
        """What ``settings.json`` says of them."""
        return {'communicator': self.name, 'processes': self.size} if self.communicator else {}


def _n_cards():
    """How many GPUs this process sees; ``None``: that can't be told."""
    with contextlib.suppress(Exception):  # no CuPy, no driver: each raises a type of its own
        import cupy
        return cupy.cuda.runtime.getDeviceCount()


def _card(number):
    """What tells a GPU from those of all machines; ``None`` of one that is not there, as is told when it is opened."""
    with contextlib.suppress(Exception):
        import cupy
        return socket.gethostname(), cupy.cuda.Device(number).pci_bus_id


_joined = Processes()


def prepare():
    """Keep all but the first process from printing."""
    if ranks.rank():
        sys.stdout = open(os.devnull, 'w', encoding='utf-8')  # noqa: SIM115 (it stays)


def join(name):
    """Meet the other processes, in ChainerMN's communicator of that name; ``None``: this process is alone.

    Returns :class:`Processes`.  Raises ``UsageError`` where there is no MPI, or this process was not started by it, or
    it was started together with others and knows nothing of them.
    """
    global _joined
    if name is None:
        _check_alone()
        return Processes()
    if ranks.rank() is None:
        raise UsageError('{0} {1}: start it by mpiexec -n N python {2} …, or leave out {0}'.format(
            FLAG, name, os.path.basename(sys.argv[0])))
    _joined = Processes(_communicator(name), name)
    return _joined


def _check_alone():
    number, size = ranks.number_and_size()
    if size > 1:
        raise _told_by_first(number, UsageError(
            'mpiexec has started {} processes, which know nothing of one another: add {} naive, on GPUs pure_nccl, to '
            'share a run, or start one process'.format(size, FLAG)))


def _told_by_first(number, error):
    """The error, or for any process but the first one that says nothing, once the first has had time to tell."""
    if not number:
        return error
    with contextlib.suppress(KeyboardInterrupt):  # mpiexec's signal
        time.sleep(_PATIENCE)
    return FailedElsewhere(2, None)


def _communicator(name):
    try:
        import chainermn
        communicator = chainermn.create_communicator(name)
    except Exception as error:  # no mpi4py, no MPI, no NCCL: each raises a type of its own
        raise UsageError('{} {}: not available here ({}): {}'.format(
            FLAG, name, one_line(error), _INSTALL if name == 'naive' else
            'on CPUs give naive; on GPUs {}, and NCCL for CuPy'.format(_INSTALL))) from error
    number, size = ranks.number_and_size()
    if communicator.size < size:
        from mpi4py import MPI
        raise _told_by_first(number, UsageError(
            'mpiexec has started {} processes, of which mpi4py sees {}: its MPI is another one ({}); start by the '
            'mpiexec of that one, or install mpi4py for this'.format(
                size, communicator.size, one_line(MPI.Get_library_version())[:40])))
    return communicator


def are_several():
    """Whether this process has joined others."""
    return _joined.size > 1


def outcome_of_all(status, line):
    """The exit status and the line, or ``None``, with which this process ends, from those of its own end.

    All processes come to this call, but for those that have learned from another of its end.
    """
    joined = _joined
    if not joined.communicator and ranks.rank() is not None and status:
        # It has failed before it could join; others may not have.
        try:
            joined = Processes(_communicator('naive'))
        except (UsageError, FailedElsewhere):
            return status, None if ranks.rank() else line
    if not joined.communicator:
        return status, line
    if joined._is_in_step:
        return status, line
    with stop_signals.noted():  # the first may be drawing
        try:
            joined._exchange((status, line, None))
        except FailedElsewhere as error:
            return error.status, error.line
    return status, line


def end_others(status):
    """Where this process was in step with others, end all of them: this does not return then."""
    if _joined._is_in_step:
        _joined.communicator.mpi_comm.Abort(status)
