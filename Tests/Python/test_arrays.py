"""What may come as an array, how it reaches the library without a copy, and what is refused."""

import array as buffers

import numpy as np
import pytest

import temper
from temper._arrays import readable, writable

X = np.array([[1.0, -2.0, 0.5], [0.0, 3.0, 1.0]])
softmax = temper.op("softmax")


def test_buffers_are_viewed():
    for holder in (buffers.array("d", [1, 2, 3]), memoryview(buffers.array("f", [1, 2, 3])), np.array([1.0, 2.0, 3.0])):
        array = readable(holder)
        assert array.base is not None or array is holder
        np.testing.assert_array_equal(array, [1, 2, 3])
    source = buffers.array("d", [1, 2, 3])
    view = readable(source)
    source[0] = 7
    assert view[0] == 7


def test_torch_and_jax_arrays_are_viewed():
    torch = pytest.importorskip("torch", reason="PyTorch, whose tensors are viewed, is not installed")
    tensor = torch.arange(6.0).reshape(2, 3).T
    view = readable(tensor)
    assert view.ctypes.data == tensor.data_ptr() and view.strides == (4, 12) and view.flags.writeable
    assert readable(torch.nn.Parameter(tensor)).ctypes.data == tensor.data_ptr()


def test_jax_arrays_are_viewed_and_not_written():
    jax = pytest.importorskip("jax", reason="JAX, whose arrays are viewed, is not installed")
    x = jax.numpy.asarray(X, dtype="float32")
    np.testing.assert_array_equal(softmax(x), softmax(X.astype(np.float32)))
    before = np.array(x)
    with pytest.raises(ValueError, match="read-only"):
        softmax(X.astype(np.float32), out=x)
    np.testing.assert_array_equal(np.array(x), before)


@pytest.mark.parametrize(
    "change",
    {
        "columns first": np.asfortranarray,
        "backwards": lambda x: x[::-1, ::-1].copy()[::-1, ::-1],
        "every second": lambda x: np.repeat(x, 2, 1)[:, ::2],
        "other byte order": lambda x: x.astype(">f8"),
        "unaligned": lambda x: np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(np.float64).reshape(x.shape),
        "field of a record": lambda x: _field(x),
    }.items(),
    ids=lambda change: change[0],
)
def test_layouts_give_the_same_bits(change):
    other = change[1](X)
    np.testing.assert_array_equal(other, X)
    np.testing.assert_array_equal(softmax(other), softmax(X))


def _field(x):
    records = np.zeros(x.shape, [("byte", "u1"), ("value", "f8")])
    records["value"] = x
    return records["value"]


def test_broadcast_axes_have_step_zero():
    row = np.broadcast_to(X[0], (4, 3))
    np.testing.assert_array_equal(softmax(row), np.tile(softmax(X[:1]), (4, 1)))


def test_inputs_are_not_changed():
    x = X.copy()
    x.flags.writeable = False
    softmax(x)
    softmax.vjp(x, x)
    np.testing.assert_array_equal(x, X)


def test_float16_is_widened():
    assert softmax(X.astype(np.float16)).dtype == np.float32


@pytest.mark.parametrize("dtype", ["complex128", "object", "U3", "datetime64[s]", "longdouble"])
def test_other_element_types_are_refused(dtype):
    x = np.zeros((2, 3)).astype(dtype)
    with pytest.raises(TypeError, match="array of numbers"):
        softmax(x)


def test_arrays_elsewhere_or_of_unknown_elements_are_refused():
    torch = pytest.importorskip("torch", reason="PyTorch, which has such arrays, is not installed")
    for tensor in (torch.zeros(2, 3, dtype=torch.bfloat16), torch.zeros(2, 3, device="meta")):
        with pytest.raises(temper.errors.InvalidType, match="CPU"):
            softmax(tensor)


def test_ids_beyond_64_bits_are_refused():
    with pytest.raises(temper.errors.OutOfRange):
        temper.loss("cross_entropy")(X, np.array([0, 2**64 - 1], np.uint64))


def test_results_are_written_only_where_they_can_be():
    read_only = np.zeros_like(X)
    read_only.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        softmax(X, out=read_only)
    with pytest.raises(TypeError):
        softmax(X, out=[[0.0] * 3] * 2)
    with pytest.raises(TypeError):
        softmax(X, out=np.zeros(X.shape, np.float16))
    with pytest.raises(temper.errors.InvalidType):
        softmax(X, out=np.zeros(X.shape, np.int32))
    with pytest.raises(temper.errors.InvalidShape):
        softmax(X, out=np.zeros((3, 2)))
    with pytest.raises(temper.Error, match="share memory"):
        softmax(X, out=np.lib.stride_tricks.as_strided(np.zeros(3), X.shape, (0, 8)))
    with pytest.raises(temper.Error, match="overlap"):
        x = X.copy()
        softmax(x, out=x)
    with pytest.raises(temper.errors.InvalidShape):
        writable(_field(X)[:1])


def test_torch_tensors_receive_results():
    torch = pytest.importorskip("torch", reason="PyTorch, whose tensors receive results, is not installed")
    out = torch.empty(3, 2, dtype=torch.float64).T
    assert softmax(X, out=out) is out
    np.testing.assert_array_equal(out.numpy(), softmax(X))


def test_too_many_dimensions():
    with pytest.raises(temper.errors.InvalidShape):
        temper.op("softmax")(np.zeros((1,) * 12))
