"""What asks for the card."""


class CUDARuntimeError(RuntimeError):
    """Of a device that is not there."""


def getDeviceCount():
    return 1


def getDeviceProperties(device):
    return {'name': b'stand-in on the CPU', 'totalGlobalMem': 2 ** 33}


def runtimeGetVersion():
    return 0


driverGetVersion = runtimeGetVersion
