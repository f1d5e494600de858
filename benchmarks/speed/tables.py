"""What was measured of training steps, as tables and a picture."""

import statistics

from ddgm.support.errors import counted
from ddgm.support.tables import rounded

# Beside tuned PyTorch, with numba; of images by width, or by width and batch.
AIMS = {'gaussian_mixture': 0.3, 'mnist': 1.0, (1,): 0.95, (0.25, 32): 0.9, (0.25, 64): 0.8}
PEERS = {
    'ours_compiled': 'ours compiled', 'chainer': 'plain Chainer', 'pytorch': 'PyTorch as written',
    'pytorch_tuned': 'PyTorch tuned', 'pytorch_compiled': 'PyTorch compiled'}
ON_GPU = {'ours_captured': 'ours captured', 'pytorch_graphed': 'PyTorch as a CUDA graph'}
NAMES = {'gaussian_mixture': 'plane', 'mnist': 'MNIST', 'images': 'icons'}


def describe(case: dict) -> str:
    """A case in the words of the documents."""
    width = case['settings'].get('width', 1)
    return '{}{}, batches of {:,}'.format(
        NAMES[case['task']], ', width {:g}'.format(width) if width != 1 else '', case['settings']['batchsize'])


def ratio_cell(side: dict, ratios='ratios', inverse=False):
    """Ours over a side's: the median of all rounds and their range; ``None`` where it was not measured."""
    if ratios not in side:
        return None
    found = [1 / ratio if inverse else ratio for ratio in side[ratios]]
    return {'value': rounded(statistics.median(found)), 'from': rounded(min(found)), 'to': rounded(max(found))}


def case_table(case: dict) -> dict:
    """The table of one case: a row for each side that was measured."""
    on_gpu = any(entry.get('peak_device_memory') for entry in case['sides'].values())
    compiled = any('compiled_ratios' in entry for entry in case['sides'].values())
    columns = [
        'side', 'ms a step', 'ours over its', *(compiled * ['ours compiled over its']), 'peak memory, MB',
        'largest difference', *(on_gpu * ['of the GPU, MB'])]
    return {'columns': columns, 'rows': [
        [name, rounded(1e3 * entry['step'], 4), ratio_cell(entry),
         *(compiled * [ratio_cell(entry, 'compiled_ratios')]), round(entry['peak_memory'] / 1e6),
         '{:.0e}'.format(entry['largest_difference']) if 'ratios' in entry else None,
         *(on_gpu * [entry['peak_device_memory'] and round(entry['peak_device_memory'] / 1e6)])]
        for name, entry in case['sides'].items() if 'step' in entry]}


def lines_of(case: dict) -> list:
    """What the table of a case leaves out: why a side was not measured, what others chose, the floor."""
    lines = [
        '{}: not measured ({})'.format(name, entry['not_measured']) if 'not_measured' in entry
        else '{}: {}'.format(name, entry['notes'])
        for name, entry in case['sides'].items() if entry.get('not_measured') or entry.get('notes')]
    return lines + ['{}: {:.4g} ms of the floor, {:.4g} {}'.format(
        name, 1e3 * entry['step'], entry['work'] / entry['step'] / 1e9, 'GFLOP/s' if name == 'products' else 'GB/s')
        for name, entry in case['floor'].items()]


def floor_row(case: dict) -> list:
    """The row of a case in the table of floors, without a number where that was not measured."""
    floor, sides, cells = case['floor'], case['sides'], []
    for name, unit in (('products', 1e9), ('memory', 1e6)):
        entry = floor.get(name)
        cells += [rounded(entry['work'] / unit), rounded(entry['work'] / entry['step'] / 1e9)] if entry else [None] * 2
    return [
        describe(case), case['threads'], *cells,
        rounded(1e3 * sum(entry['step'] for entry in floor.values())) if floor else None,
        ratio_cell(sides.get('pytorch_tuned', {}), 'floor_ratios', inverse=True),
        *(ratio_cell(sides.get(name, {}), 'floor_ratios') for name in ('ours', 'ours_compiled'))]


def step_tables(cases: list) -> dict:
    """The tables of a step: times and ratios, the floor below them, and memory."""
    steps, memory = [], []
    for case in cases:
        sides, width = case['sides'], case['settings'].get('width', 1)
        aim = AIMS.get(case['task'], AIMS.get((width,), AIMS.get((width, case['settings']['batchsize']))))
        steps.append([
            '{}, {} rounds'.format(describe(case), len(sides['ours']['turns'])), case['threads'],
            rounded(1e3 * sides['ours']['step']), *(ratio_cell(sides.get(name, {})) for name in PEERS),
            ratio_cell(sides.get('pytorch_tuned', {}), 'compiled_ratios'), '≤ {:g}'.format(aim)])
        memory.append([describe(case), *(
            round(sides[name]['peak_memory'] / 1e6) if 'peak_memory' in sides.get(name, {}) else None
            for name in ('ours', 'pytorch', 'pytorch_tuned'))])
    return {
        'steps': {
            'columns': [
                'case', 'threads', 'ms a step', *('over ' + title for title in PEERS.values()),
                'ours compiled over PyTorch tuned', 'its aim'],
            'rows': steps},
        'floor': {
            'columns': [
                'case', 'threads', 'GFLOP of products', 'GFLOP a second', 'MB of memory', 'GB a second', 'floor, ms',
                'floor over PyTorch tuned', 'ours over floor', 'ours compiled over floor'],
            'rows': [floor_row(case) for case in cases]},
        'memory': {
            'columns': ['peak memory of the process, MB', 'ours', 'PyTorch as written', 'PyTorch tuned'],
            'rows': memory}}


def size_tables(series: dict) -> dict:
    """The table of other sizes: of all series, each case once, beside the peers that were asked for."""
    cases = [case for of_series in series.values() for case in of_series]
    peers = [name for name in PEERS if any(name in case['sides'] for case in cases)]
    compiled = [name for name in peers if any('compiled_ratios' in case['sides'].get(name, {}) for case in cases)]
    rows = {
        '{}, {}'.format(describe(case), counted(case['threads'], 'thread')): [
            rounded(1e3 * case['sides']['ours']['step']),
            *(rounded(case['sides'][name].get('ratio')) for name in peers),
            *((ratio_cell(case['sides'][name], 'compiled_ratios') or {}).get('value') for name in compiled)]
        for case in cases}
    return {'sizes': {
        'columns': ['case', 'ms a step', *('over ' + PEERS[name] for name in peers),
                    *('ours compiled over ' + PEERS[name] for name in compiled)],
        'rows': [[title, *cells] for title, cells in rows.items()]}}


def busy_table(pairs: list) -> dict:
    """The table of cases that were measured alone, then beside another process: ms of each side, both ways."""
    names = [name for name in ('ours', *PEERS)
             if all('step' in case['sides'].get(name, {}) for pair in pairs for case in pair)]
    return {'steps': {
        'columns': ['ms a step', *(column for name in names for column in (
            PEERS.get(name, 'ours'), PEERS.get(name, 'ours') + ', beside another'))],
        'rows': [['{}, {}'.format(describe(alone), counted(alone['threads'], 'thread')), *(
            rounded(1e3 * case['sides'][name]['step']) for name in names for case in (alone, beside))]
            for alone, beside in pairs]}}


def start_tables(report: dict) -> dict:
    """The tables of starts, of the parts of a whole run, and of what numba costs, medians of seconds."""
    def median(times):
        return times if times is None or isinstance(times, str) else rounded(statistics.median(times), 2)
    return {
        'startup': {
            'columns': ['start', 'seconds'], 'seeds': False,
            'rows': [['`{}`'.format(title), median(times)] for title, times in report['startup'].items()]},
        'demo': {
            'columns': ['part', *('seconds, ' + side for side in report['demo'])],
            'rows': [[part, *(median(parts[part]) for parts in report['demo'].values())]
                     for part in next(iter(report['demo'].values()))]},
        'numba': {
            'columns': ['seconds until two steps are done', 'without numba', 'with it', 'the first time'],
            'rows': [[describe(case), *(median(case['seconds'][name]) for name in ('without', 'later', 'first'))]
                     for case in report['numba']['starts']]},
        'size_of_numba': {
            'columns': ['package', 'MB on the disk'],
            'rows': [[name, size and round(size / 1e6)] for name, size in report['numba']['bytes'].items()]}}


def draw_sizes(path, series: dict) -> None:
    """Milliseconds a step over what grows in each series, of this project and of PyTorch, by number of threads."""
    from ddgm.figures import plots  # only now matplotlib
    drawn = []
    for title, cases in series.items():
        if title.endswith(', threads'):
            continue
        growing = 'width' if title.endswith('width') else 'batchsize'
        for threads in dict.fromkeys(case['threads'] for case in cases):
            lines = {}
            for case in cases:
                for name in ('ours', 'ours_compiled', 'pytorch', 'pytorch_tuned'):
                    if case['threads'] == threads and 'step' in case['sides'].get(name, {}):
                        x, y = lines.setdefault(PEERS.get(name, 'ours'), ([], []))
                        x.append(case['settings'][growing])
                        y.append(1e3 * case['sides'][name]['step'])
            drawn.append(plots.Plot(
                '{}, {}: ms a step'.format(NAMES[cases[0]['task']], counted(threads, 'thread')),
                'samples in a batch' if growing == 'batchsize' else growing, lines, logarithmic=True))
    plots.draw_plots(path, drawn)
