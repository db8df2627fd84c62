"""Handles are given back, memory stays as long as someone looks at it, and the end of the process is quiet."""

import gc
import subprocess
import sys
import textwrap
import threading
import weakref

import numpy as np
import pytest

import temper
from temper import _arrays
from temper._library import library


def counted(monkeypatch, name):
    """The pointers that are freed from now on."""
    freed, free = [], getattr(library, name)

    def note(pointer):
        freed.append(getattr(pointer, "value", pointer))
        free(pointer)

    monkeypatch.setattr(library, name, note)
    return freed


def test_objects_give_their_handles_back(monkeypatch):
    freed = counted(monkeypatch, "loss_free")
    loss = temper.loss("focal")
    pointer = loss._as_parameter_.value
    assert freed == []
    del loss
    assert freed == [pointer]


def test_calls_leave_few_tensors_behind(monkeypatch):
    resting = {}
    monkeypatch.setattr(_arrays, "_resting", resting)
    monkeypatch.setattr(_arrays, "_MOST_RESTING", 3)
    freed = counted(monkeypatch, "tensor_free")
    made, borrow = [], library.tensor_borrow
    monkeypatch.setattr(library, "tensor_borrow", lambda out, *rest: (borrow(out, *rest), made.append(out._obj.value)))
    loss, arrays = temper.loss("cross_entropy"), [np.zeros((2, 3)) for _ in range(4)]
    for x in arrays:
        loss.value_and_grad(x, [0, 1])
        with pytest.raises(temper.Error):
            loss.value_and_grad(x, [0, 7])
        with pytest.raises(temper.Error):
            loss(x, [0, 1], out=np.zeros(9))
    assert len(made) > 6 and 2 <= len(resting) <= 3
    assert sorted([*freed, *resting.values()]) == sorted(made)


def test_handles_of_arrays_are_used_again(monkeypatch):
    made, borrow = [], library.tensor_borrow
    monkeypatch.setattr(library, "tensor_borrow", lambda out, *rest: (borrow(out, *rest), made.append(out._obj.value)))
    a, b, out = np.ones((3, 4), np.int8), np.ones((4, 4), np.int8), np.zeros((3, 4), np.int32)
    for value in (4, 8, 12):
        assert (temper.matmul_int8(a, b, out=out) == value).all()
        a += 1
    assert len(made) == 3


def test_another_look_at_the_same_memory_is_another_tensor():
    memory = np.arange(1, 13, dtype=np.int8)
    one = np.eye(4, dtype=np.int8)
    dense = memory.reshape(3, 4)
    for _ in range(2):
        for view in (dense, memory.reshape(4, 3).T, dense[::-1], dense[:2], memory[:4].reshape(1, 4), memory[::3].reshape(1, 4)):
            np.testing.assert_array_equal(temper.matmul_int8(view, one), view)
    both = np.frombuffer(memory.tobytes(), np.int8).reshape(3, 4)  # may not be written
    np.testing.assert_array_equal(temper.matmul_int8(both, one), both)
    loss = temper.loss("cross_entropy")
    scores = np.zeros(6)
    for shape in ((2, 3), (3, 2), (2, 3)):
        scores.shape = shape
        np.testing.assert_allclose(loss(scores, [0] * shape[0]), np.full(shape[0], np.log(shape[1])), rtol=1e-12)
    bits = np.zeros(1, np.float64)
    temper.matmul_int8(np.ones((1, 1), np.int8), np.ones((1, 2), np.int8), out=bits.view(np.int32).reshape(1, 2))
    assert bits.view(np.int32).tolist() == [1, 1]
    locked = np.zeros((2, 2), np.int32)
    temper.matmul_int8(one[:2, :2], one[:2, :2], out=locked)
    locked.flags.writeable = False
    with pytest.raises(temper.Error):
        temper.matmul_int8(one[:2, :2], one[:2, :2], out=locked)


def test_an_array_twice_in_one_call(monkeypatch):
    made, borrow = [], library.tensor_borrow
    monkeypatch.setattr(library, "tensor_borrow", lambda out, *rest: (borrow(out, *rest), made.append(out._obj.value)))
    x, out = np.arange(4, dtype=np.int8).reshape(2, 2), np.zeros((2, 2), np.int32)
    for right in (x, x.T):
        for _ in range(3):
            np.testing.assert_array_equal(temper.matmul_int8(x, right, out=out), x.astype(int) @ right)
    assert len(made) == 3  # x, out, and x by columns


def test_the_handle_of_an_array_in_use_is_not_another_calls():
    """A callback uses arrays of the call that it comes from, and so many others that handles are given back."""
    x, y = np.random.default_rng(0).standard_normal((32, 4), np.float32), np.zeros(32, int)
    loss, seen = temper.loss("cross_entropy"), []

    def callback(numbers):
        seen.append(loss(x, y))
        for _ in range(300):
            loss(x.copy(), y)

    model = temper.Model([{"dense": 4}], input=4, seed=0)
    temper.Trainer(model, batch_size=32).fit(x, y, epochs=2, callback=callback)
    plain = temper.Model([{"dense": 4}], input=4, seed=0)
    temper.Trainer(plain, batch_size=32).fit(x, y, epochs=2)
    assert seen and all((values == seen[0]).all() for values in seen)
    np.testing.assert_array_equal(model.predict(x), plain.predict(x))


def test_threads_share_an_array():
    a, b = np.full((16, 16), 2, np.int8), np.full((16, 16), 3, np.int8)
    wrong = []

    def work():
        context = temper.Context(threads=1)
        wrong.extend(1 for _ in range(300) if (temper.matmul_int8(a, b, context=context) != 96).any())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_views_keep_memory(monkeypatch):
    freed = counted(monkeypatch, "tensor_free")
    parameters = temper.Model([{"dense": 3}], input=4, seed=1).parameters()
    count = len(freed)
    view = parameters["0.weight"][1:, ::2] if "0.weight" in parameters else next(iter(parameters.values()))[1:]
    expected = view.copy()
    del parameters
    gc.collect()
    assert len(freed) == count + 1  # the bias, at which nobody looks any more
    np.testing.assert_array_equal(view, expected)
    del view
    assert len(freed) == count + 2


def test_callbacks_are_let_go():
    class Callback:
        def __call__(self, numbers):
            pass

    callback = Callback()
    gone = weakref.ref(callback)
    model = temper.Model([{"dense": 3}], input=4)
    temper.Trainer(model).fit(np.zeros((8, 4), np.float32), np.zeros(8, int), callback=callback)
    del callback
    gc.collect()
    assert gone() is None


def test_logs_live_as_long_as_what_may_write_to_them():
    class Log:
        def __call__(self, level, text):
            pass

    log = Log()
    gone = weakref.ref(log)
    context = temper.Context(log=log, threads=1)
    model = temper.Model([{"dense": 3}], input=4, context=context)
    del log, context
    gc.collect()
    assert gone() is not None
    del model
    gc.collect()
    assert gone() is None


def test_a_context_makes_what_the_module_makes():
    context, x = temper.Context(threads=1), [[1.0, 2.0]]
    np.testing.assert_array_equal(context.loss("focal", gamma=1.0)(x, [0]), temper.loss("focal", gamma=1.0)(x, [0]))
    np.testing.assert_array_equal(context.op("softmax")(x), temper.op("softmax")(x))
    assert context.schedule("constant", learning_rate=0.5)(3) == 0.5
    assert context.optimizer("adam").name == "adam" and context.quantizer("round_to_nearest").parameters == {}
    assert context.catalog() == temper.catalog() and context.describe("focal") == temper.describe("focal")


def test_a_context_has_its_own_threads():
    assert temper.Context(threads=3).threads == 3
    with pytest.raises(temper.Error):
        temper.Context(threads=10**6)


@pytest.mark.parametrize(
    "code",
    [
        "model = temper.Model([{'dense': 3}], input=4); p = model.parameters()",
        "import threading; loss = temper.loss('focal'); threading.Thread(target=loss, args=([[1.0]], [0])).start()",
        "import atexit; loss = temper.loss('focal'); atexit.register(lambda: print(loss([[1.0]], [0])[0]))",
        "class A: pass\na = A(); a.a = a; a.loss = temper.loss('focal'); a.context = temper.Context(log=print)",
        "import sys; x = temper.loss('focal'); sys.exit(0)",
    ],
)
def test_the_end_of_the_process_is_quiet(code):
    result = subprocess.run([sys.executable, "-c", "import temper\n" + code], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")


def test_memory_does_not_grow():
    code = textwrap.dedent("""
        import resource, numpy as np, temper
        x, y = np.zeros((200, 50)), np.zeros(200, int)
        def work():
            loss = temper.loss("cross_entropy")
            loss.value_and_grad(x, y)
            temper.Model([{"dense": 50}], input=50).parameters()
            try: temper.loss("nothing")
            except temper.Error: pass
        for _ in range(300): work()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(1500): work()
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(result.stdout) < 4096  # kilobytes; a leak of one array a round would be 120,000


def test_import_makes_no_context():
    code = "import temper; from temper import _context; print(_context.default.cache_info().currsize)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "0\n"
