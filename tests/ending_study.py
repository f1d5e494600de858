"""A study whose runs end it: for the tests of what is left then.  Imported by its processes, too."""

import os
import signal
import time

CASES = {'quick': {}, 'killed': {}, 'interrupting': {}, 'hanging_up': {}}
ITERATIONS, NEEDS = 1, ()


def measure(case, seed, iterations, data, out):
    if case == 'killed':
        os.kill(os.getpid(), signal.SIGKILL)
    if case == 'interrupting':
        while not [*out.glob('quick-*.json')]:  # which is being written: an interrupt then may leave a file open
            time.sleep(0.01)
        os.kill(os.getppid(), signal.SIGINT)
        time.sleep(300)
    if case == 'hanging_up':
        os.killpg(0, signal.SIGHUP)
        time.sleep(300)
    return {'seed': seed}


def tables(results):
    return {'runs': {'columns': ['case', 'seeds'], 'rows': [
        [case, [run['seed'] for run in runs]] for case, runs in results.items()]}}


def draw(results, out):
    pass
