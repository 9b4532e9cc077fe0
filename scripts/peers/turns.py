"""What every peer program shares: load once, warm up, then one timed run for each line on standard input.

Standard output carries one line of JSON a run and nothing else; whatever a library prints there goes to standard error.
"""
import json
import os
import sys
import time


def take(run):
    """run() does the work once and returns None, or its own (CPU seconds, wall seconds) where only a part of it counts."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def timed():
        cpu, wall = time.process_time(), time.perf_counter()
        own = run()
        cpu, wall = own or (time.process_time() - cpu, time.perf_counter() - wall)
        print(json.dumps({"cpu": cpu, "wall": wall}), file=answers)

    timed()  # to warm up
    for _ in sys.stdin:
        timed()
