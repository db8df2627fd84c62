"""PyTorch as an oracle for schedules, groups, clipping, averages and closures around its optimizers."""

import numpy as np
import pytest
from torch_steps import CLASSES, gradient_sequence, torch

import temper


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
