"""Losses over a run in the logs of other programs, CSV and JSON, and files that are none."""

import json
import math

import pytest

from ddgm.compare import entries, rows
from ddgm.runs.log import Curves
from ddgm.support.errors import UsageError

CRISP79 = 'exp_name,output_dir,epoch,e_loss,g_loss,e_real,e_fake,gap,fid,elapsed_s\n'
NAN = math.nan
OWN = {'energy/loss': 'e_loss', 'generator/loss': 'g_loss'}


def curves(path):
    """By experiment the curves of a log."""
    entries_of_it = entries.read([str(path)])
    return {'' if len(entries_of_it) == 1 else entry.name: entry.logs[0] for entry in entries_of_it}


@pytest.fixture
def read(tmp_path):
    """Write a file and read it: ``read('epoch,e_loss\\n1,2\\n')``."""
    def read(content, name='metrics.csv', encoding='utf-8'):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
        return curves(path)
    return read


def only(by_experiment):
    """The curves of a file that has one experiment."""
    assert list(by_experiment) == ['']
    return by_experiment['']


def refusal(read, content, name='metrics.csv'):
    """The one line with which a file is refused; it names the file."""
    with pytest.raises(UsageError) as caught:
        read(content, name)
    message = str(caught.value)
    assert '\n' not in message
    assert name in message
    assert 'leave it out' in message
    return message


# ---- CSV files of known programs

def test_columns_of_crisp79(read):
    curve = only(read(
        CRISP79 + 'ring,runs/ring,1,0.5,-1.5,2.0,3.0,-1.0,12.5,3.3\n' + 'ring,runs/ring,2,0.25,-1.25,4,5,-1,11,6.6\n'))
    assert curve == Curves('epoch', [1, 2], {
        'energy/loss': [0.5, 0.25], 'generator/loss': [-1.5, -1.25], 'energy/positive': [2, 4],
        'energy/negative': [3, 5], 'their_fid': [12.5, 11]}, {'energy/loss': 'e_loss', 'generator/loss': 'g_loss'})


def test_several_experiments_in_one_file(read):
    """Their rows are counted each."""
    by_experiment = read(CRISP79 + ''.join(
        '{},runs,{},{},,,,,,\n'.format(*row) for row in (
            ('b', 1, 10), ('a', 1, 20), ('b', 2, 11), ('a ', 2, 21), ('b', 3, 12))))
    assert list(by_experiment) == ['b', 'a']
    assert by_experiment['b'].x == [1, 2, 3]
    assert by_experiment['b'].values['energy/loss'] == [10, 11, 12]
    assert by_experiment['a'].x == [1, 2]
    assert by_experiment['a'].values['energy/loss'] == [20, 21]
    by_experiment = read('{"exp_name": "a", "e_loss": 1}\n{"exp_name": "b", "e_loss": 2}\n', 'a.jsonl')
    assert {name: (curve.x, curve.values) for name, curve in by_experiment.items()} == {
        'a': ([1], {'energy/loss': [1]}), 'b': ([1], {'energy/loss': [2]})}


@pytest.mark.parametrize(('tag', 'quantity'), [
    ('dem_loss', 'energy/loss'), ('dgm_loss', 'generator/loss'), ('dem_energy_x', 'energy/positive'),
    ('dem_energy_g', 'energy/negative')])
def test_export_of_tensorboard(tag, quantity, read):
    text = 'Wall time,Step,Value\n1478649600.1,0,1.5\n1478649601.2,100,-2.5\n'
    for name in ('run-.-tag-{}.csv', 'run-runs_a-tag-Train_{}.csv', '{}.csv'):
        curve = only(read(text, name.format(tag)))
        own = {quantity: tag} if quantity.endswith('loss') else {}
        assert curve == Curves('iteration', [0, 100], {quantity: [1.5, -2.5]}, own)


@pytest.mark.parametrize(('columns', 'quantity'), [
    ('energy/positive energy_real e_real E_Pos', 'energy/positive'),
    ('energy/negative e_fake energy_fake dem_energy_g', 'energy/negative'),
    ('energy/loss e_loss DEM_LOSS', 'energy/loss'),
    ('generator/loss g_loss DGM_loss generator_loss', 'generator/loss'),
    ('generator/entropy entropy', 'generator/entropy'),
    ('generator/energy generator_energy', 'generator/energy')])
def test_names_of_columns(columns, quantity, read):
    for column in columns.split():
        assert only(read('step,{}\n1,2\n'.format(column))).values == {quantity: [2]}


# ---- forms of CSV

@pytest.mark.parametrize('text', [
    'epoch,e_loss,g_loss\n1,2.5,3\n2,4,5\n',
    'epoch;e_loss;g_loss\n1;2.5;3\n2;4;5\n',
    'epoch\te_loss\tg_loss\n1\t2.5\t3\n2\t4\t5\n',
    'epoch,e_loss,g_loss\r\n1,2.5,3\r\n2,4,5\r\n',
    '"epoch","e_loss","g_loss"\n"1","2.5","3"\n"2","4","5"\n',
    'Epoch,E_LOSS,G_Loss\n1,2.5,3\n2,4,5\n',
    ' epoch , e_loss , g_loss \n 1 , 2.5 , 3 \n 2 , 4 , 5 \n',
    'epoch,e_loss,g_loss\n\n1,2.5,3\n\n2,4,5\n\n',
    'epoch,e_loss,g_loss\n1,2.5,3\nepoch,e_loss,g_loss\n2,4,5\n',
    'epoch,e_loss,g_loss\n1,2.5,3\n2,4,5',
    'g_loss,note,epoch,e_loss\n3,"a, b",1,2.5\n5,,2,4\n',
    '\ufeffe_loss,g_loss,epoch\n2.5,3,1\n4,5,2\n',
])
def test_forms(text, read):
    assert only(read(text)) == Curves('epoch', [1, 2], {'energy/loss': [2.5, 4], 'generator/loss': [3, 5]}, OWN)


def test_cells_without_a_number(read):
    curve = only(read('epoch,e_loss\n1,nan\n2,\n3,n/a\n4,-inf\n5,1e3\n'))
    assert curve.x == [1, 2, 3, 4, 5]
    assert curve.values['energy/loss'] == pytest.approx([NAN, NAN, NAN, -math.inf, 1000], nan_ok=True)


@pytest.mark.parametrize(('columns', 'unit'), [
    ('step', 'iteration'), ('iteration', 'iteration'), ('global_step', 'iteration'), ('Iter', 'iteration'),
    ('epoch', 'epoch'), ('epochs', 'epoch'), ('time', 'row')])
def test_axes(columns, unit, read):
    curve = only(read('e_loss,{}\n2,30\n3,40\n'.format(columns)))
    assert (curve.unit, curve.x) == (unit, [1, 2] if unit == 'row' else [30, 40])


@pytest.mark.parametrize(('row', 'unit', 'x'), [('1,500,2', 'iteration', 500), ('1,,2', 'epoch', 1)])
def test_iterations_are_preferred_to_epochs(row, unit, x, read):
    curve = only(read('epoch,step,e_loss\n{}\n'.format(row)))
    assert (curve.unit, curve.x) == (unit, [x])


def test_rows_with_fewer_cells(read):
    """What a crash cut short."""
    curve = only(read('epoch,e_loss,g_loss\n1,2,3\n2,4\n3\n'))
    assert curve.x == [1, 2, 3]
    assert curve.values['energy/loss'] == pytest.approx([2, 4, NAN], nan_ok=True)
    assert curve.values['generator/loss'] == pytest.approx([3, NAN, NAN], nan_ok=True)


@pytest.mark.parametrize(('text', 'words'), [
    ('epoch,e_loss\n1,2\n2,1,5\n', 'line 3 has 3 cells, and 2 names'),
    ('sep=;\nepoch;e_loss\n\n1;2;a "note"\n', 'line 4 has 3 cells')])
def test_rows_with_more_cells(text, words, read):
    """A decimal comma, or a column without a name: nobody knows which cell belongs to which."""
    assert words in refusal(read, text)


@pytest.mark.parametrize('text', [
    'epoch,e_loss,\n1,2.5,\n2,4,\n', 'epoch,e_loss\n1,2.5,\n2,4,,\n',
    'epoch,e_loss\n1,2.5\ne_loss,epoch,fid\n4,2,7\n', 'epoch,lr,e_loss\n1,9,2.5\nepoch,e_loss\n2,4\n',
    'epoch,lr,e_loss,lr\n1,9,2.5,8\n2,9,4,8\n',
    '# ddgm 1.0\n# seed 0\nepoch,e_loss\n1,2.5\n# resumed, from 1\n2,4\n', '# epoch,e_loss\n1,2.5\n2,4\n',
    'sep=|\nepoch|e_loss\n1|2.5\n2|4\n', 'sep=,\r\nepoch,e_loss\r\n1,2.5\r\n2,4\r\n'])
@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16', 'utf-16-le'])
def test_columns_are_told_apart(text, encoding, read):
    """Cells that are surplus but empty, names that come again, comments, a separator that a spreadsheet names."""
    values = only(read(text, encoding=encoding)).values
    assert (values.pop('their_fid', [NAN, 7])[1], values) == (7, {'energy/loss': [2.5, 4]})


def test_what_is_not_certain_of_a_table_is_told(read, capsys):
    assert only(read('epoch,e_loss,g_loss,g_loss\n1,2,5,6\n2,4\n3,5,5,6\n')).values == {'energy/loss': [2, 4, 5]}
    told = capsys.readouterr().out
    assert 'passes over g_loss: which' in told
    assert 'lines with fewer cells than names, whose last columns count as empty: 3\n' in told
    read('{"step": [1, 2], "e_loss": [1, 2, 3]}', 'a.json')
    told = capsys.readouterr().out
    assert 'different lengths, and are all read from the first row on: 2 of step, 3 of e_loss\n' in told


@pytest.mark.parametrize(('cells', 'values'), [
    ('1,5 2', [1.5, 2]), ('-1,5e-3 1,234', [-0.0015, 1.234]), ('0,693 1,234', [0.693, 1.234]), ('1,5 nan', [1.5, NAN]),
    ('1,234 2', None), ('1,5 2.5', None), ('1,5 1,234,567', None)])
def test_decimal_commas(cells, values, read):
    text = 'step;e_loss\n' + ''.join('{};{}\n'.format(*row) for row in enumerate(cells.split()))
    if values:
        assert only(read(text)).values == {'energy/loss': values}
    else:
        assert 'is no number: mend it' in refusal(read, text)


@pytest.mark.parametrize(('text', 'number'), [
    ('iteration;e_loss;lr\n500;2;0,5\n1.000;3;0,5\n', '1.000'), ('step;e_loss\n1.000;2\n2.000;3\n', '1.000'),
    ('step,e_loss,note\n1,1.234,"0,5"\n2,2.345,"0,5"\n', '1.234'), ('step\te_loss\n1.000.000\t2\n', '1.000.000')])
def test_points_that_may_separate_thousands(text, number, read):
    assert 'does the point of {} in its column'.format(number) in refusal(read, text)


@pytest.mark.parametrize('text', [
    'step,e_loss\n1.000,2.500\n2.000,4.000\n', 'step;e_loss\n0.000;1.000\n1.000;2.500\n2.000;4.000\n',
    'step;e_loss\n1;2.500\n2;4.000\n', 'step;e_loss;lr\n1;2.50;1e-4\n2;4.000;"a, b"\n'])
def test_points_of_decimals(text, read):
    curve = only(read(text))
    assert (curve.x[-2:], curve.values['energy/loss'][-2:]) == ([1, 2], [2.5, 4])


@pytest.mark.parametrize('text', [
    'step,e_loss\n0,"1,500"\n', 'step;e_loss\n0;1,5,2\n', 'step,e_loss\n0,lost\n',
    'step,e_loss\n0,1.5 nats\n', 'step,e_loss\n0,tensor(1.5)\n', 'step,e_loss\n0,"[1.5]"\n'])
def test_text_where_a_number_should_be(text, read):
    message = refusal(read, text)
    assert 'column e_loss' in message
    assert text.split('0', 1)[1][1:-1].strip('"') in message


def test_text_where_an_iteration_should_be(read):
    message = refusal(read, 'epoch,e_loss\n1/100,2\n')
    assert "'1/100' in its column epoch" in message


def test_log_with_gaps_in_every_row(read):
    """Lightning writes a row for each call of ``log``."""
    curve = only(read('e_loss,epoch,g_loss,step\n1.5,0,,49\n,0,-3.0,49\n1.25,1,,99\n,1,-4.0,99\n'))
    assert curve.unit == 'iteration'
    assert curve.points('energy/loss') == ([49, 99], [1.5, 1.25])
    assert curve.points('generator/loss') == ([49, 99], [-3, -4])


@pytest.mark.parametrize(('text', 'unit', 'x', 'values', 'told'), [
    # gone on with from a step before the last
    ('step,e_loss\n1,1\n2,2\n3,3\n2,5\n3,6\n4,7\n', 'iteration', [1, 2, 3, 4], [1, 5, 6, 7],
     'its iterations begin again at 2: of those that are there twice the later count'),
    ('step,e_loss,e_real\n1,1,\n2,2,\n1,,3\n2,,4\n', 'iteration', [1, 1, 2, 2], [1, NAN, 2, NAN], 'begin again at 1'),
    ('step,e_loss\n3,3\n1,1\n2,2\n', 'iteration', [1, 2, 3], [1, 2, 3], 'begin again at 1'),
    ('epoch,step,e_loss\n1,50,1\n1,99,2\n2,150,3\n1,99,4\n', 'iteration', [50, 99, 150], [1, 4, 3], 'at 99'),
    # counted within each epoch, or from each start on
    ('epoch,step,e_loss\n1,0,1\n1,10,2\n2,0,3\n2,10,4\n', 'epoch', [1, 1.5, 2, 2.5], [1, 2, 3, 4],
     'its step begins again in each epoch: both together are the axis'),
    ('epoch,step,e_loss\n1,5,1\n2,5,2\n2,5,3\n', 'epoch', [1, 2, 2], [1, 2, 3], 'both together'),
    ('epoch,step,e_loss\n1,5,1\n2,9,2\n2,5,3\n3,9,4\n', 'epoch', [1, 2, 2, 3], [1, 2, 3, 4],
     'its step begins again: the axis is its epoch'),
    # in order
    ('epoch,e_loss\n1,1\n1,2\n2,3\n', 'epoch', [1, 1, 2], [1, 2, 3], ''),
    ('epoch,step,e_loss\n1,5,1\n1,5,\n2,9,3\n', 'iteration', [5, 5, 9], [1, NAN, 3], '')])
def test_order_of_steps(text, unit, x, values, told, read, capsys):
    """A curve never runs back, and nothing is put in order in silence."""
    curve = only(read(text))
    assert (curve.unit, curve.x) == (unit, x)
    assert curve.values['energy/loss'] == pytest.approx(values, nan_ok=True)
    assert told in capsys.readouterr().out


# ---- names

@pytest.mark.parametrize('column', [
    'loss/e_loss', 'train/e_loss', 'train_e_loss', 'Train/dem_loss', 'e_loss_step', 'train/e_loss_epoch',
    'sunny-day-7 - e_loss', 'losses.e_loss', 'main/energy/loss'])
def test_end_of_a_name(column, read, capsys):
    assert only(read('step,{}\n1,2\n'.format(column))).values == {'energy/loss': [2]}
    assert capsys.readouterr().out.endswith('metrics.csv: takes {} as energy/loss\n'.format(column))


@pytest.mark.parametrize('column', [
    'same_loss', 'e_loss_weight', 'cross_entropy', 'average_precision', 'loss_scale', 'fid_every'])
def test_names_that_only_look_alike(column, read):
    """In a column, or in the name of TensorBoard's export."""
    refusal(read, 'step,{}\n1,2\n'.format(column))
    refusal(read, 'Wall time,Step,Value\n1,0,1.5\n', 'run-.-tag-{}.csv'.format(column))


@pytest.mark.parametrize(('columns', 'chosen'), [
    (['val/e_loss', 'train/e_loss'], 1), (['e_loss', 'train/e_loss'], 0), (['e_loss_epoch', 'e_loss_step'], 1),
    (['e_loss', 'energy/loss'], 1), (['test_e_loss', 'e_loss_epoch'], 1), (['a/e_loss', 'b/e_loss'], None)])
def test_several_columns_of_one_quantity(columns, chosen, read, capsys):
    """The surest is taken; where none is, none."""
    curve = only(read('step,e_real,{}\n1,0,7,8\n'.format(','.join(columns))))
    assert curve.values.get('energy/loss') == (None if chosen is None else [7 + chosen])
    if chosen is None:
        assert 'metrics.csv: passes over a/e_loss, b/e_loss: which' in capsys.readouterr().out


@pytest.mark.parametrize(('column', 'own'), [
    ('e_loss', 'e_loss'), ('train/DEM_loss', 'dem_loss'), ('energy/loss', None), ('train/energy/loss', None)])
def test_whose_loss_it_is(column, own, read):
    """Energies are nobody's own."""
    assert only(read('step,e_real,{}\n1,2,3\n'.format(column))).own == ({'energy/loss': own} if own else {})


# ---- JSON

ROWS = [{'iteration': 10, 'epoch': 0, 'e_loss': 2.5}, {'iteration': 20, 'epoch': 1, 'g_loss': 3, 'e_loss': NAN}]


@pytest.mark.parametrize('text', [
    json.dumps(ROWS), json.dumps(ROWS, indent=4),
    ''.join(json.dumps(row) + '\n' for row in ROWS), '[\n{},\n{}\n]\n'.format(*map(json.dumps, ROWS)),
    '\n'.join(map(json.dumps, ROWS)) + '\n{"iteration": 30, "e_l',
    '[\n{},\n{},\n{{"iteration"'.format(*map(json.dumps, ROWS)),
    json.dumps({'iteration': [10, 20], 'e_loss': [2.5, None], 'g_loss': [None, 3], 'seed': 1}),
    json.dumps([{'iteration': 10, 'e_loss': '2.5'}, {'iteration': '20', 'g_loss': '3.0'}])])
@pytest.mark.parametrize('name', ['log', 'metrics.jsonl'])
def test_json(text, name, read, capsys):
    curve = only(read(text, name))
    assert (curve.unit, curve.x, curve.own) == ('iteration', [10, 20], OWN)
    assert (curve.points('energy/loss'), curve.points('generator/loss')) == (([10], [2.5]), ([20], [3]))
    assert ('cut short' in capsys.readouterr().out) is ('{"iteration"' in text[-30:] and text[-1] not in '}\n]')


def test_log_of_chainer(read):
    """Two models by names of their own, and one whose meaning nobody knows."""
    curve = only(read(json.dumps([
        {'gen/loss': 3.0, 'dem/loss': 1.5, 'main/loss': 0.5, 'validation/main/loss': 9, 'epoch': 1, 'iteration': 600,
         'elapsed_time': 3.3}], indent=4), 'log'))
    assert curve == Curves(
        'iteration', [600], {'generator/loss': [3], 'energy/loss': [1.5], 'loss': [0.5]},
        {'generator/loss': 'gen/loss', 'energy/loss': 'dem/loss', 'loss': 'main/loss'})


@pytest.mark.parametrize('content', [
    '', '[]', '{}', '1', '"e_loss"', '[1, 2]', '{"e_loss": 1', '{"e_loss": 1}\n{"e_lo\n{"e_loss": 2}\n', '[[1, 2, 3]]',
    '[' * 100_000, '{"a":' * 100_000, '{"seed": 1}', '{"e_loss": [[1]]}', '{"e_loss": ' + '9' * 400 + '}',
    '[{"e_loss": {"e_loss": {"x": 1}}}]', b'\x80\x04K\x01.', b'\0' * 100])
def test_no_log_in_json(content, read):
    refusal(read, content, 'a.json')


def test_json_that_is_too_large(read, monkeypatch):
    """It is not read whole, as the labels of a data set would be beside samples."""
    text = json.dumps(ROWS)
    monkeypatch.setattr(rows, '_LARGEST', len(text))
    assert only(read(text, 'log')).x == [10, 20]
    assert 'it has more than {:,} bytes'.format(len(text)) in refusal(read, text + ' ', 'a.json')


# ---- what is no log

@pytest.mark.parametrize('content', [
    '', '\n', 'epoch,e_loss\n', 'epoch,accuracy\n1,2\n', 'epoch\n1\n', 'Wall time,Step,Value\n1,0,1.5\n',
    'just a text\nof two lines\n'])
def test_no_rows_or_no_known_columns(content, read):
    message = refusal(read, content)
    assert ('with a column that is known, as e_real, e_fake, e_loss, g_loss, generator_energy, entropy are'
            ) in message


@pytest.mark.parametrize('content', [
    b'\x89PNG\r\n\x1a\n\0\0\0\rIHDR', b'\x93NUMPY\x01\0v\0', bytes(range(256)), b'\xff\xfee\0p\0o\0c\0h\0', b'\0' * 100,
    'epoch,e_loss,größe\n1,2,3\n'.encode('latin-1'), b'epoch,e_loss\n1,' + b'2' * 200_000 + b'\n'])
def test_no_text(content, read):
    refusal(read, content)


# ---- folders of MLflow

def test_metrics_of_mlflow(tmp_path):
    """A file for each metric, of lines with time, value and step."""
    (tmp_path / 'metrics' / 'train').mkdir(parents=True)
    (tmp_path / 'meta.yaml').write_text('run_id: 1\n')
    (tmp_path / 'metrics' / 'e_loss').write_text('17 1.5 0\n18 2.5 10\n19 nan 10\n')
    (tmp_path / 'metrics' / 'train' / 'g_loss').write_text('17 -1 10\n')
    curve = only(curves(tmp_path))
    assert (curve.unit, curve.x) == ('iteration', [0, 10])
    assert curve.points('energy/loss') == ([0], [1.5])
    assert curve.points('generator/loss') == ([10], [-1])
    for inside in ('metrics', 'metrics/e_loss'):
        with pytest.raises(UsageError, match='is a part of a run of MLflow: give {}$'.format(tmp_path)):
            curves(tmp_path / inside)
    (tmp_path / 'artifacts' / 'plots').mkdir(parents=True)  # what else lies in a run is read as anywhere
    (tmp_path / 'artifacts' / 'plots' / 'log').write_text('[{"step": 1, "e_loss": 2}]')
    assert only(curves(tmp_path / 'artifacts' / 'plots')).x == [1]
    (tmp_path / 'metrics' / 'e_loss').write_text('17 1.5\n')
    with pytest.raises(UsageError, match='can\'t be read as a log .*: leave it out'):
        curves(tmp_path)
