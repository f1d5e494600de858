"""What was measured of training steps, as tables and a picture."""

import statistics

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from ddgm.figures import post
from ddgm.support.tables import rounded

AIMS = {'gaussian_mixture': 0.8, 'mnist': 0.9, ('images', 1): 0.95, ('images', 0.25): 1.0}  # beside tuned PyTorch
PEERS = {
    'chainer': 'plain Chainer', 'pytorch': 'PyTorch as written', 'pytorch_tuned': 'PyTorch tuned',
    'pytorch_compiled': 'PyTorch compiled'}
NAMES = {'gaussian_mixture': 'plane', 'mnist': 'MNIST', 'images': 'icons'}


def describe(case: dict) -> str:
    """A case in the words of the documents."""
    width = case['settings'].get('width', 1)
    return '{}{}, batches of {:,}'.format(
        NAMES[case['task']], ', width {:g}'.format(width) if width != 1 else '', case['settings']['batchsize'])


def ratio_cell(side: dict):
    """Ours over a side's: the median of all rounds and their range; ``None`` where it was not measured."""
    if 'ratios' not in side:
        return None
    return {'value': rounded(side['ratio']), 'from': rounded(min(side['ratios'])), 'to': rounded(max(side['ratios']))}


def case_table(case: dict) -> dict:
    """The table of one case: a row for each side that was measured."""
    on_gpu = any(entry.get('peak_device_memory') for entry in case['sides'].values())
    columns = ['side', 'ms a step', 'ours over its', 'peak memory, MB', 'largest difference']
    return {'columns': columns + on_gpu * ['of the GPU, MB'], 'rows': [
        [name, rounded(1e3 * entry['step'], 4), ratio_cell(entry), round(entry['peak_memory'] / 1e6),
         '{:.0e}'.format(entry['largest_difference']) if 'ratios' in entry else None,
         *(on_gpu * [entry['peak_device_memory'] and round(entry['peak_device_memory'] / 1e6)])]
        for name, entry in case['sides'].items() if 'step' in entry]}


def lines_of(case: dict) -> list:
    """What the table of a case leaves out: why a side was not measured, and what others chose."""
    return [
        '{}: not measured ({})'.format(name, entry['not_measured']) if 'not_measured' in entry
        else '{}: {}'.format(name, entry['notes'])
        for name, entry in case['sides'].items() if entry.get('not_measured') or entry.get('notes')]


def step_tables(cases: list) -> dict:
    """The tables of a step: times and ratios, and memory."""
    steps, memory = [], []
    for case in cases:
        sides, width = case['sides'], case['settings'].get('width', 1)
        aim = AIMS.get(case['task'], AIMS.get((case['task'], width)))
        steps.append([
            '{}, {} rounds'.format(describe(case), len(sides['ours']['turns'])), case['threads'],
            rounded(1e3 * sides['ours']['step']), *(ratio_cell(sides.get(name, {})) for name in PEERS),
            '≤ {:g}'.format(aim)])
        memory.append([describe(case), *(
            round(sides[name]['peak_memory'] / 1e6) if 'peak_memory' in sides.get(name, {}) else None
            for name in ('ours', 'pytorch', 'pytorch_tuned'))])
    return {
        'steps': {
            'columns': [
                'case', 'threads', 'ms a step', *('over ' + title for title in PEERS.values()), 'aim beside tuned'],
            'rows': steps},
        'memory': {
            'columns': ['peak memory of the process, MB', 'ours', 'PyTorch as written', 'PyTorch tuned'],
            'rows': memory}}


def size_tables(series: dict) -> dict:
    """The table of other sizes: of all series, each case once, beside the peers that were asked for."""
    cases = [case for of_series in series.values() for case in of_series]
    peers = [name for name in PEERS if any(name in case['sides'] for case in cases)]
    rows = {
        '{}, {} thread{}'.format(describe(case), case['threads'], 's' * (case['threads'] > 1)): [
            rounded(1e3 * case['sides']['ours']['step']),
            *(rounded(case['sides'][name].get('ratio')) for name in peers)]
        for case in cases}
    return {'sizes': {
        'columns': ['case', 'ms a step', *('over ' + PEERS[name] for name in peers)],
        'rows': [[title, *cells] for title, cells in rows.items()]}}


def start_tables(seconds: dict, demo: dict) -> dict:
    """The tables of starts and of the parts of a whole run, medians of seconds."""
    return {
        'startup': {
            'columns': ['start', 'seconds'], 'seeds': False,
            'rows': [['`{}`'.format(title), times if isinstance(times, str) else rounded(statistics.median(times), 2)]
                     for title, times in seconds.items()]},
        'demo': {
            'columns': ['part', 'seconds'],
            'rows': [[part, rounded(statistics.median(times), 2)] for part, times in demo.items()]}}


COLOURS = {'ours': post.SAMPLE_COLOUR, 'pytorch': 'tab:gray', 'pytorch_tuned': 'tab:blue'}


@post.defaults()
def draw_sizes(path, series):
    """Milliseconds a step over what grows in each series: this project's and both of PyTorch, by number of threads."""
    figure = Figure(figsize=(1.25 * post.INCHES, post.INCHES), layout='constrained')
    FigureCanvasAgg(figure)
    panels = {}
    for title, cases in series.items():
        task, growing = title.split(', ')
        if growing != 'threads':
            panels.setdefault((task, 'width' if growing == 'width' else 'batchsize'), []).extend(cases)
    for axes, ((task, growing), cases) in zip(figure.subplots(2, 2).flat, panels.items()):
        for threads in sorted({case['threads'] for case in cases}):
            for name, colour in COLOURS.items():
                points = [
                    (case['settings'][growing], 1e3 * case['sides'][name]['step']) for case in cases
                    if case['threads'] == threads and 'step' in case['sides'].get(name, {})]
                if points:
                    axes.plot(
                        *zip(*points), color=colour, marker='.', linestyle='-' if threads > 1 else '--',
                        label='{}, {} thread{}'.format(
                            PEERS.get(name, 'this project'), threads, 's' * (threads > 1)))
        title = NAMES[task] + ', width 0.25' * ((task, growing) == ('images', 'batchsize'))
        axes.set(
            xscale='log', yscale='log', title=title, ylabel='ms a step',
            xlabel='samples in a batch' if growing == 'batchsize' else 'width, batches of 32')
        values = sorted({case['settings'][growing] for case in cases})
        axes.set_xticks(values, ['{:g}'.format(value) for value in values])
        axes.minorticks_off()
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter('{x:g}')
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize='small')
    post.save(figure, path)
