"""The catalogue, plug-ins, quantized files, experiments and studies, on the command line."""

import argparse
import json
import os
import sys

import temper

from . import _experiment_commands, _plugin_commands, _quantize_commands, study


def _catalog(options):
    records = temper.catalog(options.kind, options.area)
    if options.json:
        print(json.dumps(records, indent=1))
        return
    width = max((len(record["name"]) for record in records), default=0)
    for record in records:
        print(f"{record['name']:{width}}  {record['kind']:10}  {record['area']:14}  {record['summary']}")


def _describe(options):
    print(temper.describe(options.name), end="")


def _version(options):
    print(temper.__version__)


def _parser():
    parser = argparse.ArgumentParser(prog="python -m temper", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    catalog = commands.add_parser("catalog", help="list all methods")
    catalog.add_argument("--json", action="store_true", help="the whole records, for programs")
    catalog.add_argument("--kind", help="only this kind: loss, op, activation, optimizer, ...")
    catalog.add_argument("--area", help="only this area: noisy-labels, softmax, ...")
    catalog.set_defaults(run=_catalog)
    describe = commands.add_parser("describe", help="say what a method is")
    describe.add_argument("name", metavar="NAME")
    describe.set_defaults(run=_describe)
    _plugin_commands.add(commands)
    study.add(commands)
    _experiment_commands.add(commands)
    _quantize_commands.add(commands)
    version = commands.add_parser("version", help="print the version of the library")
    version.set_defaults(run=_version)
    return parser


def main():
    options = _parser().parse_args()
    try:
        options.run(options)
        sys.stdout.flush()
    except temper.Error as error:
        sys.exit(str(error))
    except BrokenPipeError:  # whoever reads has seen enough; nothing more is flushed at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
