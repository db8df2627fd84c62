"""Matrix products beside the OpenBLAS that NumPy carries: the kernels alone, one thread, in a C program that takes turns."""
import pathlib
import subprocess
import tempfile

import numpy as np

from pairs import human

ROOT = pathlib.Path(__file__).resolve().parents[2]
AIMS = {8: 1, 16: 1, 32: 1, 64: 1, 256: 0.9, 512: 0.9, 1024: 0.9, 2048: 0.9}


def run():
    (library,) = (pathlib.Path(np.__file__).parent.parent / "numpy.libs").glob("libscipy_openblas64*.so")
    kernels = ROOT / "Sources/TemperKernels"
    sources = [*kernels.glob("matmul/*.c"), kernels / "variant.c", ROOT / "Tests/Benchmarks/products.c"]
    with tempfile.TemporaryDirectory() as folder:
        program = f"{folder}/products"
        flags = ["-O3", "-std=gnu17", "-fno-math-errno", "-fno-trapping-math", f"-I{kernels}/include"]
        subprocess.run(["clang", *flags, *map(str, sources), "-ldl", "-lm", "-o", program], check=True)
        lines = subprocess.run([program, library], check=True, capture_output=True, text=True).stdout
    for bits, size, ours, other, ratio in map(str.split, lines.splitlines()):
        ours, other, ratio, size = float(ours), float(other), float(ratio), int(size)
        aim = AIMS.get(size)
        verdict = "" if aim is None else "reached" if round(ratio, 2) >= aim else "MISSED"
        print(f"{f'product float{bits}, {size} square, OpenBLAS':52} {human(ours):>9} {human(other):>9} {ratio:7.2f}x  "
              f"aim {aim or '-':>4}  {verdict:8} {2 * size**3 / ours / 1e9:.0f} GFLOP/s", flush=True)
