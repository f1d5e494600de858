"""The post as one HTML page: each of its pictures beside what it said, from whatever runs there are."""

import dataclasses
import json

from benchmarks import ROOT
from ddgm.evaluation import metrics, tasks
from ddgm.figures import page
from ddgm.runs import run_files, run_folder
from ddgm.support.errors import UsageError

DOCS = ROOT / 'docs'
NAME = 'index.html'

METHOD = (
    'Two networks are trained in turn.  The deep energy model (DEM) gives every x an energy E(x), low where data is.  '
    'The deep generative model (DGM) turns noise z into samples x = G(z) in one pass, without a Markov chain.',
    'The DEM is a density, P(x) = exp(−E(x))/Z.  Its loss is the mean energy of data less that of samples, whose '
    'gradient is that of the likelihood where the samples follow P.  The DGM lowers the energy of its samples, and '
    'keeps their entropy up.',
    'The entropy of G can\'t be computed.  The paper reads each batch-normalized unit as a Gaussian with standard '
    'deviation γ: H = Σ ½ log(2πe γ²).  Its gradient flows into γ.')
EQUATION = 'E(x) = xᵀx/σ² − bᵀx − Σᵢ log(1 + exp(Wᵢᵀf(x) + cᵢ))'


@dataclasses.dataclass(frozen=True)
class Section:
    """A heading of the post, the names of the runs below it, and what the post said of its own pictures."""

    heading: str
    runs: tuple
    said: str


SECTIONS = (
    Section('Ten Gaussians in the plane', ('gaussian_mixture',),
            'The post shows data in grey and samples in red, and a video with a frame an epoch.  The samples cover all '
            'ten petals.'),
    Section('A swiss roll', ('swiss_roll',),
            'The same picture and video of a spiral.  The samples follow all of it.'),
    Section('MNIST', ('mnist',), 'Of its good picture the post says that it is not very pretty.'),
    Section('MNIST, the failure', ('mnist_failure',),
            'The post shows a run that draws nothing but something like the average of the data.  It suspects '
            'BatchNormalization in the DEM.'),
    Section('Icons', ('icons',),
            'The post learned 686 icons of a cartoon at 64×64.  Since the faces are not aligned its samples are not '
            'pretty, but they look somewhat like icons, and so it lets them pass.  Its icons can\'t be redistributed; '
            'here it is another folder of pictures.'),
    Section('Icons, the failure', ('icons_failure',),
            'The post has a run that fell into a local optimum, added on 2016-11-09: whatever z is, its samples look '
            'like the average of all icons.'),
)
QUESTIONS = (
    ('question-analogies.md', 'analogies, for which the post had no strength left'),
    ('question-features-and-z.md', 'how the features and z depend on each other'),
    ('question-average-digit.md', 'why a run ends at the average digit'),
    ('question-activations.md', 'which activations the DEM needs'),
    ('question-entropy.md', 'whether the entropy of γ is right'),
    ('question-detector.md', 'what the energy says of data that it has not learned'),
)
CAPTIONS = {
    'data.png': 'data', 'samples.png': 'samples', 'nearest.png': 'samples, each beside the nearest of the data',
    'energy.png': 'log P(x) of the energy model, and samples over it', 'training.gif': 'the training as a video',
    'curves.png': 'energies, losses and the entropy during the training'}


def write(out, runs):
    """Write the page of the runs (``benchmarks.pictures.post.Run``) in the folder ``out``, and return its path."""
    by_name = {run.name: run for run in runs}
    parts = [page.heading('The method'), *map(page.paragraph, METHOD), page.command(EQUATION)]
    for section in SECTIONS:
        parts += [page.heading(section.heading), page.quotation(section.said)]
        for name in section.runs:
            parts += _parts_of(by_name[name], section.heading, out)
    parts += [
        page.heading('The questions that it left open'),
        page.paragraph('Each has a page, with what was measured:'),
        *(page.links(out, [(DOCS / name, text)]) for name, text in QUESTIONS)]
    page.write(out / NAME, 'Deep Directed Generative Models: the post, reproduced', parts)
    return out / NAME


def _parts_of(run, heading, out):
    """What the page says of one run."""
    folder = out / run.name
    command = 'python ' + ' '.join(word for word in run.command(folder, '<folder>' if run.task == 'images' else None)
                                   if word != '--resume')
    try:
        saved = json.loads((folder / run_files.METRICS).read_text(encoding='utf-8'))
        done = run_folder.read_run(folder, 'make it anew')
    except (OSError, ValueError, UsageError):
        return [page.paragraph('This run is not there yet.  It is made by'), page.command(command)]
    shown = [(folder / run_files.FIGURES / name, caption) for name, caption in CAPTIONS.items()]
    scores = {name: value for name, value in saved.items() if name not in ('iterations', 'seed', 'n_samples')}
    unfinished = [] if run.is_done(folder) else [page.paragraph(
        'It is shorter than the post\'s, or not finished: the whole one is made by the command below.')]
    return [
        page.pictures(*[(path, caption) for path, caption in shown if path.exists()], of=heading),
        page.paragraph('Preset {}, seed {}, {:,} iterations on {}; {:,} samples are scored.'.format(
            done.told_preset, saved['seed'], saved['iterations'], done.device, saved['n_samples'])),
        *unfinished, page.command(command), page.table([('samples', scores), *_real_column(done)]),
        page.links(out, [(folder, 'run folder'), (folder / run_files.LOG, 'log')])]


def _real_column(run):
    """What real data scores, where it is at hand."""
    try:
        task = tasks.open_task(run.task, run.data)
        real = task.real_data(metrics.N_SCORED)
        return [] if real is None else [(task.real_name, task.score(real))]
    except UsageError:
        return []
