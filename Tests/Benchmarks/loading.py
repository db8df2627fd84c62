"""From nothing to the first result: a new process each time."""
import subprocess
import sys

from pairs import report

OURS = "import temper; temper.loss('cross_entropy')([[1.0, 2.0]], [0])"
OTHER = "import torch; torch.nn.functional.cross_entropy(torch.tensor([[1.0, 2.0]]), torch.tensor([0]))"
LIBRARY = "import ctypes, sys; ctypes.CDLL(sys.argv[1]).temper_version()"


def python(code, *arguments):
    return lambda: subprocess.run([sys.executable, "-c", code, *arguments], check=True)


def run():
    report("import to the first loss", python(OURS), python(OTHER), None, "a new Python process")
    report("import to the first loss, beside NumPy alone", python(OURS), python("import numpy"), None)
