#!/usr/bin/env python3
"""stable-diffusion.cpp's CPU build (Python package cyllama): one guided step, which it makes as two passes.

A run is a picture of a few steps; what counts is the mean step after the first.
usage: sdcpp_step.py CHECKPOINT SIZE STEPS THREADS"""
import sys
import time

from cyllama.sd import SampleMethod, SDContext, SDContextParams, set_progress_callback

import turns

checkpoint, size, steps, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
params = SDContextParams(model_path=checkpoint)
params.n_threads = threads
context = SDContext(params)
ends = {}  # (CPU, wall) by step; loading reports progress too, with far greater totals


def progress(step, total, _):
    if total == steps:
        ends[step] = time.process_time(), time.perf_counter()


set_progress_callback(progress)


def picture():
    ends.clear()
    context.generate("a red circle on a blue background", width=size, height=size, seed=1, sample_steps=steps,
                     cfg_scale=7.5, sample_method=SampleMethod.EULER)
    return tuple((last - first) / (steps - 1) for first, last in zip(ends[1], ends[steps]))


turns.take(picture)
