#!/usr/bin/env python3
"""Computes what small random models of the published families give, by the reference implementations, for the tests.
usage: generate.py [--out FOLDER] [SET ...]"""
import argparse
import importlib
import pathlib

import diffusers
import torch

SETS = ["models", "forwards", "samplers", "runs", "formats", "steering"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parents[2] / "testdata/references")
    parser.add_argument("sets", nargs="*", metavar="SET", help="of " + ", ".join(SETS))
    options = parser.parse_args()
    diffusers.utils.logging.set_verbosity_error()
    torch.set_num_threads(1)  # the order of sums, and so the last bit, is then the same everywhere
    for name in options.sets or SETS:
        importlib.import_module(name).write(options.out)


main()
