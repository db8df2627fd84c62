"""Every training procedure beside plain training, by turns: runs of a small dense network on data of the digits' size.

The wanted ratios are those of time: at most 1.3 times plain training for one network, 2.3 times for two. A small network
is the hardest case: what a method does for each step and epoch weighs most. Methods that by their definition pass samples
through networks more often than once a step say how often; they are timed without an aim.
"""
import numpy as np
from pairs import report

import temper

COUNT, EPOCHS, CLASSES = 1437, 20, 10
LAYERS = [{"dense": 128}, "relu", {"dense": CLASSES}]
# Without warm-ups and first stages, whose steps are those of plain training.
PARAMETERS = {
    "adaptive_k": {"warmup_epochs": 0}, "alim": {"e0": 0, "lam": 0.3}, "bag_of_multilabel_descriptors": {"embed": 16},
    "cascade_refinement": {}, "classifier_retraining": {"representation_epochs": 1},
    "co_teaching_plus": {"warmup_epochs": 0}, "confidence_filter_and_rectify": {"fold_epochs": 4},
    "decoupling": {"warmup_epochs": 0}, "deferred_reweighting": {"defer_epochs": 0},
    "divide_mix": {"warmup_epochs": 1}, "estimated_transition": {"warmup_epochs": 1},
    "late_stopping": {"warmup_epochs": 1},
    "linear_separation_alternating": {"warmup_epochs": 1}, "mentor_weights": {"warmup_epochs": 0},
    "multi_encoder_backdoor_adjustment": {"M": 2}, "nested_co_teaching": {"stage1_epochs": 1},
    "rcal_representation_calibration": {"contrastive_epochs": 1, "head_epochs": 1},
    "reward_model_data_filter": {"keep_fraction": 1}, "storm_meta_loss_rescaling": {"G": 1},
}
# Passes of a step through networks beyond one forward and one backward for each network.
MORE = {
    "alim": None, "bag_of_multilabel_descriptors": "pairs of labels, then anew", "cascade_refinement": "its own stages",
    "divide_mix": "a forward in each network, and all samples after each epoch",
    "elr_plus": "a forward in each average", "enhanced_meta_label_correction": "two networks, forward derivatives",
    "erase": "log det of each class", "imbalanced_semi_self": None,
    "learning_to_reweight": "a tried step and its slopes", "meta_weight_net": "a tried step and its slopes",
    "linear_separation_alternating": "two views; after each epoch all samples, and those in doubt three times",
    "mono_forward": "layer by layer", "nested_co_teaching": "a forward of the half where the other one chooses",
    "pairwise_match_then_community": "two views, twice", "policy_gradient_noise_mask": "its own draws",
    "rcal_representation_calibration": "mixed and plain samples, and drawn ones",
    "rotation_consistency_decoupling": "four turned views and two noisy ones",
    "storm_meta_loss_rescaling": "each sample twice, a tried step and its slopes",
    "ignite_surrogate_sharpness": "another point",
    "tram_privileged": "a second head", "bilateral_branch": "each sample twice",
}


def inputs(name, random, x, y):
    """What fit takes beside x and y, and the loss."""
    trusted = {"trusted_x": x[:50], "trusted_y": y[:50]}
    return {
        "alim": {"y": np.maximum(np.eye(CLASSES)[y], random.random((COUNT, CLASSES)) < 0.2).astype(np.float32)},
        "bag_of_multilabel_descriptors": {
            "y": (random.random((COUNT, CLASSES)) < 0.3).astype(np.float32),
            "loss": "binary_cross_entropy_with_logits",
        },
        "enhanced_meta_label_correction": trusted, "erase": {"edges": random.integers(0, COUNT, (5000, 2))},
        "imbalanced_semi_self": {"y": np.where(random.random(COUNT) < 0.3, -100, y)},
        "learning_to_reweight": trusted, "meta_weight_net": trusted,
        "pairwise_match_then_community": {"views": x[:, None]},
        "reward_model_data_filter": {"rewards": random.standard_normal(COUNT)},
        "tram_privileged": {"privileged": random.standard_normal((COUNT, 4))},
    }.get(name, {})


def run(threads, names=()):
    context = temper.Context(threads=threads)
    random = np.random.default_rng(0)
    x = random.standard_normal((COUNT, 64), np.float32)
    y = random.integers(0, CLASSES, COUNT)

    def training(procedure, given):
        trainer = temper.Trainer(
            temper.Model(LAYERS, input=(64,), context=context), procedure=procedure, batch_size=128,
            loss=given.get("loss", "cross_entropy"))
        given = {"y": y, **{name: value for name, value in given.items() if name != "loss"}}
        return trainer, lambda: trainer.fit(x, epochs=trainer.epochs + EPOCHS, **given)

    for record in temper.catalog("procedure"):
        name = record["name"]
        if names and name not in names:
            continue
        given = inputs(name, random, x, y)
        try:
            trainer, ours = training(context.procedure(name, **PARAMETERS.get(name, {})), given)
            ours()
        except temper.Error as error:
            print(f"{name}: not timed, {error}")
            continue
        several = len(trainer.networks) > 1
        aim = None if MORE.get(name) else round(1 / (2.3 if several else 1.3), 2)
        title = f"{name}: {len(trainer.networks)} network{'s' if several else ''}"
        report(title, ours, training(None, {})[1], aim, MORE.get(name) or "")
