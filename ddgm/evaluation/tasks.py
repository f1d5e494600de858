"""The four tasks by name, for what works with any of them."""

from ddgm.evaluation import images as image_evaluation, mnist as mnist_evaluation, toy as toy_evaluation
from ddgm.networks import images, mnist, toy

_NETWORKS = {'gaussian_mixture': toy, 'swiss_roll': toy, 'mnist': mnist, 'images': images}


def build_models(task, settings, rng):
    """The DEM and the DGM of a task, as ``settings`` say, weights drawn from the NumPy generator ``rng``."""
    return _NETWORKS[task].build_models(settings, rng)


def open_task(task, folder=None, settings=None, cache=None):
    """A task's data and what its samples are held against: a ``Plane``, ``Digits`` or ``Pictures``.

    Args:
        task (str): Its name.
        folder: Of the data where it comes from files.
        settings (ddgm.presets.Settings): Of the run that is to learn from the data; ``None``: nothing learns from it.
        cache: The folder for the pixels of many pictures, ``'none'``, or ``None`` for the user's own.

    Raises ``UsageError`` where the data can't be read.
    """
    if task == 'mnist':
        return mnist_evaluation.Digits(folder, *((settings.binarized, settings.batchsize) if settings else ()))
    if task == 'images':
        return image_evaluation.Pictures(folder, settings.batchsize if settings else 2, cache)
    return toy_evaluation.gaussian_mixture() if task == 'gaussian_mixture' else toy_evaluation.swiss_roll()
