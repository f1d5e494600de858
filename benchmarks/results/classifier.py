"""Train the classifier behind the metrics of digits, unless there is one for the data, and say how good it is."""

import time

from ddgm.data import mnist
from ddgm.evaluation import classifier
from ddgm.runs.command_line import OneLineParser, path_name
from ddgm.runs.exit_status import run_script
from ddgm.support.errors import Interrupted


def main():
    parser = OneLineParser(prog='python -m benchmarks.results.classifier', description=__doc__)
    parser.add_argument(
        '--data', metavar='DIR', type=path_name, default='data/mnist', help='fetched if missing (default: %(default)s)')
    folder = parser.parse_args().data
    start = time.time()
    mnist.fetch(folder)
    try:
        network, weights_hash = classifier.load_or_train(mnist.MNIST(folder))
    except KeyboardInterrupt:
        raise Interrupted('interrupted: the same command goes on after the last whole epoch') from None
    print('{}: {:.2%} of the test images, {:.0f} s'.format(weights_hash, network.accuracy, time.time() - start))


if __name__ == '__main__':
    run_script(main)
