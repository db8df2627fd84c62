"""Products of integers and of packed weights, and what makes the weights: beside PyTorch, and beside what memory and
the machine's multipliers allow."""
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch

import temper
from pairs import human, pair, report

SIZE = 4096


def rate(operations):
    return lambda seconds: f"{operations / seconds / 1e9:.0f} GOP/s"


def int8_products(context, rows, columns, depth, aim):
    a, b = (torch.randint(-127, 128, shape, dtype=torch.int8) for shape in ((rows, depth), (depth, columns)))
    by_columns = b.t().contiguous().t()
    for name, right in (("", b), (", B by columns", by_columns)):
        ours, theirs = np.empty((rows, columns), np.int32), torch.empty((rows, columns), dtype=torch.int32)
        x, y = a.numpy(), right.numpy()
        report(f"int8 product, {rows} x {depth} x {columns}{name}",
               lambda: temper.matmul_int8(x, y, out=ours, context=context),
               lambda: torch._int_mm(a, right, out=theirs), aim, rate(2 * rows * columns * depth))
        assert (ours == theirs.numpy()).all()


def packed_rows(context, bits, rows, x, weight, aim=None, activations="float", group=0):
    """Against PyTorch with float32 weights; the limit is the rate at which packed weights come: 8 MB at 4 bits, from the
    third-level cache where that has as much, since the same matrix is asked again and again."""
    packed = context.quantizer("round_to_nearest", bits=bits, group_size=group).quantize(weight)
    y = np.empty((rows, SIZE), np.float32)
    left, right, out = torch.from_numpy(x[:rows]), torch.from_numpy(weight).t(), torch.empty(rows, SIZE)
    ours, other, ratio = pair(lambda: packed.matmul(x[:rows], out=y, activations=activations),
                              lambda: torch.mm(left, right, out=out))
    speed = packed.nbytes / ours / 1e9
    verdict = "" if aim is None else "reached" if speed >= aim else "MISSED"
    kind = "" if activations == "float" else ", activations in int8"
    shown = f"groups of {group}" if group else "one scale a row"
    print(f"{f'{bits} bits, {shown}, {rows} of {SIZE}²{kind}':52} {human(ours):>9} {human(other):>9} {ratio:7.2f}x  "
          f"aim {f'{aim} GB/s' if aim else '-':>4}  {verdict:8} {speed:.1f} GB/s of packed weights", flush=True)


def decode_loop(context, bits, group, matrices=12):
    """One row through different matrices in turn, more than caches hold, as a language model does for each token:
    the weights come from memory. Beside PyTorch reading as many bytes."""
    random = np.random.default_rng(0)
    weight = random.standard_normal((SIZE, SIZE), np.float32)
    quantizer = context.quantizer("round_to_nearest", bits=bits, group_size=group)
    packed = [quantizer.quantize(weight) for _ in range(matrices)]
    x, y = random.standard_normal((1, SIZE), np.float32), np.empty((1, SIZE), np.float32)
    count = sum(matrix.nbytes for matrix in packed)
    bytes_read = torch.zeros(count // 4)

    def ours():
        for matrix in packed:
            matrix.matmul(x, out=y)

    report(f"{bits} bits, groups of {group}, 1 of {SIZE}², {matrices} matrices in turn", ours, lambda: torch.sum(bytes_read),
           None, lambda seconds: f"{count / seconds / 1e9:.1f} GB/s of packed weights")


def batch_of_a_model(context, bits, rows):
    """A dense layer of packed weights beside the same layer of floats, both ours."""
    model = temper.Model([{"dense": SIZE}], input=(SIZE,), seed=0, context=context)
    packed = context.quantizer("round_to_nearest", bits=bits, group_size=64).quantize_model(model)
    x, y = np.random.default_rng(0).standard_normal((rows, SIZE), np.float32), np.empty((rows, SIZE), np.float32)
    report(f"{bits} bits beside our float32, {rows} rows of {SIZE}²", lambda: packed.predict(x, out=y),
           lambda: model.predict(x, out=y), 1, rate(2 * rows * SIZE**2))


def file_of_weights(context, threads, width=2048, layers=24):
    """A file of a hundred million numbers, beside reading it and writing what it becomes
    with NumPy. The peak is what the call adds to the memory of this process."""
    shape = (width, width)
    with tempfile.TemporaryDirectory() as folder:
        source, target = os.path.join(folder, "float.safetensors"), os.path.join(folder, "packed.safetensors")
        random = np.random.default_rng(0)
        temper.save_file({f"{i}.weight": random.standard_normal(shape, np.float32) for i in range(layers)}, source)
        quantizer = context.quantizer("round_to_nearest", bits=4, group_size=64)
        codes = np.zeros(4 * width * width * layers // 7, np.uint8)

        def other():
            with open(source, "rb", buffering=0) as file:
                while file.readinto(memory):
                    pass
            with open(target, "wb") as file:
                file.write(codes)
                file.flush()
                os.fsync(file.fileno())

        memory = bytearray(4 * width * width)
        other()
        peak, of_gguf = (peak_of_quantizing(threads, source, path) for path in (target, target.replace("safetensors", "gguf")))
        ours, theirs, ratio = pair(lambda: quantizer.quantize_file(source, target), other, rounds=3)
        print(f"{f'file of {layers * width * width / 1e6:.0f} million weights to 4 bits':52} {human(ours):>9} "
              f"{human(theirs):>9} {ratio:7.2f}x  aim    -           "
              f"{4 * width * width * layers / ours / 1e9:.2f} GB/s read, peak {peak / (4 * width * width):.2f} times the largest layer, "
              f"{of_gguf / (4 * width * width):.2f} to GGUF", flush=True)


def peak_of_quantizing(threads, source, target):
    """Bytes that the process needs more at its peak, in a process of its own."""
    program = (
        "import sys, temper\n"
        "def peak(): return int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])\n"
        "quantizer = temper.Context(threads=int(sys.argv[3])).quantizer('round_to_nearest', bits=4, group_size=64)\n"
        "quantizer.quantize([[1.0, 2.0]])\n"
        "before = peak()\n"
        "quantizer.quantize_file(sys.argv[1], sys.argv[2])\n"
        "print(peak() - before)\n"
    )
    arguments = [sys.executable, "-c", program, source, target, str(threads)]
    return 1024 * int(subprocess.run(arguments, check=True, capture_output=True, text=True).stdout)


def run(threads):
    context = temper.Context(threads=threads)
    for size in (256, 512, 1024, 2048):
        int8_products(context, size, size, size, 0.9)
    for rows in (4, 1):
        int8_products(context, rows, SIZE, SIZE, 0.9)
    random = np.random.default_rng(0)
    x, weight = random.standard_normal((64, SIZE), np.float32), random.standard_normal((SIZE, SIZE), np.float32)
    for bits in (8, 6, 5, 4, 3, 2):
        packed_rows(context, bits, 1, x, weight, 25 if bits == 4 and threads > 1 else None)
    packed_rows(context, 4, 1, x, weight, group=64)
    decode_loop(context, 4, 64)
    packed_rows(context, 4, 8, x, weight, group=64)
    for bits in (8, 4):
        packed_rows(context, bits, 1, x, weight, activations="int8")
        packed_rows(context, bits, 64, x, weight, activations="int8", group=64)
    batch_of_a_model(context, 4, 64)
    file_of_weights(context, threads)
