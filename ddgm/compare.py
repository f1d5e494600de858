"""Hold runs of this project, and samples and logs of any other program, against one another.

Each A is a run folder, samples (.npy, or .npz with an array x), a log (.csv), or a folder of such files.  NAME=PATH
names a column; what has one NAME is one column.  All are scored alike: the same metrics, the same number of samples,
the same reference data.  Prints a table; writes comparison.json and comparison.png.
"""

from ddgm import command_line


def main(arguments=None):
    request = command_line.parse_comparison(__doc__, arguments)

    # Only now Chainer and matplotlib, so that --help and a mistyped flag answer at once.
    from ddgm import comparison, entries
    comparison.compare(entries.read(request.paths), *request.reference, request.out)


if __name__ == '__main__':
    command_line.run_script(main)
