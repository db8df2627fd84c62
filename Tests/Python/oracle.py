"""PyTorch as an oracle: losses written again as functions of tensors, and what such functions are made of."""

import numpy as np
import pytest

import temper

torch = pytest.importorskip("torch", reason="PyTorch, the oracle of these tests, is not installed")
F = torch.nn.functional

N, C, D = 6, 5, 4


class Draw:
    """Arrays of the kinds that losses take."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def real(self, *shape):
        return self.rng.normal(size=shape)

    def positive(self, *shape):
        return self.rng.uniform(0.3, 2.0, shape)

    def unit(self, *shape):
        return self.rng.uniform(0.05, 0.95, shape)

    def ids(self, *shape, below=C):
        return self.rng.integers(0, below, shape)

    def bits(self, *shape):
        return self.rng.integers(0, 2, shape)

    def simplex(self, *shape):
        return self.rng.dirichlet(np.ones(shape[-1]), shape[:-1])


class Cases(list):
    """Calls of losses: name, parameters, inputs from a Draw, names with gradients, the formula over tensors."""

    def __call__(self, name, parameters, inputs, wrt):
        def add(formula):
            self.append(pytest.param(name, parameters, inputs, wrt, formula, id=f"{name}-{len(self)}"))
            return formula

        return add


def check(name, parameters, inputs, wrt, formula, test):
    """Values by sample, and the gradients of their sum."""
    for seed in range(3):
        arrays = inputs(Draw([seed, *test.encode()]))
        tensors = {key: torch.from_numpy(np.asarray(array)) for key, array in arrays.items()}
        for key in wrt:
            tensors[key].requires_grad_()
        expected = formula(**tensors)
        expected.sum().backward()
        loss = temper.loss(name, **parameters)
        np.testing.assert_allclose(loss(**arrays), expected.detach().numpy(), rtol=1e-9, atol=1e-11)
        _, gradients = loss.value_and_grad(**arrays, reduction="sum", wrt=wrt)
        for key in wrt:
            slope = tensors[key].grad if tensors[key].grad is not None else torch.zeros_like(tensors[key])
            np.testing.assert_allclose(gradients[key], slope.numpy(), rtol=1e-7, atol=1e-9, err_msg=key)


def ce(z, y):
    return F.cross_entropy(z, y, reduction="none")


def one_hot(y, classes=C):
    return F.one_hot(y, classes).double()


def kl(p_logits, q_logits):
    return (p_logits.softmax(-1) * (p_logits.log_softmax(-1) - q_logits.log_softmax(-1))).sum(-1)


def unit_rows(x):
    return x / x.norm(dim=-1, keepdim=True)
