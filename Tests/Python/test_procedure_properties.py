"""What the pages say exactly of procedures, beside the steps that test_procedures.py follows."""

import numpy as np

import procedures as reference
import temper
from procedures import RATE, make, one_hot, slopes, softmax

X, Y, TRUTH = reference.data()


def parameters(trainer, network=0):
    return {name: np.array(value) for name, value in trainer.networks[network].parameters().items()}


def fitted(procedure, y=Y, epochs=4, **inputs):
    options = {"loss": inputs.pop("loss")} if "loss" in inputs else {}
    trainer = make(procedure, **options)
    trainer.fit(inputs.pop("x", X), y, epochs=epochs, **inputs)
    return parameters(trainer)


def same(a, b, tolerance=1e-12):
    for name in a:
        np.testing.assert_allclose(a[name], b[name], atol=tolerance)


def test_candidates_that_say_nothing_or_all():
    """alim: sets of one label are plain training; of sets of all labels the belief is what the model says: no step."""
    same(fitted(temper.procedure("alim", lam=0), one_hot(Y)), fitted(None))
    everything = np.ones((len(X), 3))
    same(fitted(temper.procedure("alim", e0=0, lam=0.4), everything), parameters(make(None)))


def test_the_switch_of_a_candidate():
    """alim: S = (1, 0, 0) and P = (.2, .7, .1) keep the candidate up to lam = .2 / .7, and then believe the other."""
    p = np.array([0.2, 0.7, 0.1])
    for lam, believed in ((0.2 / 0.7 - 1e-6, 0), (0.2 / 0.7 + 1e-6, 1)):
        trainer = make(temper.procedure("alim", e0=0, lam=lam, norm="onehot"), layers=[{"dense": 3}])
        values = trainer.model.parameters()
        values["0.weight"][...] = 0
        values["0.bias"][...] = np.log(p)
        trainer.fit(np.ones((1, 4)), np.array([[1.0, 0, 0]]), epochs=1)
        np.testing.assert_allclose(values["0.bias"], np.log(p) - RATE * (p - np.eye(3)[believed]), atol=1e-12)


def test_nothing_is_dropped_where_all_may_stay():
    """late_stopping: with keep_rate = 1 a round ends when every label is learned, and none is left out."""
    short = {"keep_rate": 1.0, "rounds_each": 1, "largest_k": 1, "warmup_epochs": 1, "max_epochs": 100}
    x, y, _ = reference.data(30, seed=1)
    easy = x + 6 * np.eye(4)[y]
    trainer = make(temper.procedure("late_stopping", **short))
    plain = make(None)
    for network in (trainer, plain):
        network.fit(easy, y, epochs=20)
    kept = trainer.state
    rounds = next(int(np.ravel(value)[0]) for name, value in kept.items() if "round" in name)
    members = next(value for name, value in kept.items() if "kept" in name)
    assert rounds >= 1 and members.all()
    # After the round all begins anew: fewer epochs than plain training has had.
    assert any(np.abs(a - b).max() > 1e-6 for a, b in zip(parameters(trainer).values(), parameters(plain).values()))


def test_the_trunk_learns_from_the_privileged_head_alone():
    """tram_privileged: another classifier on the trunk changes nothing of how the trunk learns."""
    given = np.stack([np.arange(len(X)) % 2, Y != TRUTH], axis=1).astype(float)
    trunks = []
    for scale in (1, -7):
        trainer = make(temper.procedure("tram_privileged", random_pi_dim=2, pi_head_width=5, pi_lr=0.01))
        trainer.model.parameters()["2.weight"][...] *= scale
        before = parameters(trainer)
        trainer.fit(X, Y, epochs=3, privileged=given)
        trunks.append(parameters(trainer))
        assert np.abs(before["2.weight"] - trunks[-1]["2.weight"]).max() > 1e-3
    for name in ("0.weight", "0.bias"):
        np.testing.assert_array_equal(trunks[0][name], trunks[1][name])
    assert np.abs(before["0.weight"] - trunks[1]["0.weight"]).max() > 1e-3


def test_one_encoder_is_logit_adjustment():
    """multi_encoder_backdoor_adjustment: M = 1 is the loss logit_adjusted; with tau = 0, or classes alike, plain."""
    one = {"M": 1}
    counts = np.bincount(Y)
    adjusted = fitted(None, loss=temper.loss("logit_adjusted", tau=0.8), class_priors=counts / counts.sum())
    same(fitted(temper.procedure("multi_encoder_backdoor_adjustment", tau=0.8, **one)), adjusted, 1e-9)  # 1e-9 is added to shares
    same(fitted(temper.procedure("multi_encoder_backdoor_adjustment", tau=0, **one)), fitted(None))
    assert len(set(np.bincount(TRUTH))) == 1
    same(fitted(temper.procedure("multi_encoder_backdoor_adjustment", **one), TRUTH), fitted(None, TRUTH))


def test_guesses_without_weight_are_no_guesses():
    """imbalanced_semi_self: w = 0 is plain training on what is labelled, begun anew after the base."""
    labels = np.where(np.arange(len(X)) % 3 == 1, -100, Y)
    rest = fitted(None, Y[labels >= 0], 4, x=X[labels >= 0])
    same(fitted(temper.procedure("imbalanced_semi_self", w=0, base_epochs=3), labels, 7), rest)
    same(fitted(temper.procedure("imbalanced_semi_self", w=5, base_epochs=10), labels, 4), rest)


def test_the_slope_of_a_step_by_its_labels():
    """enhanced_meta_label_correction: the trusted loss after a step has by its soft labels q the slope rate / n times the
    derivative of log softmax along the trusted gradient, which test_procedures.py follows: here by differences."""
    student = reference.Network(make(None).model)
    trusted, truth, q, count = X[:9] + 0.1, TRUTH[:9], softmax(np.cos(np.arange(len(X) * 3.0)).reshape(-1, 3)), len(X)

    def after(q):
        moved = student.moved(student.gradients(X, slopes(student.logits(X), q)))
        return reference.cross_entropy(moved.logits(trusted), truth).mean(), moved

    tried = after(q)[1]
    w1, b1, w2, b2 = tried.gradients(trusted, slopes(tried.logits(trusted), truth))
    hidden = student.hidden(X)
    along = hidden @ w2.T + b2 + ((1 - hidden**2) * (X @ w1.T + b1)) @ student.values[2].T
    slope = RATE / count * (along - (softmax(student.logits(X)) * along).sum(1, keepdims=True))
    for place in ((0, 0), (5, 1), (17, 2)):
        # Along a change that keeps the sum: what the gradient of cross-entropy by logits assumes.
        change = np.zeros_like(q)
        change[place] = 1e-5
        change[place[0], (place[1] + 1) % 3] = -1e-5
        difference = (after(q + change)[0] - after(q - change)[0]) / 2e-5
        assert abs(difference - (slope[place] - slope[place[0], (place[1] + 1) % 3])) < 1e-9
