"""Data larger than memory: mapped files, items, batches. The bits are those of arrays in memory."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest

import temper
from temper import _sources

RNG = np.random.default_rng(3)
X = RNG.normal(size=(230, 5)).astype(np.float32)
Y = (X @ RNG.normal(size=(5, 3))).argmax(axis=1).astype(np.int32)


class Items:
    """Samples by number; what was asked for is noted."""

    def __init__(self, x, y=None):
        self.x, self.y, self.asked = x, y, []

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        self.asked.append(index)
        return self.x[index] if self.y is None else (self.x[index], self.y[index])


def batches(size=50, *further):
    for start in range(0, len(X), size):
        yield tuple(array[start : start + size] for array in (X, Y)) + further


def trainer(**options):
    model = temper.Model([{"dense": 16}, "relu", {"dense": 3}], input=(5,), seed=1)
    return temper.Trainer(model, "early_learning_regularization", seed=2, batch_size=32, **options)


def result(trained, *data, **options):
    trained.fit(*data, epochs=3, **options)
    return [*trained.model.parameters().values(), *trained.state.values(), *trained.history.values()]


def same(a, b):
    # All but the seconds.
    return len(a) == len(b) and sum(np.array_equal(p, q) for p, q in zip(a, b)) >= len(a) - 1


@pytest.fixture(scope="module")
def expected():
    return result(trainer(), X, Y, validation=(X[:60], Y[:60]))


@pytest.fixture
def files(tmp_path):
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "y.npy", Y)
    return tmp_path / "x.npy", tmp_path / "y.npy"


def test_every_form_gives_the_same_bits(expected, files):
    validation = {"validation": (X[:60], Y[:60])}
    forms = {
        "mapped by NumPy": (np.load(files[0], mmap_mode="r"), np.load(files[1], mmap_mode="r")),
        "mapped by the library": files,
        "as text": (str(files[0]), Y),
        "pairs": (Items(X, Y),),
        "items": (Items(X), Y),
        "items as float64": (Items(X.astype(np.float64)), Y),
        "a generator": (batches(),),
        "lists of batches from an iterator": (iter([list(batch) for batch in batches(7)]),),
    }
    for name, form in forms.items():
        assert same(result(trainer(), *form, **validation), expected), name
    measured = [(files[0], files[1]), (Items(X[:60], Y[:60]),), (batch for batch in [next(batches(60))])]
    assert same(result(trainer(), X, Y, validation=measured[1]), expected)
    assert same(result(trainer(), X, Y, validation=(measured[2],)), expected)
    t = trainer()
    assert t.evaluate(*files) == t.evaluate(X, Y) == t.evaluate(Items(X), Y) == t.evaluate(batches())


def test_procedures_that_look_at_all_samples(files):
    def run(*data):
        procedure = temper.procedure("divide_mix", warmup_epochs=1, ramp=1)
        model = temper.Model([{"dense": 16}, "relu", {"dense": 3}], input=(5,), seed=1)
        return result(temper.Trainer(model, procedure=procedure, batch_size=32, seed=2), *data)

    whole = run(X, Y)
    assert same(run(*files), whole) and same(run(Items(X, Y)), whole)


def test_the_bits_do_not_depend_on_when_rows_are_converted(files):
    """An array whose converted copy would be large is converted batch by batch."""
    x = RNG.integers(0, 256, (3000, 6000), np.uint8)
    y = (x[:, 0] > 127).astype(np.int32)

    def run(x, **options):
        model = temper.Model([{"dense": 2}], input=(6000,), seed=1)
        t = temper.Trainer(model, optimizer="sgd", batch_size=512, seed=2, threads=1)
        t.fit(x, y, epochs=1, **options)
        return [*t.model.parameters().values(), t.evaluate(x, y)["loss"]]

    whole = run(x.astype(np.float32))
    for form in (x, np.asfortranarray(x)):
        for a, b in zip(run(form), whole, strict=True):
            assert np.array_equal(a, b)
    with pytest.raises(temper.errors.NotFinite, match="sample 7, element 3"):
        broken = x.astype(np.float64)
        broken[7, 3] = np.nan
        run(broken)


def test_mapped_arrays_are_not_copied(files):
    mapped = np.load(files[0], mmap_mode="r")
    x, y, _ = _sources.training(mapped, Y)
    assert np.shares_memory(x, mapped) and y is Y
    ours = _sources.array(files[0])
    assert not ours.flags.writeable and np.array_equal(ours, X)


def test_a_run_needs_no_memory_for_its_samples(tmp_path):
    """A process that may not have as much memory as its data trains on them."""
    rows, width = 32_000, 1024  # 128 MB
    file = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (rows, width))
    for start in range(0, rows, 4000):
        file[start : start + 4000] = RNG.normal(size=(4000, width))
    file.flush()
    del file
    program = f"""
        import resource
        import numpy as np, temper
        model = temper.Model([{{"dense": 2}}], input=({width},), seed=1)
        trainer = temper.Trainer(model, batch_size=512, threads=1)
        trainer.evaluate(np.zeros((512, {width}), np.float32), np.zeros(512, np.int32))
        used = next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmData"))
        resource.setrlimit(resource.RLIMIT_DATA, (used + (64 << 20),) * 2)
        y = np.arange({rows}, dtype=np.int32) % 2
        print(trainer.fit({str(tmp_path / "x.npy")!r}, y, epochs=1)["training_loss"][0] > 0)
    """
    ran = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True)
    assert ran.stdout == "True\n", ran.stderr


def test_items_are_read_once_an_epoch_and_keep_their_ids(expected):
    items = Items(X)
    t = trainer()
    t.fit(items, Y, epochs=2)
    asked = items.asked[1:]  # the first tells the shape
    assert sorted(asked) == sorted(2 * list(range(len(X)))) and asked[: len(X)] != asked[len(X) :]
    state = t.state
    again = trainer()
    again.fit(X, Y, epochs=2)
    assert all(np.array_equal(state[name], again.state[name]) for name in state) and state


def test_an_exception_of_an_item_ends_the_call_and_training_goes_on(expected):
    class Failing(Items):
        broken = False

        def __getitem__(self, index):
            if self.broken and len(self.asked) > 300:
                raise OSError("the disk is gone")
            return super().__getitem__(index)

    items = Failing(X)
    t, items.broken = trainer(), True
    with pytest.raises(OSError, match="the disk is gone"):
        t.fit(items, Y, epochs=3, validation=(X[:60], Y[:60]))
    assert t.epochs == 1
    items.broken = False
    assert same(result(t, items, Y, validation=(X[:60], Y[:60])), expected)


def test_items_and_batches_that_do_not_fit():
    class Ragged(Items):
        def __getitem__(self, index):
            return self.x[index][: 5 - (index == 100)]

    with pytest.raises(temper.errors.InvalidShape, match="Item 100 has shape"):
        trainer().fit(Ragged(X), Y)
    with pytest.raises(temper.errors.InvalidType, match="pair"):
        trainer().fit(Items(X))
    with pytest.raises(temper.errors.InvalidShape, match="no samples"):
        trainer().fit(Items(X[:0]), Y[:0])
    with pytest.raises(temper.errors.InvalidShape, match="no samples"):
        trainer().fit(iter([]))
    with pytest.raises(temper.errors.InvalidType, match="2 parts"):
        trainer().fit(batches(), Y)
    with pytest.raises(temper.errors.InvalidShape, match="50 rows of x and 49 of y"):
        trainer().fit((x, y[:-1]) for x, y in batches())
    with pytest.raises(temper.errors.InvalidShape, match="Batch 1 has shape"):
        trainer().fit(iter([(X[:5], Y[:5]), (X[:5, :4], Y[:5])]))
    with pytest.raises(temper.errors.InvalidType, match="path of a .npy file"):
        trainer().fit(object(), Y)
    with pytest.raises(temper.errors.InvalidShape, match="the model takes|The model takes"):
        trainer().fit(Items(X[:, :4]), Y)
    with pytest.raises(temper.errors.NotFinite, match="sample 9, element 2"):
        broken = X.copy()
        broken[9, 2] = np.inf
        trainer().fit(Items(broken), Y)


def test_further_inputs_come_with_batches_too():
    """(x, y, {name: rows}), here the second view of a procedure."""
    more = RNG.normal(size=(len(X), 4)).astype(np.float32)

    def run(*data, **inputs):
        model = temper.Model([{"dense": 16}, "relu", {"dense": 3}], input=(5,), seed=1)
        t = temper.Trainer(model, procedure="tram_privileged", batch_size=32, seed=2)
        return result(t, *data, **inputs)

    triples = ((x, y, {"privileged": more[50 * n : 50 * n + 50]}) for n, (x, y) in enumerate(batches()))
    assert same(run(triples), run(X, Y, privileged=more))


@pytest.mark.parametrize("dtype", ["f4", "f8", "i4", "i8", "u1", "i1", "?"])
def test_files_of_numpy_are_read_as_numpy_reads_them(tmp_path, dtype):
    for shape in [(), (0,), (3,), (2, 3, 4), (1,) * 8]:
        for order in "CF":
            array = np.asarray(RNG.integers(0, 2, shape).astype(dtype), order=order)
            np.save(tmp_path / "a.npy", array)
            read = _sources.array(tmp_path / "a.npy")
            assert read.dtype == array.dtype and read.shape == shape and np.array_equal(read, array)


def test_files_of_other_kinds_are_refused(tmp_path):
    for dtype in (">f4", "f2", "c8", "U3", "i2", [("a", "f4")]):
        np.save(tmp_path / "a.npy", np.zeros(3, dtype))
        with pytest.raises(temper.Error, match=r"a\.npy"):
            _sources.array(tmp_path / "a.npy")
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(temper.errors.Unsupported, match=r"\|O"):
        _sources.array(tmp_path / "a.npy")
    good = (np.save(tmp_path / "a.npy", X), (tmp_path / "a.npy").read_bytes())[1]
    for cut in (0, 5, 9, 20, 127, 128, len(good) - 1):
        (tmp_path / "a.npy").write_bytes(good[:cut])
        with pytest.raises(temper.errors.MalformedFile):
            _sources.array(tmp_path / "a.npy")
    for _ in range(300):
        place, value = int(RNG.integers(0, 128)), int(RNG.integers(0, 256))
        (tmp_path / "a.npy").write_bytes(good[:place] + bytes([value]) + good[place + 1 :])
        try:
            assert _sources.array(tmp_path / "a.npy").size == X.size
        except temper.Error:
            pass


def test_loaders_of_pytorch(expected):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    data = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    validation = {"validation": (X[:60], Y[:60])}
    assert same(result(trainer(), data, **validation), expected)
    loader = torch.utils.data.DataLoader(data, batch_size=33)
    assert same(result(trainer(), loader, **validation), expected)
