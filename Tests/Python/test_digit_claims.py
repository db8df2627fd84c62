"""What the pages say that optimizers and procedures do, on digits, over several seeds and with stated margins."""

import pathlib

import numpy as np
from digits import accuracy, digits, with_wrong_labels

import temper
from procedures import softmax

LAYERS = [{"dense": 64}, "relu", {"dense": 10}]


def cross_entropy(model, x, y):
    p = softmax(model.predict(x).astype(float))
    return -np.log(np.maximum(p[np.arange(len(y)), y], 1e-30)).mean()


def slopes(model, x, y):
    """The gradient of the mean cross-entropy by the logits."""
    p = softmax(model.predict(x).astype(float))
    p[np.arange(len(y)), y] -= 1
    return (p / len(y)).astype(np.float32)


def sharpness(model, x, y, rho=0.5):
    """How far the loss rises along its gradient, within a distance of the parameters."""
    gradients = model.vjp(x, slopes(model, x, y), wrt=list(model.parameters()))
    size = np.sqrt(sum((g**2).sum() for g in gradients.values()))
    before, kept = cross_entropy(model, x, y), {n: v.copy() for n, v in model.parameters().items()}
    for name, value in model.parameters().items():
        value += rho * gradients[name] / size
    after = cross_entropy(model, x, y)
    for name, value in model.parameters().items():
        value[...] = kept[name]
    return after - before


def fit(x, y, seed, optimizer, epochs, batch_size=50, layers=LAYERS, model=None, **options):
    model = model or temper.Model(layers, input=(x.shape[1],), seed=seed)
    temper.Trainer(model, optimizer=optimizer, batch_size=batch_size, seed=seed, threads=1, **options).fit(
        x, y, epochs=epochs
    )
    return model


def test_sharpness_aware_descent_resists_wrong_labels():
    """50% of the labels wrong: after the last epoch sam is above sgd by 5 points in the mean of 5 seeds, and where it
    ends the loss is less sharp at every seed; the Fisher mask of half of the parameters lies above sgd too."""
    names = {
        "sgd": temper.optimizer("sgd", lr=0.1, momentum=0.9),
        "sam": temper.optimizer("sam", lr=0.1, momentum=0.9, rho=0.2),
        "fisher_sam_mask": temper.optimizer(
            "fisher_sam_mask", base="sgd", lr=0.1, momentum=0.9, rho=0.2, keep_ratio=0.5
        ),
    }
    scores, sharp = {name: [] for name in names}, {name: [] for name in names}
    for seed in range(5):
        x, y = digits(seed)
        wrong = with_wrong_labels(y[:800], 0.5, np.random.default_rng(seed))
        for name, optimizer in names.items():
            model = fit(x[:800], wrong, seed, optimizer, epochs=60)
            scores[name].append(accuracy(model, x[800:], y[800:]))
            sharp[name].append(sharpness(model, x[:800], wrong))
    assert np.mean(scores["sam"]) > np.mean(scores["sgd"]) + 0.05, scores
    assert np.mean(scores["fisher_sam_mask"]) > np.mean(scores["sgd"]), scores
    assert all(a < b for a, b in zip(sharp["sam"], sharp["sgd"])), sharp
    assert np.mean(sharp["fisher_sam_mask"]) < np.mean(sharp["sgd"]), sharp


def test_the_noise_scale_of_digits_grows():
    """In five epochs by a factor of 3 at least, 3 seeds of 3."""
    for seed in range(3):
        x, y = digits(seed)
        model = temper.Model([{"dense": 10}], input=(64,), seed=seed)

        def scale():
            logits = model.predict(x[:600]).astype(float)
            p = softmax(logits)
            p[np.arange(600), y[:600]] -= 1
            return temper.metric("gradient_noise_scale")((p[:, :, None] * x[:600, None]).reshape(600, -1))

        before = scale()
        fit(x[:600], y[:600], seed, temper.optimizer("adam", lr=0.01), 5, model=model)
        assert scale() > 3 * before > 0


def test_feasible_learning_of_a_regression():
    """Diabetes: the 99th percentile of the training loss is below that of plain training at a test error within 10%,
    the means of 5 seeds."""
    table = np.loadtxt(pathlib.Path(__file__).resolve().parents[2] / "examples/data/diabetes.csv", delimiter=",")
    worst, error = {"plain": [], "feasible": []}, {"plain": [], "feasible": []}
    for seed in range(5):
        rows = np.random.default_rng(seed).permutation(table)
        x, y = rows[:, :-1], rows[:, -1:]
        x, y = ((x - x.mean(0)) / x.std(0)).astype(np.float32), ((y - y.mean()) / y.std()).astype(np.float32)
        for name in worst:
            procedure = (
                None
                if name == "plain"
                else temper.procedure("feasible_learning", eps=0.5, dual_lr=0.02, dual_decay=1.0)
            )
            model = temper.Model([{"dense": 16}, "tanh", {"dense": 1}], input=(10,), seed=seed)
            trainer = temper.Trainer(
                model,
                loss="mse",
                optimizer=temper.optimizer("adam", lr=0.003),
                procedure=procedure,
                batch_size=50,
                seed=seed,
                threads=1,
            )
            trainer.fit(x[:300], y[:300], epochs=60)
            losses = ((model.predict(x) - y) ** 2).ravel()
            worst[name].append(np.quantile(losses[:300], 0.99))
            error[name].append(losses[300:].mean())
    assert np.mean(worst["feasible"]) < 0.9 * np.mean(worst["plain"]), worst
    assert np.mean(error["feasible"]) < 1.1 * np.mean(error["plain"]), error


def test_what_was_forgotten_along_flat_weights_stays_forgotten():
    """Class 3 is unlearned until it is never chosen; then four steps on 20 of its digits bring back less than a
    third of it after forgetting with sam, and more than two thirds without, the mean of 5 seeds; the other classes
    stay within 2 points. A longer attack (six steps) brings back both."""
    back, retained, forgotten = {"none": [], "sam": []}, {"none": [], "sam": []}, []
    for seed in range(5):
        x, y = digits(seed)
        train, is_3 = np.arange(len(y)) < 1000, y == 3
        keep, drop, test = train & ~is_3, train & is_3, ~train
        start = fit(x[train], y[train], seed, temper.optimizer("adam", lr=0.003), 20)
        values = {n: v.copy() for n, v in start.parameters().items()}
        for smoothing in back:
            model = temper.Model(LAYERS, input=(64,), seed=seed)
            for name, value in model.parameters().items():
                value[...] = values[name]
            procedure = temper.procedure("sam_unlearning", smoothing=smoothing, rho=0.5, npo_beta=0.1, gamma=1.0)
            trainer = temper.Trainer(
                model,
                optimizer=temper.optimizer("adam", lr=0.001),
                procedure=procedure,
                batch_size=100,
                seed=seed,
                threads=1,
            )
            trainer.fit(x[keep], y[keep], epochs=25, forget_x=x[drop], forget_y=y[drop])
            forgotten.append(accuracy(model, x[test & is_3], y[test & is_3]))
            retained[smoothing].append(accuracy(model, x[test & ~is_3], y[test & ~is_3]))
            again = np.flatnonzero(drop)[:20]
            fit(x[again], y[again], seed, temper.optimizer("sgd", lr=0.03), 4, batch_size=20, model=model)
            back[smoothing].append(accuracy(model, x[test & is_3], y[test & is_3]))
    assert max(forgotten) < 0.02, forgotten
    assert np.mean(back["sam"]) < 1 / 3 < 2 / 3 < np.mean(back["none"]), back
    assert abs(np.mean(retained["sam"]) - np.mean(retained["none"])) < 0.02, retained


def test_a_schedule_by_the_slope_of_accuracy_costs_no_time():
    """Training on attacked digits (FGSM): epochs to 95% of the final robust accuracy are not more than with a rate that
    is small from the beginning, the mean of 3 seeds."""
    needed = {"accuracy_gradient_lr": [], "constant": []}
    for seed in range(3):
        x, y = digits(seed)
        x, y, test_x, test_y = x[:600], y[:600], x[1200:], y[1200:]

        def attacked(model, x, y):
            return np.clip(x + 0.05 * np.sign(model.vjp(x, slopes(model, x, y))["x"]), 0, 1).astype(np.float32)

        for name in needed:
            schedule = temper.schedule(name, lr=0.002) if name != "constant" else temper.schedule(name, lr=0.0004)
            model = temper.Model(LAYERS, input=(64,), seed=seed)
            optimizer, values, curve = temper.optimizer("adam"), list(model.parameters().values()), []
            for epoch in range(20):
                order = np.random.default_rng([seed, epoch]).permutation(len(x))
                for batch in order.reshape(-1, 100):
                    hard = attacked(model, x[batch], y[batch])
                    gradients = model.vjp(hard, slopes(model, hard, y[batch]), wrt=list(model.parameters()))
                    optimizer.step(values, list(gradients.values()), learning_rate=schedule(epoch))
                curve.append(accuracy(model, attacked(model, test_x, test_y), test_y))
                if name != "constant":
                    schedule.observe(accuracy=curve[-1])
            final = max(curve)
            needed[name].append(1 + np.argmax(np.array(curve) >= 0.95 * final))
            assert final > 0.5, (name, curve)
    assert np.mean(needed["accuracy_gradient_lr"]) <= np.mean(needed["constant"]), needed
