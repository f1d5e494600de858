#!/usr/bin/env python3
"""Train the classifier behind the metrics of digits, unless it is kept already, and say how good it is."""

import argparse
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import ddgm  # noqa: E402, F401, I001  (before Chainer)
from ddgm.data import mnist  # noqa: E402
from ddgm.evaluation import classifier  # noqa: E402
from ddgm.runs import command_line, exit_status  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--data', metavar='DIR', type=command_line.path_name, default='data/mnist',
        help='fetched if missing (default: %(default)s)')
    folder = parser.parse_args().data
    start = time.time()
    mnist.fetch(folder)
    network, weights_hash = classifier.load_or_train(mnist.MNIST(folder))
    print('{}: {:.2%} of the test images, {:.0f} s'.format(weights_hash, network.accuracy, time.time() - start))


if __name__ == '__main__':
    exit_status.run_script(main)
