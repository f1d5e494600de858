"""What is measured, in words that a process can be told before it has loaded any library."""

import dataclasses
import types

LOSSES = (
    'energy/positive', 'energy/negative', 'energy/loss', 'generator/energy', 'generator/entropy', 'generator/loss')

# Of the files in a case's folder: the pool, a (batches, N, …) array; the weights under PyTorch's names, and as Chainer
# saves them.
POOL = 'pool.npy'
WEIGHTS = 'energy_model.npz', 'generative_model.npz'
CHAINER_WEIGHTS = 'chainer_energy_model.npz', 'chainer_generative_model.npz'


@dataclasses.dataclass(frozen=True)
class Case:
    """What is measured: a training step of a task's first preset.

    Attributes:
        task (str): A key of ``ddgm.presets.PRESETS``.
        preset (str): Its first.
        threads (int): Of the libraries for matrices.
        device (int): -1 for the CPU, or the number of a GPU.
        settings (types.SimpleNamespace): Every number of the preset, with what was changed of it; plain, so that no
            side has to import this project for it.
    """

    task: str
    preset: str
    threads: int
    device: int
    settings: types.SimpleNamespace

    @property
    def couples_samples(self):
        """Whether a sample's energy depends on its batch: then each phase is a batch of its own."""
        return self.task == 'images'

    def describe(self):
        """The case in words."""
        width = ', width {:g}'.format(self.settings.width) if self.task == 'images' else ''
        return '{}, preset `{}`{}, batches of {}, {} thread{}'.format(
            self.task, self.preset, width, self.settings.batchsize, self.threads, '' if self.threads == 1 else 's')
