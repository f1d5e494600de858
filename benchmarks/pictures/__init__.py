"""A picture for each of the post's, and a page of them."""

import ddgm  # before Chainer

__all__ = ['ddgm']
