"""Timing in pairs: ours and the other's turn and turn about, so that a drifting machine does not decide."""
import statistics
import time


def once(action, repeats):
    start = time.perf_counter()
    for _ in range(repeats):
        action()
    return (time.perf_counter() - start) / repeats


# OpenMP's threads, PyTorch's that is, keep their processors for some 10 ms after their last job.
REST = 0.012


def turn(action, repeats):
    time.sleep(REST)
    if repeats > 1:
        action()  # calls one after the other are timed: the first one wakes threads and fills caches for them
    return once(action, repeats)


def turns(*actions, seconds=1.0, rounds=9):
    """Seconds of each action in each round, in which every one has its turn."""
    for action in actions:
        action()  # memory is touched, plans are made
    share = seconds / rounds / len(actions)
    repeats = [max(1, int(share / max(turn(action, 1), 1e-7))) for action in actions]
    return [[turn(action, count) for action, count in zip(actions, repeats)] for _ in range(rounds)]


def pair(ours, other, seconds=1.0, rounds=9):
    """Median seconds of each, and the median of the ratios other / ours, round by round."""
    times = turns(ours, other, seconds=seconds, rounds=rounds)
    return (statistics.median(t for t, _ in times), statistics.median(t for _, t in times),
            statistics.median(b / a for a, b in times))


def human(seconds):
    for unit, scale in (("s", 1), ("ms", 1e3), ("us", 1e6)):
        if seconds * scale >= 1:
            return f"{seconds * scale:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def report(name, ours, other, aim, limit=""):
    """Prints a row: `aim` is the ratio we want at least, `limit` says how far the machine itself is away."""
    a, b, ratio = pair(ours, other)
    verdict = "" if aim is None else ("reached" if ratio >= aim else "MISSED")
    shown = limit(a) if callable(limit) else limit
    print(f"{name:52} {human(a):>9} {human(b):>9} {ratio:7.2f}x  aim {aim or '-':>4}  {verdict:8} {shown}", flush=True)
    return ratio
