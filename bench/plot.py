"""placeholder"""


def plot(results):
    return ""
