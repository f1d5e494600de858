#!/usr/bin/env python3
"""The README's small pictures, from finished runs of both 2-D scripts with their default preset: `make pictures`."""

import pathlib

from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parent.parent
SIZE = (400, 400)
GIF_SIZE = (280, 280)


def main():
    (ROOT / 'docs').mkdir(exist_ok=True)
    for task, run in (('gaussian_mixture', 'demo'), ('swiss_roll', 'demo_roll')):
        figures = ROOT / 'result' / run / 'figures'
        for name, colours in (('samples', 32), ('energy', 128)):
            with Image.open(figures / (name + '.png')) as image:
                small = image.convert('RGB').resize(SIZE, Image.Resampling.LANCZOS)
            small.quantize(colours, dither=Image.Dither.NONE).save(
                ROOT / 'docs' / '{}_{}.png'.format(task, name), optimize=True)

        paths = sorted((figures / 'frames').glob('*.png'))
        frames = []
        for path in paths[1::2]:
            with Image.open(path) as image:
                small = image.convert('RGB').resize(GIF_SIZE, Image.Resampling.LANCZOS)
            frames.append(small.quantize(32, dither=Image.Dither.NONE))
        frames[0].save(
            ROOT / 'docs' / '{}_training.gif'.format(task), save_all=True, append_images=frames[1:], duration=160,
            loop=0)


if __name__ == '__main__':
    main()
