"""Who may import whom, as the README's table of modules says it: every arrow points downwards."""

import ast
import importlib.metadata
import re

from conftest import ROOT

# A module may import those below it; modules on one line don't know each other.
FLOORS = [
    {'train_gaussian_mixture', 'train_swiss_roll', 'train_mnist', 'train_images', 'ddgm.compare', 'ddgm.weights',
     'ddgm.studies.__main__'},
    {'ddgm.studies.entropy', 'ddgm.studies.activations', 'ddgm.studies.digits', 'ddgm.studies.analogies',
     'ddgm.studies.correlations', 'ddgm.studies.detector', 'ddgm.studies.calibration', 'ddgm.studies.differences',
     'ddgm.studies.failures'},
    {'ddgm.studies.study'},
    {'ddgm.run', 'ddgm.comparison'},
    {'ddgm.tasks', 'ddgm.entries'},
    {'ddgm.evaluation.toy', 'ddgm.evaluation.mnist', 'ddgm.evaluation.images'},
    {'ddgm.training', 'ddgm.sampling', 'ddgm.metrics', 'ddgm.classifier', 'ddgm.figures'},
    {'ddgm.networks.toy', 'ddgm.networks.mnist', 'ddgm.networks.images', 'ddgm.objectives', 'ddgm.langevin',
     'ddgm.run_folder',
     'ddgm.command_line'},
    {'ddgm.models', 'ddgm.presets', 'ddgm.state_dict', 'ddgm.snapshots', 'ddgm.log'},
    {'ddgm.links', 'ddgm.curves', 'ddgm.data.toy', 'ddgm.data.mnist', 'ddgm.data.images'},
    {'ddgm.functions', 'ddgm.layers', 'ddgm.convolution', 'ddgm.noise', 'ddgm.optimizers'},
    {'ddgm.differentiation', 'ddgm.kernels', 'ddgm.convolution_schemes', 'ddgm.randomness', 'ddgm.files',
     'ddgm.progress', 'ddgm.compatibility'},
    {'ddgm.threads', 'ddgm.memory', 'ddgm.errors'},
]
ONLY = {
    'argparse': {'ddgm.command_line'}, 'matplotlib': {'ddgm.figures'}, 'PIL': {'ddgm.figures', 'ddgm.data.images'},
    'urllib': {'ddgm.data.mnist'}, 'signal': {'ddgm.command_line', 'ddgm.run', 'ddgm.studies.study'}}


def imports_of(path):
    """Every module and name that a file imports, in dotted form."""
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (node.module + '.' + alias.name for alias in node.names)


def sources():
    for path in [*ROOT.glob('train_*.py'), *(ROOT / 'ddgm').rglob('*.py')]:
        if path.name != '__init__.py':
            yield '.'.join(path.relative_to(ROOT).with_suffix('').parts), path


def test_every_module_has_its_floor():
    assert {name for name, _ in sources()} == set().union(*FLOORS)


def test_arrows_point_downwards():
    floor = {name: i for i, names in enumerate(FLOORS) for name in names}
    for name, path in sources():
        for imported in imports_of(path):
            target = next((n for n in floor if imported == n or imported.startswith(n + '.')), None)
            assert target is None or floor[target] > floor[name], '{} imports {}'.format(name, target)


def test_who_alone_may_know():
    for name, path in sources():
        for imported in imports_of(path):
            package = imported.split('.')[0]
            assert name in ONLY.get(package, {name}), '{} imports {}'.format(name, package)


def test_no_global_seed():
    for name, path in sources():
        drawn = set(re.findall(r'(?:numpy|xp|np)\.random\.(\w+)', path.read_text(encoding='utf-8')))
        assert drawn <= {'default_rng'}, name
        assert 'random' not in imports_of(path), name


def test_runtime_packages_are_the_chosen_ones():
    required = {
        re.match(r'[\w-]+', line).group() for line in (ROOT / 'requirements.txt').read_text().splitlines()
        if line and not line.startswith('#')}
    assert required == {'chainer', 'numpy', 'pillow', 'matplotlib'}
    for name in required:
        importlib.metadata.version(name)


def test_readme_lists_every_module_in_this_order():
    readme = (ROOT / 'README.md').read_text(encoding='utf-8')
    table = readme[readme.index('| module | holds |'):]
    floor = {name: i for i, names in enumerate(FLOORS) for name in names}
    listed = [
        path[:-len('.py')].replace('/', '.') for line in table.splitlines() if line.startswith('|')
        for path in re.findall(r'`([\w/]+\.py)`', line.split('|')[1])]
    assert sorted(listed) == sorted(name for name, _ in sources())
    assert [floor[name] for name in listed] == sorted(floor[name] for name in listed)


def test_example_of_the_readme_works(capsys):
    readme = (ROOT / 'README.md').read_text(encoding='utf-8')
    example, = (
        block for block in re.findall(r'```python\n(.*?)```', readme, re.DOTALL) if 'import torch' not in block)
    shorter = example.replace('iterations=1000', 'iterations=100')
    assert shorter != example
    exec(compile(shorter, 'README.md', 'exec'), {})
    printed = capsys.readouterr().out
    assert printed.startswith('100 ')
    assert 'kl_generator_data' in printed
