"""Matrix products beside the OpenBLAS that NumPy carries: the kernels alone, in a C program. On one thread both take turns
in one process, on two they take turns in processes of their own."""
import pathlib
import statistics
import subprocess
import tempfile

import numpy as np

from pairs import human

ROOT = pathlib.Path(__file__).resolve().parents[2]
AIMS = {8: 1, 16: 1, 32: 1, 64: 1, 256: 0.9, 512: 0.9, 1024: 0.9, 2048: 0.9}


def report(name, size, ours, other, ratio):
    aim = AIMS.get(size)
    verdict = "" if aim is None else "reached" if round(ratio, 2) >= aim else "MISSED"
    print(f"{name:52} {human(ours):>9} {human(other):>9} {ratio:7.2f}x  aim {aim or '-':>4}  {verdict:8} "
          f"{2 * size**3 / ours / 1e9:.0f} GFLOP/s", flush=True)


def run():
    (library,) = (pathlib.Path(np.__file__).parent.parent / "numpy.libs").glob("libscipy_openblas64*.so")
    kernels = ROOT / "Sources/TemperKernels"
    sources = [*kernels.glob("matmul/*.c"), kernels / "variant.c", kernels / "processor.c",
               ROOT / "Tests/Benchmarks/products.c"]
    with tempfile.TemporaryDirectory() as folder:
        program = f"{folder}/products"
        flags = ["-O3", "-std=gnu17", "-fno-math-errno", "-fno-trapping-math", f"-I{kernels}/include"]
        subprocess.run(["clang", *flags, *map(str, sources), "-ldl", "-lm", "-lpthread", "-o", program], check=True)

        def output(*arguments):
            return subprocess.run([program, *map(str, arguments)], check=True, capture_output=True, text=True).stdout

        for bits, size, ours, other, ratio in map(str.split, output(library).splitlines()):
            report(f"product float{bits}, {size} square, OpenBLAS", int(size), float(ours), float(other), float(ratio))
        for size in (256, 512, 1024, 2048):
            turns = [(float(output("ours", size)), float(output(library, size))) for _ in range(9)]
            report(f"product float32, {size} square, OpenBLAS, 2 threads", size, statistics.median(a for a, _ in turns),
                   statistics.median(b for _, b in turns), statistics.median(b / a for a, b in turns))
