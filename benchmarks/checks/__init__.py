"""That moved code computes the same bits, where rounding sets in, and everything that a GPU is to show."""

import ddgm  # before Chainer

__all__ = ['ddgm']
