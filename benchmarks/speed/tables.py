"""What was measured of training steps, as tables and a picture."""

import statistics

from ddgm.support.tables import rounded

AIMS = {'gaussian_mixture': 0.8, 'mnist': 0.9, ('images', 1): 0.95, ('images', 0.25): 1.0}  # beside tuned PyTorch
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


def ratio_cell(side: dict, ratios='ratios'):
    """Ours over a side's: the median of all rounds and their range; ``None`` where it was not measured."""
    if ratios not in side:
        return None
    found = side[ratios]
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
            ratio_cell(sides.get('pytorch_tuned', {}), 'compiled_ratios'), '≤ {:g}'.format(aim)])
        memory.append([describe(case), *(
            round(sides[name]['peak_memory'] / 1e6) if 'peak_memory' in sides.get(name, {}) else None
            for name in ('ours', 'pytorch', 'pytorch_tuned'))])
    return {
        'steps': {
            'columns': [
                'case', 'threads', 'ms a step', *('over ' + title for title in PEERS.values()),
                'ours compiled over PyTorch tuned', 'aim beside tuned'],
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
            'columns': ['part', *('seconds, ' + side for side in demo)],
            'rows': [[part, *(rounded(statistics.median(parts[part]), 2) for parts in demo.values())]
                     for part in next(iter(demo.values()))]}}


def draw_sizes(path, series: dict) -> None:
    """Milliseconds a step over what grows in each series, of this project and of PyTorch, by number of threads."""
    from ddgm.figures import plots  # only now matplotlib
    drawn = []
    for title, cases in series.items():
        growing = 'width' if title.endswith('width') else 'batchsize'
        lines = {}
        for case in cases:
            for name in ('ours', 'pytorch', 'pytorch_tuned'):
                if 'step' in case['sides'].get(name, {}):
                    label = '{}, {} thread{}'.format(
                        PEERS.get(name, 'this project'), case['threads'], 's' * (case['threads'] > 1))
                    x, y = lines.setdefault(label, ([], []))
                    x.append(case['settings'][growing])
                    y.append(1e3 * case['sides'][name]['step'])
        if not title.endswith(', threads'):
            drawn.append(plots.Plot(
                NAMES[cases[0]['task']] + ': ms a step', 'samples in a batch' if growing == 'batchsize' else growing,
                lines, logarithmic=True))
    plots.draw_plots(path, drawn)
