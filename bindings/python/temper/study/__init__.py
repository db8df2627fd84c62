"""Studies: what methods claim, measured again on small data. `python -m temper study --help` lists them.

They use the library as anyone would; nothing else in it uses them.
"""


def add(commands):
    """The command `study`."""
    study = commands.add_parser("study", help="measure what methods claim, on small data")
    studies = study.add_subparsers(required=True, metavar="STUDY")
    losses = studies.add_parser("losses", help="with wrong labels, and with a long tail, on digits")
    losses.add_argument("--seeds", type=int, default=5, choices=range(2, 11), metavar="N", help="2 to 10 runs each (5)")
    losses.add_argument("--epochs", type=int, default=200, help="of each run (200)")
    losses.add_argument("--quick", action="store_true", help="2 seeds, 10 epochs: a try, no result")
    losses.add_argument("--only", action="append", metavar="LOSS", help="this one beside cross_entropy; may come again")
    losses.add_argument("--data", metavar="PATH", help="another digits.bin")
    noisy = studies.add_parser(
        "noisy-labels", help="training methods on wrong labels and numbers, on small sets"
    )
    noisy.add_argument("--seeds", type=int, default=5, choices=range(2, 11), metavar="N", help="2 to 10 runs each (5)")
    noisy.add_argument("--epochs", type=int, default=100, help="of each run (100)")
    tails = studies.add_parser("imbalance", help="methods for long tails, on two or three small sets")
    for parser in (noisy, tails):
        parser.add_argument("--quick", action="store_true", help="digits, 2 seeds, 10 epochs: a try, no result")
        parser.add_argument(
            "--methods", "--only", dest="only", action="append", metavar="NAMES",
            help="these beside plain training, with commas between; may come again",
        )  # fmt: skip
        parser.add_argument("--sets", action="append", metavar="SETS", help="these data sets alone; may come again")
        parser.add_argument("--jobs", type=int, help="processes that share the work (one for each processor)")
    tails.add_argument("--seeds", type=int, default=5, choices=range(2, 11), metavar="N", help="2 to 10 runs each (5)")
    tails.add_argument("--epochs", type=int, default=100, help="of each run (100)")
    quantization = studies.add_parser("quantization", help="every quantizer at 8 to 1 bits, on three small networks")
    quantization.add_argument("--seeds", type=int, default=3, choices=range(1, 11), metavar="N", help="runs each (3)")
    quantization.add_argument("--epochs", type=int, default=60, help="of training on digits (60)")
    quantization.add_argument("--steps", type=int, default=250, help="of training on letters (250)")
    quantization.add_argument("--jobs", type=int, help="processes that share the work (one for each processor)")
    quantization.add_argument("--quick", action="store_true", help="1 seed, hardly trained: a try, no result")
    quantization.add_argument("--only", action="append", metavar="QUANTIZER", help="this one alone; may come again")
    for parser, run in ((losses, _losses), (noisy, _noisy_labels), (tails, _imbalance), (quantization, _quantization)):
        parser.add_argument("--output", metavar="FOLDER", default="study", help="where CSV and picture go (study)")
        parser.set_defaults(run=run)


def _losses(options):
    from . import losses

    losses.run(options)


def _noisy_labels(options):
    from . import noisy_labels

    noisy_labels.run(options)


def _imbalance(options):
    from . import imbalance

    imbalance.run(options)


def _quantization(options):
    from . import quantization

    quantization.run(options)
