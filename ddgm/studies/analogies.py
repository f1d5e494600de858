"""Does arithmetic on z make analogies?  z₁ − z₂ + z₃, averages of z, and points between two z, on digits and icons.

What a sample shows is what a classifier says of a digit, and what is known of the nearest icon: its skin tone, by its
file's name.  The same arithmetic on pixels, and chance, stand beside it.
"""

import re

import numpy

from ddgm.data.image_folder import ImageFolder
from ddgm.data.mnist import MNIST, SIDE
from ddgm.evaluation import metrics, sampling
from ddgm.evaluation.classifier import load_or_train
from ddgm.evaluation.pictures import downscale
from ddgm.figures import post
from ddgm.studies import study
from ddgm.support import randomness
from ddgm.support.tables import rounded

CASES = {
    'mnist/post': study.Case('mnist', 'post'), 'mnist/calibrated': study.Case('mnist', 'calibrated'),
    'images/post': study.Case('images', 'post', {'width': 0.25, 'batchsize': 32}, length=3 / 8)}  # digits cost less
ITERATIONS, NEEDS = 4_000, ()
N_PAIRS = 1000
SHOWN = {
    'z': 'right by z', 'pixels': 'by pixels', 'chance': 'by chance', 'z_kept': 'like samples, by z',
    'pixels_kept': 'like samples, by pixels'}
METHODS = ('z₁ − z₂ + z₃', 'means of a class', 'half-way')


def answers(generate, z, x, label, rng):
    """How often arithmetic gives what the analogy wants: by method, of z, of pixels, and by chance.

    Args:
        generate: From z (N, d) to x (N, …).
        z, x: Samples and where they came from; enough of them that classes have members.
        label: From x (N, …) to what they show, (N,) integers.
        rng: NumPy generator of which samples are tried.

    Classes of fewer than 1 in 100 samples are left out; ``None`` where fewer than two are left.  z is cut to −1…1.
    With a and b classes, the methods are: z₁, z₂ of a, z₃ of b: b is wanted, with chance the share of b among all
    samples; the same with the means of all z of a and of b; half-way between samples of a and b: either is wanted, with
    chance their share.  ``kept`` is how near the answer's density comes to that of samples: the share of answers that
    lie in the ball of some sample to its fifth neighbour, in pixels; of samples it is 1.
    """
    labels = label(x)
    classes = [c for c in numpy.unique(labels) if (labels == c).mean() >= 0.01 and (labels == c).sum() >= 3]
    if len(classes) < 2:
        return None
    analogies = draw_analogies(labels, classes, rng)
    found = {}
    for method in METHODS:
        wanted = [analogies['b']] if method != METHODS[2] else [analogies['a'], analogies['b']]
        of_z = generate(combine(method, z, labels, analogies).clip(-1, 1).astype(numpy.float32))
        of_pixels = combine(method, x, labels, analogies).clip(0, 1).astype(numpy.float32)
        found[method] = {'chance': float(sum((labels == c[:, None]).mean() for c in wanted))}
        for kind, answer in (('z', of_z), ('pixels', of_pixels)):
            found[method][kind] = float(numpy.any([label(answer) == c for c in wanted], axis=0).mean())
            samples, flat = (points.reshape(len(points), -1) for points in (x[:1000], answer))
            found[method][kind + '_kept'] = float(metrics.inside_balls(samples, flat).any(axis=0).mean())
    return found


def draw_analogies(labels, classes, rng):
    """N_PAIRS analogies: classes ``a`` ≠ ``b``, and which samples are the first and second (of a) and third (of b)."""
    members = {c: numpy.flatnonzero(labels == c) for c in classes}
    drawn = []
    for _ in range(N_PAIRS):
        a, b = rng.choice(classes, 2, replace=False)
        drawn.append((a, b, *rng.choice(members[a], 2), rng.choice(members[b])))
    return dict(zip(('a', 'b', 'first', 'second', 'third'), numpy.array(drawn).T))


def combine(method, points, labels, analogies):
    """The arithmetic of a method on points (N, …), z or pixels: (N_PAIRS, …)."""
    first, second, third = (points[analogies[name]] for name in ('first', 'second', 'third'))
    if method == METHODS[0]:
        return first - second + third
    if method == METHODS[2]:
        return 0.5 * (first + third)
    means = {c: points[labels == c].mean(axis=0) for c in numpy.unique(labels)}
    return first + numpy.stack([means[b] - means[a] for a, b in zip(analogies['a'], analogies['b'])])


def skin_tones(paths):
    """What icons show, by their files' names: 0 where none is named, 1 to 5 for U+1F3FB to U+1F3FF."""
    tones = [re.search(r'1f3f([b-f])', path) for path in paths]
    return numpy.array(['-bcdef'.index(tone[1]) if tone else 0 for tone in tones])


def row_of_answers(generate, z, labels, classes):
    """For each of some classes z₁, z₂ of it, z₃ of the next, and z₁ − z₂ + z₃; then a way from z₁ to z₃ in 5 steps."""
    points = []
    for a, b in zip(classes, numpy.roll(classes, -1)):
        i, j = numpy.flatnonzero(labels == a)[:2]
        k = numpy.flatnonzero(labels == b)[0]
        points += [z[i], z[j], z[k], z[i] - z[j] + z[k]]
        points += [(1 - t) * z[i] + t * z[k] for t in numpy.linspace(0, 1, 6)]
    return generate(numpy.stack(points).clip(-1, 1).astype(numpy.float32))


def measure(run: study.Run) -> dict:
    _, model, z, x, _ = run.finished()

    def generate(z):
        return sampling.sample(model, z)
    if run.case.task == 'mnist':
        classifier, _ = load_or_train(MNIST(run.data['mnist']))

        def label(x):
            return classifier.features_and_probabilities(x)[1].argmax(axis=1)
    else:
        icons = ImageFolder(run.data['images'])
        tones, small = skin_tones(icons.paths), downscale(icons.images.astype(numpy.float32) / 255)

        def label(x):
            return tones[metrics.nearest(downscale(x), small)[1]]
    found = answers(generate, z, x, label, randomness.metric_generator(randomness.ANALOGIES))
    labels = label(x)
    classes = [c for c in numpy.unique(labels) if (labels == c).sum() >= 3]
    shown = row_of_answers(generate, z, labels, classes) if len(classes) > 1 else x[:10]
    path = run.path.with_suffix('.npz')
    numpy.savez_compressed(path, x=(255 * shown).round().astype(numpy.uint8))
    return {'answers': found, 'shown': path.name, 'iterations': run.settings.iterations}


def tables(results: dict) -> dict:
    return {
        task: {
            'columns': ['analogy', *SHOWN.values()], 'seeds': False,
            'rows': [
                ['`{}`, {}'.format(preset, method), *(
                    rounded([run['answers'] and run['answers'][method][key] for run in runs], 2)
                    for key in SHOWN)]
                for preset, runs in cases.items() for method in METHODS],
            'made': {'iterations': next(iter(cases.values()))[0]['iterations']}}
        for task, _, cases in study.by_task(results, {'mnist': None, 'images': None})}


def draw(results: dict, out) -> None:
    for case, runs in results.items():
        shown = numpy.load(out / runs[0]['shown'])['x'] / 255
        post.draw_small_grid(
            out / 'analogies_{}.png'.format(case.replace('/', '_')),
            shown.reshape(-1, SIDE, SIDE) if shown.ndim == 2 else shown)
