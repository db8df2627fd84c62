"""The losses that no other table of oracles has, written again with PyTorch; and that no parameter is without one."""

import pathlib

import formulas
import formulas_of_comparisons  # noqa: F401  (registers)
import formulas_of_generative_losses  # noqa: F401
import formulas_of_losses  # noqa: F401
import formulas_of_operators  # noqa: F401
import formulas_of_robust_losses  # noqa: F401
import numpy as np
import oracle
import pytest
import test_torch_catalogue
import test_torch_expected
from oracle import C, D, F, N, ce, kl, one_hot, torch

import temper

case = oracle.Cases()

LOGPS = ["policy_chosen_logps", "policy_rejected_logps", "reference_chosen_logps", "reference_rejected_logps"]


def labelled(d):
    return dict(logits=d.real(N, C), targets=d.ids(N))


def pairs(d):
    return {name: d.real(N) for name in LOGPS}


def margin(policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps):
    return policy_chosen_logps - reference_chosen_logps - policy_rejected_logps + reference_rejected_logps


case("balanced_softmax", {}, lambda d: dict(**labelled(d), class_counts=d.positive(C)), ["logits"])(
    lambda logits, targets, class_counts: ce(logits + class_counts.log(), targets))  # fmt: skip
case("logit_adjusted", {"tau": 0.7}, lambda d: dict(**labelled(d), class_priors=d.simplex(C)), ["logits"])(
    lambda logits, targets, class_priors: ce(logits + 0.7 * class_priors.log(), targets))  # fmt: skip
case("max_suppression", {"alpha": 0.3}, labelled, ["logits"])(
    lambda logits, targets: ce(logits, targets) + 0.3 * (logits.max(1).values - logits.mean(1)))  # fmt: skip
case("symmetric_cross_entropy", {"alpha": 0.6, "beta": 0.8, "A": -5.0}, labelled, ["logits"])(
    lambda logits, targets: 0.6 * ce(logits, targets)
    - 0.8 * (logits.softmax(1) * (1 - one_hot(targets)) * -5.0).sum(1))  # fmt: skip


@case("squared_hinge", {"margin": 0.8, "form": "weston_watkins"}, labelled, ["logits"])
def _(logits, targets):
    return F.multi_margin_loss(logits, targets, p=2, margin=0.8, reduction="none") * C


@case("stablemax_cross_entropy", {}, labelled, ["logits"])
def _(logits, targets):
    s = torch.where(logits >= 0, logits + 1, 1 / (1 - logits))
    return -(s / s.sum(1, keepdim=True)).log().gather(1, targets[:, None])[:, 0]


@case("tversky", {"alpha": 0.3, "beta": 0.7}, lambda d: dict(logits=d.real(N, 7), targets=d.unit(N, 7)), ["logits"])
def _(logits, targets):
    p = logits.sigmoid()
    hits, false, missed = (p * targets).sum(1), (p * (1 - targets)).sum(1), ((1 - p) * targets).sum(1)
    return 1 - (hits + 1) / (hits + 0.3 * false + 0.7 * missed + 1)


@case("ldam_bce", {"C": 2.0}, lambda d: dict(logits=d.real(N, C), targets=d.unit(N, C), class_counts=3 * d.positive(C)),
      ["logits"])  # fmt: skip
def _(logits, targets, class_counts):
    moved = logits - targets * 2 * class_counts.clamp(min=1) ** -0.25
    return F.binary_cross_entropy_with_logits(moved, targets, reduction="none").mean(1)


@case("kl_divergence", {}, lambda d: dict(logits=d.real(N, C), targets=d.simplex(N, C)), ["logits"])
def _(logits, targets):
    return F.kl_div(logits.log_softmax(1), targets, reduction="none").sum(1)


@case("kl_divergence", {"direction": "reverse"}, lambda d: dict(logits=d.real(N, C), targets=d.simplex(N, C)),
      ["logits"])  # fmt: skip
def _(logits, targets):
    return F.kl_div(targets.log(), logits.log_softmax(1), reduction="none", log_target=True).sum(1)


@case("distillation", {"alpha": 0.3, "temperature": 2.0}, lambda d: dict(**labelled(d), teacher_logits=d.real(N, C)),
      ["logits"])  # fmt: skip
def _(logits, targets, teacher_logits):
    return 0.7 * ce(logits, targets) + 0.3 * 4 * kl(teacher_logits / 2, logits / 2)


@case("early_learning_regularization", {"lam": 2.0, "beta": 0.6},
      lambda d: dict(**labelled(d), ema_targets=0.5 * d.simplex(N, C)), ["logits"])  # fmt: skip
def _(logits, targets, ema_targets):
    p = logits.softmax(1).clamp(1e-4, 1 - 1e-4)
    t = 0.6 * ema_targets + 0.4 * (p / p.sum(1, keepdim=True)).detach()
    return ce(logits, targets) + 2 * (1 - (p * t).sum(1)).clamp(min=1e-4).log()


@case("forward_forward_loss", {"theta": 0.5}, labelled, ["logits"])
def _(logits, targets):
    others = F.softplus(logits - 0.5) * (1 - one_hot(targets))
    return F.softplus(0.5 - logits.gather(1, targets[:, None])[:, 0]) + others.sum(1) / (C - 1)


case("slic_hinge", {"beta": 0.6}, pairs, LOGPS)(lambda **x: torch.relu(1 - 0.6 * margin(**x)))
case("dr_dpo_loss", {"beta": 0.6, "beta_prime": 0.4}, pairs, LOGPS)(
    lambda **x: -0.4 * (F.logsigmoid(0.6 * margin(**x)) / 0.4).exp().mean().log()[None])  # fmt: skip
case("robust_dpo", {"beta": 0.6, "eps": 0.2}, pairs, LOGPS)(
    lambda **x: (-0.8 * F.logsigmoid(0.6 * margin(**x)) + 0.2 * F.logsigmoid(-0.6 * margin(**x))) / 0.6)  # fmt: skip


@case("d2o_loss", {"alpha": 0.3, "beta": 0.7}, lambda d: dict(
    policy_sample_logps=d.real(N, 4), reference_sample_logps=d.real(N, 4), policy_rejected_logps=d.real(N),
    reference_rejected_logps=d.real(N)), ["policy_sample_logps", "policy_rejected_logps"])  # fmt: skip
def _(policy_sample_logps, reference_sample_logps, policy_rejected_logps, reference_rejected_logps):
    samples = (policy_sample_logps - reference_sample_logps).mean(1)
    return -F.logsigmoid(0.7 * samples - 0.3 * (policy_rejected_logps - reference_rejected_logps))


@case("reward_ensemble_pairwise", {"eta": 0.2}, lambda d: dict(chosen_rewards=d.real(N), rejected_rewards=d.real(N)),
      ["chosen_rewards", "rejected_rewards"])  # fmt: skip
def _(chosen_rewards, rejected_rewards):
    return -F.logsigmoid(chosen_rewards - rejected_rewards) + 0.2 * (chosen_rewards + rejected_rewards) ** 2


@case("pu_multilabel_loss_consistency", {}, lambda d: dict(mixed_logits=d.real(N, C), mixed_targets=d.unit(N, C)),
      ["mixed_logits"])  # fmt: skip
def _(mixed_logits, mixed_targets):
    gap = (mixed_targets + 1e-10).log() - (mixed_logits.sigmoid() + 1e-10).log()
    return (gap**2).mean(0).sum()[None]


@case("robust_self_supervised_loss_logistic", {}, lambda d: dict(
    features=d.real(N, D), targets=d.bits(N), weights=d.real(D)), ["features", "weights"])  # fmt: skip
def _(features, targets, weights):
    """The maximum over d of log(1 + exp(|w| d - m)) - gamma d^2, where its slope is 0: d may be held constant."""
    size, m = weights.norm(), (2 * targets - 1) * (features @ weights)
    low, high = torch.zeros(N, dtype=m.dtype), torch.full((N,), 5.0, dtype=m.dtype)
    for _ in range(100):
        middle = (low + high) / 2
        rises = (size * (size * middle - m).sigmoid() > 6 * middle).detach()
        low, high = torch.where(rises, middle, low), torch.where(rises, high, middle)
    d = (low + high) / 2
    return F.softplus(size * d - m) - 3 * d**2


@case("physics_residual_multitask_loss", {"intensity_class": 2}, lambda d: dict(
    **labelled(d), predictions=d.real(N), observations=d.real(N), derivatives=d.real(N), alpha=d.positive()),
    ["logits", "predictions", "derivatives", "alpha"])  # fmt: skip
def _(logits, targets, predictions, observations, derivatives, alpha):
    residual = derivatives + alpha * predictions - 0.1 * logits.softmax(1)[:, 2]
    return (predictions - observations) ** 2 + ce(logits, targets) + 0.1 * residual**2


case("dpo", {"beta": 0.6, "label_smoothing": 0.2}, pairs, LOGPS)(
    lambda **x: -0.8 * F.logsigmoid(0.6 * margin(**x)) - 0.2 * F.logsigmoid(-0.6 * margin(**x)))  # fmt: skip
case("ipo", {"beta": 0.6}, pairs, LOGPS)(lambda **x: (margin(**x) - 1 / 1.2) ** 2)
case("focal", {"gamma": 1.5, "alpha": 0.4}, labelled, ["logits"])(
    lambda logits, targets: 0.4 * (1 - (-ce(logits, targets)).exp()) ** 1.5 * ce(logits, targets))  # fmt: skip
case("generalized_cross_entropy", {"q": 0.4}, labelled, ["logits"])(
    lambda logits, targets: (1 - (-0.4 * ce(logits, targets)).exp()) / 0.4)  # fmt: skip
case("poly1", {"epsilon": 1.5}, labelled, ["logits"])(
    lambda logits, targets: ce(logits, targets) + 1.5 * (1 - (-ce(logits, targets)).exp()))  # fmt: skip


@case("active_passive_loss", {"active": "nfl", "passive": "mae", "alpha": 0.6, "beta": 0.7, "gamma": 1.5}, labelled,
      ["logits"])  # fmt: skip
def _(logits, targets):
    losses = -((1 - logits.softmax(1)) ** 1.5) * logits.log_softmax(1)
    own = losses.gather(1, targets[:, None])[:, 0] / losses.sum(1)
    return 0.6 * own + 0.7 * (logits.softmax(1) - one_hot(targets)).abs().sum(1)


@case("z_loss", {"a": 0.7, "b": 1.3}, labelled, ["logits"])
def _(logits, targets):
    z = (logits - logits.mean(1, keepdim=True)) / logits.std(1, unbiased=False, keepdim=True)
    return F.softplus(0.7 * (1.3 - z.gather(1, targets[:, None])[:, 0])) / 0.7


def shown(d):
    inputs = dict(**labelled(d), visible=d.bits(N, C).astype(bool))
    inputs["visible"][np.arange(N), inputs["targets"]] = True
    return inputs


@case("masked_softmax_ce", {"mask_value": -0.5}, shown, ["logits"])
def _(logits, targets, visible):
    return ce(torch.where(visible, logits, torch.tensor(-0.5, dtype=logits.dtype)), targets)


@case("sparsemax_loss", {}, labelled, ["logits"])
def _(logits, targets):
    entmax = pytest.importorskip("entmax", reason="entmax, the oracle of this test, is not installed")
    return entmax.sparsemax_loss(logits, targets)


@pytest.mark.parametrize("name, parameters, inputs, wrt, formula", case)
def test_losses_are_their_formulas(name, parameters, inputs, wrt, formula):
    oracle.check(name, parameters, inputs, wrt, formula, test=name)


# What tests of their own compare with an oracle.
COMPARED_ELSEWHERE = {
    "test_crowd.py": {
        "dawid_skene", "glad", "mace", "soft_label_ensemble", "label_propagation", "toptwo_crowdsourcing",
        "toptwo_crowdsourcing_reliability",
    },
    "test_gradient_statistics.py": {"geometric_median"},
    "test_graphs.py": {"label_weighted_flow_diffusion"},
    "test_graph_groups.py": {"pairwise_match_then_community_groups"},
    "test_operator_formulas.py": {
        "bandlimited_target", "bandlimited_target/points", "bandlimited_target/transfer", "nbest_noise_embedding",
        "nbest_noise_embedding/word_error_rate",
    },
    "test_operators.py": {"quantized_softmax"},
}  # fmt: skip


def settings_of_tables():
    """By method: the parameters and the inputs of every call that an oracle is compared with."""
    records = [record for kind in ("loss", "op", "activation") for record in temper.catalog(kind)]
    names = {alias: record["name"] for record in records for alias in (record["name"], *record["aliases"])}
    found = {}
    for entry in [*case, *test_torch_catalogue.case, *test_torch_expected.case]:
        name, parameters, inputs = entry.values[:3]
        found.setdefault(names[name], []).append((parameters, set(inputs(oracle.Draw(0)))))
    elsewhere = set()
    for file, methods in COMPARED_ELSEWHERE.items():
        text = (pathlib.Path(__file__).parent / file).read_text()
        elsewhere |= {names[name] for name in methods if f'"{name}"' in text}
    return records, found, elsewhere


def test_every_parameter_of_every_loss_and_operator_has_an_oracle():
    """Each method has a formula, whose parameters are all moved, or stands in tables that move each of them."""
    records, tables, elsewhere = settings_of_tables()
    missing = []
    for record in records:
        if record["name"] in elsewhere:
            continue
        if record["name"] in formulas.ALL:
            fixed = [key for key, drawn in formulas.ALL[record["name"]][1].items() if drawn == ()]
            missing += [(record["name"], key) for key in fixed if key != "filter_eps"]  # test_streaming.py
            continue
        calls = tables.get(record["name"], [])
        missing += [] if calls else [(record["name"], "no oracle")]
        for entry in record["parameters"]:
            values = [next((given[key] for key in (entry["name"], *entry["aliases"]) if key in given), entry["default"])
                      for given, _ in calls]  # fmt: skip
            all_of_them = {"choice": entry.get("choices"), "boolean": [False, True]}.get(entry["type"])
            if set(all_of_them) - set(values) if all_of_them else set(values) <= {entry["default"]}:
                missing.append((record["name"], entry["name"]))
        came = set().union(*(names for _, names in calls))
        missing += [(record["name"], e["name"]) for e in record["inputs"] if not came & {e["name"], *e["aliases"]}]
    assert missing == []
