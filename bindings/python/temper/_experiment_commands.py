"""python -m temper experiment: claim, measured, verdict."""

import sys
import textwrap
import time

import temper

_WIDTH = 110


def add(commands):
    experiment = commands.add_parser("experiment", help="measure again what a paper claims")
    experiment.add_argument("name", metavar="NAME", nargs="?", help="without it, all are listed")
    experiment.add_argument("settings", metavar="PARAMETER=VALUE", nargs="*", help="such as seeds=5")
    experiment.set_defaults(run=_run)


def _run(options):
    if options.name is None:
        for record in temper.catalog("experiment"):
            print(f"{record['name']}: {record['summary']}")
        return
    settings = {}
    for setting in options.settings:
        name, equals, value = setting.partition("=")
        if not equals:
            sys.exit(f"Parameters come as NAME=VALUE, such as seeds=5; {setting} came.")
        settings[name] = value
    experiment = temper.experiment(options.name)
    findings = experiment(**settings)
    print(f"{experiment.name}: {experiment.record['summary']}")
    print(f"{experiment.record['reference']['text']}\n", flush=True)
    start, verdicts = time.perf_counter(), []
    for finding in findings:
        verdicts.append(finding.holds)
        _print("claim", finding.claim)
        _print("measured", finding.measured)
        _print("verdict", "holds" if finding.holds else "does not hold")
        print(flush=True)
    held = f"{sum(verdicts)} of {len(verdicts)} claims hold; {time.perf_counter() - start:.1f} seconds"
    reproduces = bool(verdicts) and all(verdicts)
    print(f"{experiment.name} {'reproduces' if reproduces else 'does not reproduce'}: {held}")
    if not reproduces:
        sys.exit(1)


def _print(word, text):
    lines = [line for part in text.splitlines() for line in textwrap.wrap(part, _WIDTH - 10) or [""]]
    for index, line in enumerate(lines):
        print(f"{word if index == 0 else '':10}{line}")
