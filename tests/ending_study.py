"""A study whose runs end it, or tell of their data: for tests of what is left then.  Its processes import it too."""

import os
import signal
import time

from ddgm.data.mnist import MNIST
from ddgm.studies.study import Case

CASES = {
    **dict.fromkeys(('quick', 'killed', 'interrupting', 'hanging_up'), Case('gaussian_mixture')),
    'mnist/brightness': Case('mnist', 'post')}
ITERATIONS, NEEDS = 1, ()


def measure(run):
    if run.name == 'mnist/brightness':
        return {'seed': float(MNIST(run.data['mnist']).train_images.mean())}
    if run.name == 'killed':
        os.kill(os.getpid(), signal.SIGKILL)
    if run.name == 'interrupting':
        while not [*run.out.glob('quick-*.json')]:  # which is being written: an interrupt then may leave a file open
            time.sleep(0.01)
        os.kill(os.getppid(), signal.SIGINT)
        time.sleep(300)
    if run.name == 'hanging_up':
        os.killpg(0, signal.SIGHUP)
        time.sleep(300)
    return {'seed': run.settings.seed}


def tables(results):
    return {'runs': {'columns': ['case', 'seeds'], 'rows': [
        [case, [run['seed'] for run in runs]] for case, runs in results.items()]}}


def draw(results, out):
    pass
