"""Softmax of results larger than the caches goes its own way: row by row the same bits as a few rows alone."""
import numpy as np
import pytest

import temper

STREAMED_BYTES = 32 << 20


def special(x):
    """Rows that softmax has to treat with care, at the ends and in the middle."""
    x[0, ::3] = -np.inf
    x[1] = -np.inf
    x[2, x.shape[1] // 2] = np.nan
    x[3, -1] = np.inf
    x[-1, : x.shape[1] // 2] = -np.inf
    x[-2] *= 1e4
    return x


@pytest.mark.parametrize("columns", [2049, 65536])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_rows_of_a_large_result_are_those_of_a_small_one(name, columns):
    rows = STREAMED_BYTES // (4 * columns) + 1
    memory = np.random.default_rng(columns).standard_normal(rows * columns + 1, np.float32)
    x = special(memory[1:].reshape(rows, columns))  # lines of memory begin elsewhere than rows
    op = temper.Context(threads=2).op(name)
    out = np.full(rows * columns + 2, 7, np.float32)
    got = op(x, out=out[1:-1].reshape(rows, columns))
    assert out[0] == out[-1] == 7
    alone = temper.Context(threads=1).op(name)
    for first in [0, rows // 2, rows - 5]:
        np.testing.assert_array_equal(got[first : first + 5], alone(x[first : first + 5]))
    np.testing.assert_array_equal(got, temper.Context(threads=1).op(name)(x))


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_large_results_in_double(name):
    x = np.random.default_rng(0).standard_normal((STREAMED_BYTES // (8 * 3001) + 1, 3001))
    shifted = x - x.max(1, keepdims=True)
    expected = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    expected = np.exp(expected) if name == "softmax" else expected
    op = temper.Context(threads=2).op(name)
    np.testing.assert_allclose(op(x), expected, rtol=1e-12, atol=0)
    single = x.astype(np.float32)
    np.testing.assert_allclose(op(single), expected, rtol=1e-5, atol=1e-6)
