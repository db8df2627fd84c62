"""Inputs for any method of the catalogue, made from its record: shapes from the letters of its forms, values that lie
where the input's meaning wants them."""

import itertools

import numpy as np

# What the letters in shapes stand for, "..." included, and what single methods need.
SIZES = {"N": 6, "C": 5, "D": 4, "M": 7, "K": 3, "L": 9, "T": 4, "U": 3, "V": 5, "S": 3, "...": 3}
OTHER_SIZE = 3
SIZES_OF = {
    "soft_topk": {"D": 6},
    "online_softmax_topk": {"D": 7},
    "online_softmax_topk_positions": {"D": 7},
    "lssar_attention": {"M": 6},
    "partial_fc": {"C": 12, "S": 5},
    "ctc_loss": {"T": 7},
    "shrinkmatch_loss": {"N": 12},
    "adaptive_softmax": {"A": 5, "P": 3, "Q": 4, "R": 2, "S": 3, "T": 2, "U": 3},
    "presto_ordinal": {"C": 4},
}

# Where values lie: by the input's name, or "method.input".
POSITIVE = {
    "class_weights", "class_counts", "sample_weights", "tau", "t", "temperatures", "temperature", "scale", "b",
    "scores", "alpha", "sigma", "sigma_noisy", "sigma_t", "errors", "weight", "density_weights", "context_weights",
    "ldr_kl_loss.lambdas", "variances", "tweedie.targets", "gamma.targets", "poisson_nll.targets", "listnet.targets", "listmle.targets",
    "lambda_rank.targets", "approx_ndcg.targets", "soft_label_ensemble.weights",
}  # fmt: skip
SIMPLEX = {
    "class_priors", "ema_targets", "attention", "transition", "conditional_transport.p", "conditional_transport.q",
    "sampled_softmax.proposal", "noise_contrastive_estimation.proposal",
}  # fmt: skip
SHARES = {
    "alpha_bar", "mix", "mixed_targets", "uniforms", "target_scores", "binary_cross_entropy_with_logits.targets",
    "attention_entropy_regularization.thresholds", "soft_match_distribution_loss.scores",
    "auc_margin.scores", "auc_margin.targets", "asymmetric_loss.targets", "contrastive.targets",
    "cosine_embedding.targets", "kto.targets", "margin_ranking.targets", "nbpo.targets", "tokenized_brier.targets",
}  # fmt: skip
NEGATIVE = {"natural_gaussian_nll.eta2", "orpo.policy_chosen_logps", "orpo.policy_rejected_logps"}
ABOVE_ONE = {"entmax.alpha", "entmax_loss.alpha"}
ANY = {"orthograd.weight", "closed_form_concept_edit.weight"}
WHOLE = {
    "chosen_lengths": (3, 9),
    "rejected_lengths": (3, 9),
    "num_kept": (2, 2),
    "input_lengths": (6, 7),
    "target_lengths": (0, 3),
    "hierarchical_softmax.sides": (-1, 1),
    "votes": (-1, 4),
    "num_classes": (5, 5),
    "num_nodes": (2, 6),
    "gumbel_optimized_loss.targets": (0, 1),
    "robust_self_supervised_loss.targets": (0, 1),
    "robust_self_supervised_loss_logistic.targets": (0, 1),
}

# Optional inputs that the default parameters need.
NEEDED = {
    "smooth_labels": {"prior"},
    "napo_loss": {"chosen_lengths", "rejected_lengths"},
    "adaptive_softmax": {"projection_2", "tail_2"},
}

# Optional inputs that come together or not at all.
TOGETHER = {
    "peer_loss": [{"peer_logits", "peer_targets"}],
    "kto": [{"policy_kl_logps", "reference_kl_logps"}],
    "adaptive_softmax": [{"projection_3", "tail_3"}],
}


def _see_targets(inputs):
    inputs["visible"] |= inputs["targets"] > 0 if inputs["targets"].ndim > 1 else _one_hot(inputs)


def _one_hot(inputs):
    return np.eye(inputs["visible"].shape[1], dtype=bool)[inputs["targets"]]


def _order_cuts(inputs):
    """Cuts so far apart that no sample sees them in another order."""
    inputs["thresholds"][:] = [-6, 0.5, 7]
    inputs["weights"] *= 0.2


def _make_graph(inputs):
    """Edges have two ends, and the graph can hold what is put in."""
    inputs["adjacency"] = np.maximum(inputs["adjacency"] + inputs["adjacency"].T, 0)
    inputs["source"][:] = np.arange(len(inputs["source"])) == 0
    inputs["source"] *= 3
    inputs["sinks"][:] = 1


def _clustered(inputs):
    """The number of classes."""
    tails = [len(inputs[name]) for name in inputs if name.startswith("tail")]
    return len(inputs["head"]) - len(tails) + sum(tails)


def _keep_most_labels(inputs):
    """A transition matrix that can be inverted."""
    inputs["transition"][:] = 0.4 * inputs["transition"] + 0.6 * np.eye(len(inputs["transition"]))


# Relations between inputs.
REPAIR = {
    "backward_correction": _keep_most_labels,
    "masked_softmax_ce": _see_targets,
    "partial_fc": lambda inputs: inputs.update(sampled_classes=np.array([0, 3, 4, 8, 11])),
    "presto_ordinal": _order_cuts,
    "label_weighted_flow_diffusion": _make_graph,
    # Some in the head and in every cluster.
    "adaptive_softmax": lambda made: made.update(targets=np.arange(len(made["targets"])) * 2 % _clustered(made)),
}


def _values(rng, method, name, form, dtype):
    sizes = {**SIZES, **SIZES_OF.get(method, {})}
    shape = tuple(int(s) if s.isdigit() else sizes.get(s, OTHER_SIZE) for s in form["shape"])
    if form["dtype"] == "int" and name in WHOLE:
        low, high = WHOLE[name]
        return rng.integers(low, high + 1, shape)
    if form["dtype"] == "int":
        below = form.get("below", "2")
        return rng.integers(0, int(below) if below.isdigit() else sizes[below], shape)
    if form["dtype"] == "bool":
        return rng.random(shape) < 0.75
    # The special name before the common one.
    for kind in (f"{method}.{name}", name):
        if kind in ANY:
            break
        if kind in SIMPLEX:
            return rng.dirichlet(np.ones(shape[-1]), shape[:-1]).astype(dtype)
        if kind in SHARES:
            return rng.uniform(0.05, 0.95, shape).astype(dtype)
        if kind in ABOVE_ONE:
            return rng.uniform(1.2, 2.2, shape).astype(dtype)
        if kind in POSITIVE:
            return rng.uniform(0.3, 2.3, shape).astype(dtype)
        if kind in NEGATIVE:
            return rng.uniform(-2.3, -0.3, shape).astype(dtype)
        if kind in WHOLE:
            low, high = WHOLE[kind]
            return rng.integers(low, high + 1, shape).astype(dtype)
    if name in ("targets", "other_targets", "peer_targets") and form["shape"][-1:] == ["C"]:
        return rng.dirichlet(np.ones(shape[-1]), shape[:-1]).astype(dtype)
    return rng.normal(size=shape).astype(dtype)


def inputs(rng, record, variant, dtype=np.float64):
    """Arrays by name for one way to call a method."""
    name = record["name"]
    made = {entry["name"]: _values(rng, name, entry["name"], form, dtype) for entry, form in variant}
    if name in REPAIR:
        REPAIR[name](made)
    return made


def count(variant, inputs):
    """How many samples there are; 1 where no input says."""
    sizes = [inputs[entry["name"]].shape[form["shape"].index("N")] for entry, form in variant if "N" in form["shape"]]
    return sizes[0] if sizes else 1


def differentiable(variant):
    return [entry["name"] for entry, form in variant if entry["differentiable"] and form["dtype"] == "float"]


def cases(records):
    """(record, variant, identifier) of every way to call every method. A variant is a list of (input, form): every
    choice of a form for each input, and each optional input left out or not."""
    found = []
    for record in records:
        needed = NEEDED.get(record["name"], set())
        choices = [
            [(entry, form) for form in entry["forms"]]
            + ([None] if entry["optional"] and entry["name"] not in needed else [])
            for entry in record["inputs"]
        ]
        for chosen in itertools.product(*choices):
            variant = [choice for choice in chosen if choice]
            came = {entry["name"] for entry, _ in variant}
            if any(0 < len(group & came) < len(group) for group in TOGETHER.get(record["name"], [])):
                continue
            # What tells the ways apart: forms of inputs that have several, and optional inputs that came.
            words = "-".join(
                f"{entry['name']}_{form['dtype']}"
                for entry, form in variant
                if len(entry["forms"]) > 1 or entry["optional"]
            )
            found.append((record, variant, record["name"] + (f"[{words}]" if words else "")))
    return found


def settings(record):
    """The defaults, then one parameter moved: every other word, yes for no, and the ends of numbers that they reach."""
    yield {}
    for entry in record["parameters"]:
        values = {"choice": entry.get("choices"), "boolean": [False, True]}.get(entry["type"], [])
        if entry["type"] in ("real", "integer"):
            ends = [("minimum", "(" not in entry["domain"]), ("maximum", entry["domain"].endswith("]"))]
            values = [entry[end] for end, is_reached in ends if end in entry and is_reached and abs(entry[end]) < 100]
        yield from ({entry["name"]: value} for value in values if value != entry["default"])


def shown(settings):
    return "".join(f"-{name}={value}" for name, value in settings.items())


def numeric_gradient(function, array, step=1e-6):
    """Central differences of a scalar function by every element of a float64 array."""
    gradient = np.empty_like(array)
    for index in np.ndindex(array.shape):
        kept = array[index]
        array[index] = kept + step
        above = function()
        array[index] = kept - step
        below = function()
        array[index] = kept
        gradient[index] = (above - below) / (2 * step)
    return gradient
