"""Who may import whom: rooms import only those below them, as docs/design.md draws them."""

import ast
import importlib.metadata
import re

from conftest import ROOT

# From the top floor down; rooms on one floor don't know each other.  The paper's are the files at the top of ddgm/.
FLOORS = [
    {'scripts', 'commands', 'studies', 'compare', 'refine', 'weights', 'prepare'},
    {'trained'},
    {'runs'},
    {'evaluation', 'figures'},
    {'networks', 'data', 'beyond_the_paper'},
    {'the paper'},
    {'fast'},
    {'support'},
]
ONLY = {
    'argparse': {'runs', 'commands', 'studies', 'compare', 'refine', 'weights', 'prepare'}, 'matplotlib': {'figures'},
    'PIL': {'figures', 'data'}, 'urllib': {'data'}, 'signal': {'runs', 'studies'}, 'tensorboard': {'compare', 'runs'}}


def imports_of(path):
    """Every module and name that a file imports, in dotted form."""
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (node.module + '.' + alias.name for alias in node.names)


def sources():
    for path in [*ROOT.glob('train_*.py'), *(ROOT / 'ddgm').rglob('*.py')]:
        if path.name != '__init__.py' or path.parent.name in ('figures', 'fast'):  # which hold more than a name
            yield '.'.join(path.relative_to(ROOT).with_suffix('').parts), path


def room_of(name):
    """The room that a module, or what is imported from it, belongs to; ``None`` outside this project."""
    first, *rest = name.split('.')
    if first.startswith('train_') or name.startswith('ddgm.__main__'):
        return 'scripts'
    if first != 'ddgm' or not rest:
        return None
    return rest[0] if (ROOT / 'ddgm' / rest[0]).is_dir() else 'the paper'


def test_every_folder_has_its_floor():
    assert {room_of(name) for name, _ in sources()} == set().union(*FLOORS)


def test_arrows_point_downwards():
    floor = {room: i for i, rooms in enumerate(FLOORS) for room in rooms}
    for name, path in sources():
        room = room_of(name)
        for imported in imports_of(path):
            target = room_of(imported)
            assert target in (None, room) or floor[target] > floor[room], '{} imports {}'.format(name, imported)


def test_no_circle_of_files():
    """Not within a room either."""
    files = dict(sources())
    arrows = {
        name: {other for imported in imports_of(path) for other in files if imported == other
               or imported.startswith(other + '.')} - {name}
        for name, path in files.items()}
    while arrows:
        lowest = {name for name, others in arrows.items() if not others & arrows.keys()}
        assert lowest, 'a circle among {}'.format(', '.join(sorted(arrows)))
        arrows = {name: others for name, others in arrows.items() if name not in lowest}


def test_the_example_is_plain_chainer():
    path = ROOT / 'examples' / 'plain_chainer.py'
    assert {name for name in imports_of(path) if name.startswith('ddgm')} == {'ddgm.support.compatibility'}


def test_who_alone_may_know():
    for name, path in sources():
        for imported in imports_of(path):
            package = imported.split('.')[0]
            assert room_of(name) in ONLY.get(package, {room_of(name)}), '{} imports {}'.format(name, package)


def test_no_global_seed():
    for name, path in sources():
        drawn = set(re.findall(r'(?:numpy|xp|np)\.random\.(\w+)', path.read_text(encoding='utf-8')))
        assert drawn <= {'default_rng', 'Generator'}, name  # the second is its type
        assert 'random' not in imports_of(path), name


def test_runtime_packages_are_the_chosen_ones():
    required = {
        re.match(r'[\w-]+', line).group() for line in (ROOT / 'requirements.txt').read_text().splitlines()
        if line and not line.startswith('#')}
    assert required == {'chainer', 'numpy', 'pillow', 'matplotlib'}
    for name in required:
        importlib.metadata.version(name)


def test_examples_of_the_documents_work(capsys):
    using, example = (re.search(r'```python\n(.*?)```', (ROOT / name).read_text(encoding='utf-8'), re.DOTALL)[1]
                      for name in ('README.md', 'docs/own-model.md'))
    exec(compile(using.replace('steps=100', 'steps=2'), 'README.md', 'exec'), {})
    capsys.readouterr()
    shorter = example.replace('iterations=1000', 'iterations=100')
    assert shorter != example
    for _ in range(2):
        exec(compile(shorter, 'docs/own-model.md', 'exec'), {})
    _, printed, again = capsys.readouterr().out.split('100 ')
    assert printed == again  # the weights are drawn from its seed, too
    assert 'kl_generator_data' in printed
