"""What CuPy looks up at each product.  These are refused in a capture; whatever takes their place is not."""


def gemmEx(*arguments):
    """A product of two matrices."""


def gemmStridedBatchedEx(*arguments):
    """Products of pairs of matrices."""


REFUSED = gemmEx, gemmStridedBatchedEx
