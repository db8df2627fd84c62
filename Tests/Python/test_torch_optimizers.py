"""PyTorch as an oracle for optimizers and schedules: fifty steps of the same gradients, every option."""

import itertools

import numpy as np
import pytest

import temper

torch = pytest.importorskip("torch", reason="PyTorch, the oracle of these tests, is not installed")

# PyTorch's class and settings, which ours are called like, but for betas.
SAME = {
    "sgd": (torch.optim.SGD, [
        {"lr": 0.1}, {"lr": 0.1, "weight_decay": 0.05}, {"lr": 0.1, "momentum": 0.9},
        {"lr": 0.1, "momentum": 0.9, "dampening": 0.3}, {"lr": 0.1, "maximize": True, "weight_decay": 0.01},
        {"lr": 0.1, "momentum": 0.8, "nesterov": True, "weight_decay": 0.01},
    ]),
    "adagrad": (torch.optim.Adagrad, [
        {}, {"lr": 0.05, "lr_decay": 0.1, "weight_decay": 0.1},
        {"initial_accumulator_value": 0.3, "eps": 1e-6, "maximize": True},
    ]),
    "adadelta": (torch.optim.Adadelta, [
        {}, {"lr": 0.5, "rho": 0.8, "eps": 1e-4, "weight_decay": 0.1}, {"maximize": True},
    ]),
    "rmsprop": (torch.optim.RMSprop, [
        {}, {"lr": 0.02, "alpha": 0.9, "eps": 1e-6, "weight_decay": 0.1}, {"momentum": 0.9},
        {"centered": True, "eps": 1e-3}, {"centered": True, "momentum": 0.5, "eps": 1e-3, "maximize": True},
    ]),
    "adam": (torch.optim.Adam, [
        {}, {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1}, {"amsgrad": True},
        {"weight_decay": 0.3, "decoupled_weight_decay": True}, {"maximize": True},
    ]),
    "adamw": (torch.optim.AdamW, [
        {}, {"lr": 0.01, "weight_decay": 0.3, "amsgrad": True}, {"maximize": True, "betas": (0.5, 0.9)},
    ]),
    "adamax": (torch.optim.Adamax, [
        {}, {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1}, {"maximize": True},
    ]),
    "nadam": (torch.optim.NAdam, [
        {}, {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1, "momentum_decay": 0.01},
        {"weight_decay": 0.3, "decoupled_weight_decay": True}, {"maximize": True},
    ]),
    "radam": (torch.optim.RAdam, [
        {}, {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1},
        {"weight_decay": 0.3, "decoupled_weight_decay": True}, {"maximize": True},
    ]),
    "asgd": (torch.optim.ASGD, [
        {}, {"lr": 0.05, "lambd": 0.01, "alpha": 0.5, "weight_decay": 0.1}, {"t0": 10.0, "maximize": True},
    ]),
}  # fmt: skip


def translated(settings):
    """PyTorch's settings under our names."""
    ours = {name: value for name, value in settings.items() if name != "betas"}
    return ours | {f"beta{i + 1}": beta for i, beta in enumerate(settings.get("betas", ()))}


CASES = [(name, translated(settings), oracle, settings) for name, (oracle, all_) in SAME.items() for settings in all_]
CASES += [
    ("amsgrad", {}, torch.optim.Adam, {"amsgrad": True}),
    ("rprop", {}, torch.optim.Rprop, {}),
    ("rprop", {"lr": 0.05, "eta_minus": 0.6, "eta_plus": 1.5, "minimum_step": 0.01, "maximum_step": 0.1},
     torch.optim.Rprop, {"lr": 0.05, "etas": (0.6, 1.5), "step_sizes": (0.01, 0.1)}),
    ("rprop", {"maximize": True}, torch.optim.Rprop, {"maximize": True}),
    ("adafactor", {}, torch.optim.Adafactor, {}),
    ("adafactor", {"lr": 0.3, "beta2_decay": -0.5, "eps1": 1e-5, "eps2": 0.1, "d": 1.5, "weight_decay": 0.1},
     torch.optim.Adafactor, {"lr": 0.3, "beta2_decay": -0.5, "eps": (1e-5, 0.1), "d": 1.5, "weight_decay": 0.1}),
    ("adafactor", {"maximize": True}, torch.optim.Adafactor, {"maximize": True}),
]  # fmt: skip


def label(case):
    return case[0] + "".join(f" {name}={value}" for name, value in case[1].items())


@pytest.fixture
def double():
    """PyTorch keeps numbers of its own (rates, products of momenta) in the default type."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def gradient_sequence(rng, shapes, dtype, count=50):
    # Their size changes a lot, so that the largest average of amsgrad is not the last one.
    return [[np.asarray(np.cos(t) ** 4 * rng.normal(size=s), dtype) for s in shapes] for t in range(count)]


@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 1e-6), (np.float64, 1e-12)])
@pytest.mark.parametrize("case", CASES, ids=label)
def test_fifty_steps(rng, double, case, dtype, tolerance):
    name, settings, oracle, oracle_settings = case
    shapes = [(7, 5), (5,), (), (2, 3, 4)]
    parameters = [rng.normal(size=shape).astype(dtype) for shape in shapes]
    tensors = [torch.tensor(parameter, requires_grad=True) for parameter in parameters]
    ours, theirs = temper.optimizer(name, **settings), oracle(tensors, **oracle_settings)
    for gradients in gradient_sequence(rng, shapes, dtype):
        for tensor, gradient in zip(tensors, gradients):
            tensor.grad = torch.tensor(gradient)
        theirs.step()
        ours.step(parameters, gradients)
    for parameter, tensor in zip(parameters, tensors):
        np.testing.assert_allclose(parameter, tensor.detach().numpy(), rtol=tolerance, atol=tolerance)


# Every flag of PyTorch's (but those of how it runs: foreach, fused, capturable, differentiable) with every other.
DECAY, UP = {"weight_decay": [0, 0.05]}, {"maximize": [False, True]}
OWN_WAY = {"decoupled_weight_decay": [False, True]}
FLAGS = {
    "sgd": {"lr": [0.05], "momentum": [0, 0.9], "dampening": [0, 0.3], "nesterov": [False, True], **DECAY, **UP},
    "adagrad": {"lr_decay": [0, 0.1], "initial_accumulator_value": [0, 0.3], **DECAY, **UP},
    "adadelta": {"rho": [0.8, 0.9], **DECAY, **UP},
    "rmsprop": {"eps": [1e-3], "alpha": [0.9, 0.99], "momentum": [0, 0.9], "centered": [False, True], **DECAY, **UP},
    "adam": {"betas": [(0.8, 0.95), (0.9, 0.999)], "amsgrad": [False, True], **DECAY, **UP, **OWN_WAY},
    "adamw": {"betas": [(0.8, 0.95), (0.9, 0.999)], "amsgrad": [False, True], **DECAY, **UP},
    "adamax": {"betas": [(0.8, 0.95), (0.9, 0.999)], **DECAY, **UP},
    "nadam": {"momentum_decay": [0, 0.01], **DECAY, **UP, **OWN_WAY},
    "radam": {"betas": [(0.8, 0.95), (0.9, 0.999)], **DECAY, **UP, **OWN_WAY},
    "asgd": {"t0": [10.0, 1e6], "alpha": [0.5, 0.75], "lambd": [1e-4, 0.01], **DECAY, **UP},
    "adafactor": {"lr": [0.01, 0.3], "d": [1.0, 1.5], **DECAY, **UP},
    "rprop": {"lr": [0.01, 0.05], **UP},
}  # fmt: skip
CLASSES = {name: oracle for name, (oracle, _) in SAME.items()} | {
    "adafactor": torch.optim.Adafactor, "rprop": torch.optim.Rprop
}  # fmt: skip


def fifty_steps(name, ours, oracle, theirs, shapes, dtype, sequence, start):
    parameters = [w.astype(dtype) for w in start]
    tensors = [torch.tensor(parameter, requires_grad=True) for parameter in parameters]
    ours, theirs = temper.optimizer(name, **ours), oracle(tensors, **theirs)
    for gradients in sequence:
        for tensor, gradient in zip(tensors, gradients):
            tensor.grad = torch.tensor(gradient)
        theirs.step()
        ours.step(parameters, gradients)
    return parameters, [tensor.detach().numpy() for tensor in tensors]


@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 1e-6), (np.float64, 1e-12)])
@pytest.mark.parametrize("name", FLAGS)
def test_fifty_steps_with_every_flag(rng, double, name, dtype, tolerance):
    shapes = [(3, 2), (4,)]
    start, sequence = [rng.normal(size=s) for s in shapes], gradient_sequence(rng, shapes, dtype)
    combinations = [dict(zip(FLAGS[name], values)) for values in itertools.product(*FLAGS[name].values())]
    checked = 0
    for settings in combinations:
        if settings.get("nesterov") and (settings["momentum"] == 0 or settings["dampening"] != 0):
            continue  # PyTorch refuses it
        found, expected = fifty_steps(
            name, translated(settings), CLASSES[name], settings, shapes, dtype, sequence, start
        )
        for ours, theirs in zip(found, expected):
            np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance, err_msg=str(settings))
        checked += 1
    assert checked > len(combinations) // 2


def test_no_optimizer_of_pytorch_is_left_out():
    known = {oracle.__name__ for oracle in CLASSES.values()} | {"LBFGS", "Muon", "SparseAdam", "Optimizer"}
    theirs = {n for n, c in vars(torch.optim).items() if isinstance(c, type) and issubclass(c, torch.optim.Optimizer)}
    assert theirs <= known


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this PyTorch has no Muon")
@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 1e-6), (np.float64, 1e-12)])
@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("scale, adjust", [("original", "original"), ("match_rms_adamw", "match_rms_adamw")])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_muon(rng, monkeypatch, dtype, tolerance, nesterov, scale, adjust, decay):
    """PyTorch's rounds to bfloat16 inside; without that, the same numbers."""
    monkeypatch.setattr(torch.Tensor, "bfloat16", lambda tensor: tensor.clone())
    shapes = [(6, 4), (3, 5)]
    start, sequence = [rng.normal(size=s) for s in shapes], gradient_sequence(rng, shapes, dtype)
    shared = {"lr": 0.02, "weight_decay": decay, "momentum": 0.9, "nesterov": nesterov}
    found, expected = fifty_steps(
        "muon", {**shared, "scale": scale, "eps": 0.0}, torch.optim.Muon, {**shared, "adjust_lr_fn": adjust}, shapes, dtype,
        sequence, start,
    )  # fmt: skip
    for ours, theirs in zip(found, expected):
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 1e-6), (np.float64, 1e-12)])
@pytest.mark.parametrize("settings", [{}, {"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-4}, {"maximize": True}])
def test_sparse_adam(rng, settings, dtype, tolerance):
    """Rows without a gradient stay, with their averages; the others move as with PyTorch's sparse gradients."""
    parameters = [rng.normal(size=(6, 3)).astype(dtype), rng.normal(size=7).astype(dtype)]
    tensors = [torch.tensor(parameter, requires_grad=True) for parameter in parameters]
    ours, theirs = temper.optimizer("sparse_adam", **translated(settings)), torch.optim.SparseAdam(tensors, **settings)
    for step in range(50):
        gradients = [rng.normal(size=p.shape).astype(dtype) for p in parameters]
        for tensor, gradient in zip(tensors, gradients):
            gradient[rng.random(len(gradient)) < 0.6] = 0
            rows = np.flatnonzero(np.abs(gradient.reshape(len(gradient), -1)).max(1))
            tensor.grad = torch.sparse_coo_tensor(rows[None], gradient[rows], gradient.shape, check_invariants=True)
        before = [p.copy() for p in parameters]
        theirs.step()
        ours.step(parameters, gradients)
        assert all((p == b)[g == 0].all() for p, b, g in zip(parameters[1:], before[1:], gradients[1:]))
    for parameter, tensor in zip(parameters, tensors):
        np.testing.assert_allclose(parameter, tensor.detach().numpy(), rtol=tolerance, atol=tolerance)


def test_the_average_of_asgd(rng, double):
    parameter = rng.normal(size=6)
    tensor = torch.tensor(parameter, requires_grad=True)
    ours, theirs = temper.optimizer("asgd", lr=0.1, t0=5), torch.optim.ASGD([tensor], lr=0.1, t0=5)
    for [gradient] in gradient_sequence(rng, [(6,)], np.float64, 20):
        tensor.grad = torch.tensor(gradient)
        theirs.step()
        ours.step([parameter], [gradient])
    np.testing.assert_allclose(ours.evaluation_point([parameter])[0], theirs.state[tensor]["ax"].numpy(), rtol=1e-12)


def test_groups_have_settings_and_schedules_of_their_own(rng):
    parameters = [rng.normal(size=(3, 2)) for _ in range(3)]
    tensors = [torch.tensor(parameter, requires_grad=True) for parameter in parameters]
    ours = temper.optimizer("adamw", lr=0.1).group([1], lr=0.01, weight_decay=0.5)
    ours.group([2], temper.schedule("exponential", lr=0.2, gamma=0.9), beta1=0.5)
    theirs = torch.optim.AdamW(
        [{"params": tensors[:1]}, {"params": tensors[1:2], "lr": 0.01, "weight_decay": 0.5},
         {"params": tensors[2:], "lr": 0.2, "betas": (0.5, 0.999)}], lr=0.1
    )  # fmt: skip
    for step, gradients in enumerate(gradient_sequence(rng, [(3, 2)] * 3, np.float64, 12)):
        theirs.param_groups[0]["lr"] = 0.1 / (1 + step)
        theirs.param_groups[2]["lr"] = 0.2 * 0.9**step
        for tensor, gradient in zip(tensors, gradients):
            tensor.grad = torch.tensor(gradient)
        theirs.step()
        ours.step(parameters, gradients, learning_rate=0.1 / (1 + step))
    for parameter, tensor in zip(parameters, tensors):
        np.testing.assert_allclose(parameter, tensor.detach().numpy(), rtol=1e-12)


def test_torch_parameters_are_updated_in_place(rng):
    layer = torch.nn.Linear(4, 3)
    before = [p.detach().clone() for p in layer.parameters()]
    layer(torch.ones(2, 4)).sum().backward()
    gradients = [p.grad for p in layer.parameters()]
    temper.optimizer("sgd", learning_rate=0.5).step(list(layer.parameters()), gradients)
    for parameter, old, gradient in zip(layer.parameters(), before, gradients):
        torch.testing.assert_close(parameter.detach(), old - 0.5 * gradient)


def test_a_closure_over_torch(rng):
    weight = torch.zeros(4, requires_grad=True)
    x, target = torch.tensor(rng.normal(size=(16, 4)), dtype=torch.float32), torch.arange(4.0)

    def closure():
        loss = ((x @ (weight - target)) ** 2).mean()
        return loss, torch.autograd.grad(loss, [weight])

    optimizer = temper.optimizer("adam", lr=0.1)
    losses = [optimizer.step([weight], closure) for _ in range(300)]
    assert losses[0] == pytest.approx(float((x @ target).square().mean())) and losses[-1] < 1e-4 * losses[0]
    np.testing.assert_allclose(weight.detach().numpy(), target, atol=0.05)


@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.0, np.inf])
@pytest.mark.parametrize("max_norm", [0.5, 100.0])
def test_clipping_by_norm(rng, norm_type, max_norm):
    shapes = [(7, 5), (5,)]
    parameters = [np.zeros(shape) for shape in shapes]
    gradients = [rng.normal(size=shape) for shape in shapes]
    tensors = [torch.zeros(shape, dtype=torch.float64) for shape in shapes]
    for tensor, gradient in zip(tensors, gradients):
        tensor.grad = torch.tensor(gradient)
    torch.nn.utils.clip_grad_norm_(tensors, max_norm, norm_type)
    temper.optimizer("clip_by_global_norm", max_norm=max_norm, norm_type=norm_type, lr=1).step(parameters, gradients)
    for parameter, tensor in zip(parameters, tensors):  # PyTorch adds 1e-6 to the norm
        np.testing.assert_allclose(-parameter, tensor.grad.numpy(), rtol=1e-5)


@pytest.mark.parametrize("decay, average", [(0.9, torch.optim.swa_utils.get_ema_multi_avg_fn(0.9)), (None, None)])
def test_averages_of_parameters(rng, decay, average):
    model = torch.nn.Linear(3, 2).double()
    averaged = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=average)
    parameters = [p.detach().numpy().copy() for p in model.parameters()]
    ours = temper.optimizer("ema", base="sgd", decay=decay, lr=0.1) if decay else temper.optimizer("swa", lr=0.1)
    theirs = torch.optim.SGD(model.parameters(), lr=0.1)
    for gradients in gradient_sequence(rng, [p.shape for p in parameters], np.float64, 15):
        for tensor, gradient in zip(model.parameters(), gradients):
            tensor.grad = torch.tensor(gradient)
        theirs.step()
        averaged.update_parameters(model)
        ours.step(parameters, gradients)
    for value, tensor in zip(ours.evaluation_point(parameters), averaged.module.parameters()):
        np.testing.assert_allclose(value, tensor.detach().numpy(), rtol=1e-12, atol=1e-14)


lr_scheduler = torch.optim.lr_scheduler
SCHEDULES = {
    "step": ({"step_size": 7, "gamma": 0.5}, lambda o: lr_scheduler.StepLR(o, 7, 0.5)),
    "multistep": ({"milestones": "[5, 9, 30]", "gamma": 0.3}, lambda o: lr_scheduler.MultiStepLR(o, [5, 9, 30], 0.3)),
    "exponential": ({"gamma": 0.9}, lambda o: lr_scheduler.ExponentialLR(o, 0.9)),
    "polynomial": ({"total_steps": 20, "power": 2.0}, lambda o: lr_scheduler.PolynomialLR(o, 20, 2.0)),
    "linear_lr": ({"total_steps": 20, "start_factor": 0.2, "end_factor": 0.7},
                  lambda o: lr_scheduler.LinearLR(o, 0.2, 0.7, 20)),
    "cosine": ({"total_steps": 50, "minimum": 0.01}, lambda o: lr_scheduler.CosineAnnealingLR(o, 50, 0.01)),
    "cosine_restarts": ({"T_0": 6, "T_mult": 2, "minimum": 0.01},
                        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 6, 2, 0.01)),
    "one_cycle": ({"total_steps": 50, "pct_start": 0.25},
                  lambda o: lr_scheduler.OneCycleLR(o, 0.3, 50, pct_start=0.25, cycle_momentum=False)),
    "one_cycle linear, three phases": (
        {"total_steps": 50, "anneal": "linear", "three_phase": True, "div_factor": 10.0, "final_div_factor": 100.0},
        lambda o: lr_scheduler.OneCycleLR(o, 0.3, 50, anneal_strategy="linear", three_phase=True, div_factor=10.0,
                                          final_div_factor=100.0, cycle_momentum=False)),
    "cyclic": ({"minimum": 0.1, "step_size_up": 4, "step_size_down": 7},
               lambda o: lr_scheduler.CyclicLR(o, 0.1, 0.3, 4, 7, cycle_momentum=False)),
    "cyclic triangular2": ({"minimum": 0.1, "step_size_up": 4, "mode": "triangular2"},
                           lambda o: lr_scheduler.CyclicLR(o, 0.1, 0.3, 4, mode="triangular2", cycle_momentum=False)),
    "cyclic exp_range": ({"minimum": 0.1, "step_size_up": 4, "mode": "exp_range", "gamma": 0.9},
                         lambda o: lr_scheduler.CyclicLR(o, 0.1, 0.3, 4, mode="exp_range", gamma=0.9,
                                                         cycle_momentum=False)),
    "sequence": ({"schedules": '[{"linear_lr": {"learning_rate": 0.3, "start_factor": 0.1, "total_steps": 8}, "steps": 8},'
                               ' {"exponential": {"learning_rate": 0.3, "gamma": 0.9}}]', "lr": 1},
                 lambda o: lr_scheduler.SequentialLR(
                     o, [lr_scheduler.LinearLR(o, 0.1, 1, 8), lr_scheduler.ExponentialLR(o, 0.9)], [8])),
    "sequence of constants": (
        {"schedules": '[{"constant": {"learning_rate": 0.1}, "steps": 5}, {"constant": {"learning_rate": 0.3}}]', "lr": 1},
        lambda o: lr_scheduler.ConstantLR(o, 1 / 3, 5)),
    "cosine to the rate of averaging": ({"total_steps": 10, "minimum": 0.05},
                                        lambda o: torch.optim.swa_utils.SWALR(o, 0.05, 10)),
    "linear_lr to the rate of averaging": ({"total_steps": 10, "start_factor": 1.0, "end_factor": 0.05 / 0.3},
                                           lambda o: torch.optim.swa_utils.SWALR(o, 0.05, 10, "linear")),
    "product": ({"schedules": '[{"linear_lr": {"start_factor": 0.1, "total_steps": 8}}, {"exponential": {"gamma": 0.9}}]'},
                lambda o: lr_scheduler.ChainedScheduler(
                    [lr_scheduler.LinearLR(o, 0.1, 1, 8), lr_scheduler.ExponentialLR(o, 0.9)])),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", SCHEDULES)
def test_fifty_rates(case):
    settings, make = SCHEDULES[case]
    ours = temper.schedule(case.split(" ")[0], **{"lr": 0.3, **settings})
    holder = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    theirs = make(holder)
    for step in range(50):
        assert ours(step) == pytest.approx(holder.param_groups[0]["lr"], rel=1e-9, abs=1e-12), step
        if step < 49:
            theirs.step()


@pytest.mark.parametrize("scheduler", ["LambdaLR", "MultiplicativeLR"])
def test_rates_that_a_function_gives(rng, double, scheduler):
    """PyTorch's take functions; here the rate of a step is an argument of the step."""
    w = rng.normal(size=5)
    tensor = torch.tensor(w.copy(), requires_grad=True)
    ours, theirs = temper.optimizer("adam"), torch.optim.Adam([tensor], lr=0.1)
    plan = getattr(lr_scheduler, scheduler)(theirs, lambda step: 1 / (1 + step))
    rate = 0.1
    for step, [gradient] in enumerate(gradient_sequence(rng, [(5,)], np.float64, 10)):
        if scheduler == "LambdaLR":
            rate = 0.1 / (1 + step)
        elif step:
            rate /= 1 + step
        tensor.grad = torch.tensor(gradient)
        ours.step([w], [gradient], learning_rate=rate)
        theirs.step()
        plan.step()
    np.testing.assert_allclose(w, tensor.detach().numpy(), rtol=1e-12)


# A momentum that goes down while the learning rate goes up: the same schedules with the ends changed round.
ONE_CYCLE = {"total_steps": 50, "learning_rate": 0.85, "div_factor": 0.85 / 0.95, "final_div_factor": 1.0}
CYCLES = {
    "one cycle": (
        ("one_cycle", {"total_steps": 50}), ("one_cycle", ONE_CYCLE), lambda o: lr_scheduler.OneCycleLR(o, 0.01, 50)),
    "one cycle, linear, three phases": (
        ("one_cycle", {"total_steps": 50, "anneal": "linear", "three_phase": True}),
        ("one_cycle", ONE_CYCLE | {"anneal": "linear", "three_phase": True}),
        lambda o: lr_scheduler.OneCycleLR(o, 0.01, 50, anneal_strategy="linear", three_phase=True)),
    "cyclic": (
        ("cyclic", {"minimum": 0.001, "step_size_up": 4, "step_size_down": 7}),
        ("cyclic", {"learning_rate": 0.8, "minimum": 0.9, "step_size_up": 4, "step_size_down": 7}),
        lambda o: lr_scheduler.CyclicLR(o, 0.001, 0.01, 4, 7)),
    "cyclic, halved": (
        ("cyclic", {"minimum": 0.001, "step_size_up": 4, "mode": "triangular2"}),
        ("cyclic", {"learning_rate": 0.8, "minimum": 0.9, "step_size_up": 4, "mode": "triangular2"}),
        lambda o: lr_scheduler.CyclicLR(o, 0.001, 0.01, 4, mode="triangular2")),
}  # fmt: skip
MOMENTA = {
    "sgd": ("momentum", {"momentum": 0.5, "weight_decay": 0.1}),
    "sgd nesterov": ("momentum", {"momentum": 0.5, "nesterov": True}),
    "rmsprop": ("momentum", {"momentum": 0.5, "eps": 1e-3}),
    "adam": ("beta1", {"weight_decay": 0.1}),
    "adamw": ("beta1", {"amsgrad": True}),
    "adamax": ("beta1", {}),
    "nadam": ("beta1", {}),
    "radam": ("beta1", {}),
}


@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 1e-6), (np.float64, 1e-12)])
@pytest.mark.parametrize("cycle", CYCLES)
@pytest.mark.parametrize("label", MOMENTA)
def test_momentum_cycles_against_the_learning_rate(rng, double, label, cycle, dtype, tolerance):
    name, (parameter, settings) = label.split()[0], MOMENTA[label]
    (kind, rates), (_, momenta), scheduler = CYCLES[cycle]
    start, sequence = rng.normal(size=(3, 2)), gradient_sequence(rng, [(3, 2)], dtype)
    weight = start.astype(dtype)
    tensor = torch.tensor(weight, requires_grad=True)
    theirs = CLASSES[name]([tensor], **settings)
    scheduler = scheduler(theirs)
    rate, momentum = temper.schedule(kind, **({"learning_rate": 0.01} | rates)), temper.schedule(kind, **momenta)
    ours = temper.optimizer(name, **settings).schedule(parameter, momentum)
    for step, [gradient] in enumerate(sequence[:49]):
        group = theirs.param_groups[0]
        assert momentum(step) == pytest.approx(group["betas"][0] if "betas" in group else group["momentum"], rel=1e-14)
        tensor.grad = torch.tensor(gradient)
        theirs.step()
        scheduler.step()
        ours.step([weight], [gradient], learning_rate=rate(step))
    np.testing.assert_allclose(weight, tensor.detach().numpy(), rtol=tolerance, atol=tolerance)


def test_no_schedule_of_pytorch_is_left_out():
    known = {"StepLR", "MultiStepLR", "ExponentialLR", "PolynomialLR", "LinearLR", "CosineAnnealingLR", "OneCycleLR",
             "CosineAnnealingWarmRestarts", "CyclicLR", "SequentialLR", "ChainedScheduler", "ReduceLROnPlateau",
             "ConstantLR", "LambdaLR", "MultiplicativeLR", "LRScheduler"}  # fmt: skip
    base = lr_scheduler.LRScheduler
    assert {n for n, c in vars(lr_scheduler).items() if isinstance(c, type) and issubclass(c, base)} - {
        "_LRScheduler"
    } <= known


@pytest.mark.parametrize(
    "settings",
    [
        {}, {"patience": 2, "factor": 0.5, "cooldown": 3}, {"mode": "max", "patience": 1, "threshold": 0.1},
        {"patience": 0, "threshold": 0.2, "threshold_mode": "abs", "minimum": 0.01},
    ],
)  # fmt: skip
def test_plateau(rng, settings):
    ours = temper.schedule("plateau", lr=0.3, **settings)
    theirs_settings = {"min_lr" if name == "minimum" else name: value for name, value in settings.items()}
    holder = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    theirs = lr_scheduler.ReduceLROnPlateau(holder, **theirs_settings)
    for step in range(60):
        loss = float(np.exp(-0.05 * step) + 0.1 * rng.normal())
        ours.observe(loss=loss)
        theirs.step(loss)
        assert ours(step) == pytest.approx(holder.param_groups[0]["lr"], rel=1e-12)


def rosenbrock(x):
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def quartic(x):
    return ((x - torch.arange(1.0, len(x) + 1)) ** 4).sum() + (x[0] * x[1]) ** 2


@pytest.mark.parametrize("function, start", [(rosenbrock, [-1.2, 1.0, 0.5]), (quartic, [3.0, -4.0, 0.0, 5.0])])
@pytest.mark.parametrize(
    "settings",
    [
        {"line_search_fn": "strong_wolfe"}, {"line_search_fn": "strong_wolfe", "history_size": 2, "max_iter": 3},
        {"line_search_fn": "strong_wolfe", "max_eval": 7, "lr": 0.5}, {"lr": 1e-3, "max_iter": 4},
        {"lr": 0.01, "tolerance_grad": 20.0, "history_size": 3}, {"tolerance_change": 0.3, "lr": 0.002},
    ],
)  # fmt: skip
def test_lbfgs(double, function, start, settings):
    tensor = torch.tensor(start, requires_grad=True)
    theirs = torch.optim.LBFGS([tensor], **settings)
    ours = temper.optimizer(
        "lbfgs", line_search=settings.get("line_search_fn", "none"),
        **{name: value for name, value in settings.items() if name != "line_search_fn"},
    )  # fmt: skip
    x = np.array(start)

    def closure():
        point = torch.tensor(x, requires_grad=True)
        loss = function(point)
        return loss, torch.autograd.grad(loss, [point])

    def theirs_closure():
        theirs.zero_grad()
        loss = function(tensor)
        loss.backward()
        return loss

    for _ in range(4):
        assert ours.step([x], closure) == pytest.approx(float(theirs.step(theirs_closure)), rel=1e-6, abs=1e-12)
        np.testing.assert_allclose(x, tensor.detach().numpy(), rtol=1e-7, atol=1e-9)
