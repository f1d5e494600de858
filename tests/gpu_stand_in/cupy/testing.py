"""Comparisons of arrays, wherever they lie."""

import numpy


def _compare(name):
    def compare(x, y, *arguments, **options):
        import cupy
        getattr(numpy.testing, name)(cupy.asnumpy(x), cupy.asnumpy(y), *arguments, **options)
    return compare


assert_array_equal, assert_allclose = _compare('assert_array_equal'), _compare('assert_allclose')
