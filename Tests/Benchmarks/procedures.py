"""Training procedures beside plain training: runs of a small dense network on data of the digits' size.

The wanted ratios are those of time: at most 1.3 times plain training for one network, 2.3 times for two. Those that learn
from a step that is only tried, or keep teachers, are timed without an aim.
"""
import numpy as np
import temper
from pairs import report

COUNT, EPOCHS = 1437, 20
LAYERS = [{"dense": 128}, "relu", {"dense": 10}]
# Without warm-ups, whose steps are those of plain training.
ONE = {
    "small_loss": {}, "adaptive_k": {"warmup_epochs": 0}, "mentor_weights": {"warmup_epochs": 0}, "sop": {},
    "estimated_transition": {"warmup_epochs": 1}, "volume_minimization": {},
    "deferred_reweighting": {"defer_epochs": 0}, "class_balanced_sampling": {}, "late_stopping": {},
    "classifier_retraining": {"representation_epochs": 1}, "tau_normalization": {},
}
TWO = {
    "co_teaching": {}, "co_teaching_plus": {"warmup_epochs": 0}, "jocor": {}, "decoupling": {"warmup_epochs": 0},
    "divide_mix": {"warmup_epochs": 1},
}
OTHERS = {
    "elr_plus": {}, "learning_to_reweight": {}, "meta_weight_net": {}, "storm_meta_loss_rescaling": {"G": 1},
}


def run(threads):
    context = temper.Context(threads=threads)
    random = np.random.default_rng(0)
    x = random.standard_normal((COUNT, 64), np.float32)
    y = random.integers(0, 10, COUNT)
    trusted = {"trusted_x": x[:50], "trusted_y": y[:50]}

    def training(procedure):
        model = temper.Model(LAYERS, input=(64,), context=context)
        trainer = temper.Trainer(model, procedure=procedure, batch_size=128)
        names = {entry["name"] for entry in procedure.record["inputs"]} if procedure else ()
        inputs = {name: value for name, value in trusted.items() if name in names}
        return lambda: trainer.fit(x, y, epochs=trainer.epochs + EPOCHS, **inputs)

    for aim, group in ((1 / 1.3, ONE), (1 / 2.3, TWO), (None, OTHERS)):
        for name, parameters in group.items():
            method = context.procedure(name, **parameters)
            report(f"{name}: {EPOCHS} epochs", training(method), training(None), aim and round(aim, 2))
