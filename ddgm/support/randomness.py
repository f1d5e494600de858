"""Where pictures and metrics have their random numbers from: looking at a run never changes it.

Training has a generator of its own for each iteration, :func:`ddgm.training.random_generator`.
"""

import numpy

# Pictures and metrics look at every run through the same z and the same data, whatever its seed.
_PICTURES, _METRICS = 0x70696374, 0x6d657472

# Whose generator is whose.  Published figures were drawn from these; two that share one never meet in one metric.
SHOWN_DATA, SHOWN_Z = 0, 1  # of pictures
SCORED_Z, FRESH_DATA, REFERENCE_DATA, TRAINING_DATA, POPULATION_Z = 0, 1, 2, 3, 4  # of metrics, from here on
PROJECTIONS = 3  # onto which distances are sliced
CLASSIFIER, RANDOM_NETWORK = 5, 6  # their weights
CHOSEN_SAMPLES = 7  # of a larger number
ANALOGIES = 7
REFINEMENT = 10  # of a finished run's samples
LOG_Z = 11  # by importance sampling, or annealing
HELD_OUT = 12  # of a user's own points
GREY_LEVELS = 13  # noise that makes numbers of them
OTHER_INPUTS, LOOKS = 8, 9  # of studies: what is no digit; the noise of a look at training


def picture_generator(stream):
    """A generator for points that pictures show, always in the same state; one for each ``stream`` above."""
    return numpy.random.default_rng((_PICTURES, _PICTURES, stream))


def metric_generator(stream, seed=0):
    """A generator for what metrics draw, always in the same state; one for each ``stream`` above, and each seed.

    NumPy fills what is given with zeros to four numbers, so that of seed 0 is the one without a seed.
    """
    return numpy.random.default_rng((_METRICS, _METRICS, stream, seed))
