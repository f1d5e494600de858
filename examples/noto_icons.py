#!/usr/bin/env python3
"""The 686 head icons of Noto Emoji that the pages' pictures and figures are of, from a clone of its repository.

    git clone https://github.com/googlefonts/noto-emoji && git -C noto-emoji checkout b3e3051a
    python examples/noto_icons.py noto-emoji icons
    python train_images.py --data icons --width 0.25 --batchsize 64

The icons are under the Apache licence 2.0.  Their names are built here: people by their code points, with tones of
skin, genders, hair and professions.
"""

import argparse
import itertools
import pathlib
import shutil
import sys

TONES = '', '_1f3fb', '_1f3fc', '_1f3fd', '_1f3fe', '_1f3ff'
GENDERS = '', '_200d_2640', '_200d_2642'
HAIR = '', *('_200d_1f9b{}'.format(i) for i in range(4))
PROFESSIONS = '1f33e 1f373 1f393 1f3a4 1f3a8 1f3ed 1f4bc 1f527 1f52c 1f680 1f692 2695 2696 2708'
# Those of whom there is one, by tone; those of whom there are also a woman and a man; man, woman and person.
ALONE = '1f385 1f466 1f467 1f472 1f474 1f475 1f476 1f478 1f47c 1f934 1f936 1f977 1f9d2 1f9d3 1f9d5 1fac5'
THREE = (
    '1f46e 1f470 1f471 1f473 1f477 1f481 1f482 1f486 1f487 1f575 1f645 1f646 1f647 1f64b 1f64d 1f64e 1f926 1f935 1f937 '
    '1f9d4 1f9d9 1f9db 1f9dd')
ADULTS = '1f468', '1f469', '1f9d1'


def names():
    """The names of the files, in ``png/128`` of the clone."""
    professions = ['_200d_' + code for code in PROFESSIONS.split()]
    people = [
        *itertools.product(ALONE.split(), TONES), *itertools.product(THREE.split(), TONES, GENDERS),
        *itertools.product(ADULTS, TONES, HAIR), *itertools.product(ADULTS, TONES[:2], professions),
        *itertools.product(['1f9d1'], TONES[:2], ['_200d_1f384'])]
    return sorted('emoji_u{}.png'.format(''.join(parts)) for parts in people)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('clone', type=pathlib.Path, help='folder of the clone')
    parser.add_argument('out', type=pathlib.Path, help='folder for the icons, which is made')
    request = parser.parse_args()
    paths = [request.clone / 'png' / '128' / name for name in names()]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        sys.exit('{} of {} icons are missing, {} for one: is {} a clone, at commit b3e3051a?'.format(
            len(missing), len(paths), missing[0], request.clone))
    if request.out.exists():
        sys.exit('{} exists: name a folder that is to be made'.format(request.out))
    request.out.mkdir(parents=True)
    for path in paths:
        shutil.copyfile(path, request.out / path.name)
    print('{} icons in {}'.format(len(paths), request.out))


if __name__ == '__main__':
    main()
