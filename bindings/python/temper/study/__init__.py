"""Studies: what methods claim, measured again on small data. `python -m temper study --help` lists them.

They use the library as anyone would; nothing else in it uses them.
"""


def add(commands):
    """The command `study`."""
    study = commands.add_parser("study", help="measure what methods claim, on digits")
    study.add_argument("study", choices=["losses"], help="losses: with wrong labels, and with a long tail")
    study.add_argument("--seeds", type=int, default=5, choices=range(2, 11), metavar="N", help="2 to 10 runs each (5)")
    study.add_argument("--epochs", type=int, default=200, help="of each run (200)")
    study.add_argument("--quick", action="store_true", help="2 seeds, 10 epochs: a try, no result")
    study.add_argument("--only", action="append", metavar="LOSS", help="this one beside cross_entropy; may come again")
    study.add_argument("--data", metavar="PATH", help="another digits.bin")
    study.add_argument("--output", metavar="FOLDER", default="study", help="where CSV and picture go (study)")
    study.set_defaults(run=_run)


def _run(options):
    from . import losses

    losses.run(options)
