"""Experiments: claims of papers, measured again on small data. `python -m temper experiment NAME` runs one.

Every module of this folder holds some; a new one is a file with a function under `@experiment`, found by being here:

    @experiment("sky_is_blue", area="diagnose", summary="Looks at the sky.", seeds="How often to look.",
                reference=Reference("Rayleigh", 1871, "On the light from the sky"))
    def sky_is_blue(seeds: int = 3):
        blue = np.mean([look(seed) for seed in range(seeds)])
        yield Finding("The sky is blue in most looks.", f"{100 * blue:.0f}% of {seeds} looks", blue > 0.5)

Its keyword arguments are the parameters of the record, each with a default and a word on what it is. Findings come one
by one, as they are measured; the experiment reproduces when every one of them holds.
"""

from ._experiment import Experiment, Finding, Reference, experiment
from ._registry import find, records

__all__ = ["Experiment", "Finding", "Reference", "experiment", "find", "records"]
