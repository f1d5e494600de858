"""Models and training states as arrays by name, without a file; Chainer's serializers know the names."""

from chainer import serializers


def arrays_of(target):
    """The arrays of a Chainer link, or of what else has ``serialize``, by the names that ``save_npz`` gives them.

    They are NumPy arrays, and not copies of what is on the CPU.
    """
    serializer = serializers.DictionarySerializer()
    serializer.save(target)
    return serializer.target


def load_arrays(target, arrays):
    """Fill ``target`` with arrays by name.

    Raises ``KeyError``, ``ValueError``, ``TypeError`` or ``AttributeError`` where they don't fit.
    """
    # From read_arrays, since Chainer's load_npz would allow pickled objects.
    serializers.NpzDeserializer(arrays).load(target)
