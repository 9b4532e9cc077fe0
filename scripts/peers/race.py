#!/usr/bin/env python3
"""Lets Waggle and other programs do the same work in turn, round after round, and prints one table in Markdown.

All of a race's programs are loaded and warm before its first round and wait while another works, so that whatever else
the machine does falls on all of them alike. A program that cannot be started is named below the table.
Standard library only."""
import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
TINY = dict(size=128, steps=20, guidance=5)
SD15 = dict(size=256, steps=2)  # one warm step a run: the first prepares the others


@dataclass
class Runner:
    """A program that warms up and then does one run for every line it is sent, answering with a line of JSON."""
    name: str
    command: list
    threads: int
    read: callable = lambda answer: (answer["cpu"], answer["wall"])
    runs: list = field(default_factory=list)  # (CPU, wall) in seconds
    adapter: str = ""

    def start(self):
        cores = sorted(os.sched_getaffinity(0))[:self.threads]
        n = str(self.threads)
        # OpenMP's threads otherwise spin while one of them waits for a processor: on a busy machine that alone makes
        # PyTorch's two threads use fifteen times the CPU seconds.
        env = dict(os.environ, OMP_NUM_THREADS=n, MKL_NUM_THREADS=n, OMP_WAIT_POLICY="PASSIVE",
                   CUDA_VISIBLE_DEVICES="", HF_HUB_OFFLINE="1", WAGGLE_GPU="llvmpipe", PYTHONDONTWRITEBYTECODE="1")
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True,
                                        env=env, cwd=ROOT, preexec_fn=lambda: os.sched_setaffinity(0, cores))
        self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.log.seek(0)
            raise RuntimeError(self.log.read()[-2000:].strip() or f"exit status {self.process.returncode}")
        answer = json.loads(line)
        self.adapter = answer.get("adapter", "")
        return answer

    def turn(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.runs.append(self.read(self.answer()))

    def stop(self):
        if process := getattr(self, "process", None):
            process.stdin.close()
            process.stdout.close()
            process.terminate()
            process.wait()

    def cpu(self):
        return statistics.median(c for c, _ in self.runs)


def race(what, runners, rounds):
    """Runs every runner once a round; returns those that finished, Waggle first, and why others did not."""
    ready, missing = [], []

    def attempt(r, act):
        try:
            act()
            return True
        except (RuntimeError, OSError) as e:
            if r is runners[0]:
                raise SystemExit(f"waggle bench failed: {e}")
            missing.append(f"{r.name} failed: {str(e).splitlines()[-1]}")
            return False

    try:
        for r in runners:
            say(f"{what}: starting {r.name}, threads: {r.threads}")
            if attempt(r, r.start):
                ready.append(r)
        for i in range(rounds):
            ready = [r for r in ready if attempt(r, r.turn)]
            say(f"{what}: round {i + 1} of {rounds}, CPU s: " + "; ".join(f"{r.name} {r.runs[-1][0]:.3f}" for r in ready))
    finally:
        for r in runners:
            r.stop()
    return ready, missing


def say(text):
    print(text, file=sys.stderr, flush=True)


def tiny(a, threads):
    s = TINY
    whole = lambda r: (r["cpu_s_per_picture"], r["s_per_picture"])
    yield Runner("Waggle", [a.waggle, "bench", "--paced", "--size", f"{s['size']}x{s['size']}", "--steps", str(s["steps"])], threads, whole)
    yield Runner("diffusers on PyTorch, f32", [a.torch, f"{HERE}/diffusers_picture.py", f"{ROOT}/internal/builtin/tiny-shapes",
                 str(s["size"]), str(s["steps"]), str(s["guidance"]), str(threads)], threads)


def sd15(a, threads):
    size, steps = SD15["size"], SD15["steps"]
    step = lambda r: (r["cpu_ms_per_step"] / 1e3, r["ms_per_step"] / 1e3)
    yield Runner("Waggle", [a.waggle, "bench", "--paced", "--model", "random:sd15", "--size", f"{size}x{size}", "--steps", str(steps)], threads, step)
    if a.sdcpp:
        yield Runner("stable-diffusion.cpp, CPU, f16 weights", [a.sdcpp, f"{HERE}/sdcpp_step.py", a.checkpoint, str(size), str(steps), str(threads)], threads)
    yield Runner("diffusers' UNet on PyTorch, f32", [a.torch, f"{HERE}/torch_step.py", str(size // 8), str(threads)], threads)


def table(what, ready):
    """A row for each program. The ratio is the median over rounds, each round against Waggle in the same round."""
    first = ready[0]
    for r in ready:
        cpu = [c for c, _ in r.runs]
        wall = statistics.median(w for _, w in r.runs)
        ratio = statistics.median(w[0] / c for w, c in zip(first.runs, cpu))
        yield (f"| {what} | {r.threads} | {r.name} | {r.cpu():.3f} ({min(cpu):.3f}–{max(cpu):.3f}) | {wall:.3f} | "
               + ("1 |" if r is first else f"{ratio:.2f} |"))


def processor():
    try:
        with open("/proc/cpuinfo") as f:
            lines = dict(line.split(":", 1) for line in f if ":" in line)
    except OSError:
        return platform.processor()
    facts = {k.strip(): v.strip() for k, v in lines.items()}
    wide = "AVX-512" if "avx512f" in facts.get("flags", "") else "no AVX-512"
    return f"{facts.get('model name', platform.machine())} (family {facts.get('cpu family', '?')}), {os.cpu_count()} processors, {wide}"


def versions(python, *packages):
    if not python:
        return []
    code = "import sys, importlib.metadata as m\nfor p in sys.argv[1:]: print(p, m.version(p))"
    return subprocess.run([python, "-c", code, *packages], text=True, capture_output=True).stdout.split("\n")[:-1]


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--waggle", required=True)
    p.add_argument("--torch", required=True, help="Python with diffusers")
    p.add_argument("--sdcpp", default="", help="Python with cyllama")
    p.add_argument("--checkpoint", default="", help="random Stable Diffusion 1.5 for it")
    p.add_argument("--rounds", type=int, default=9)
    p.add_argument("--only", choices=["tiny", "sd15"])
    a = p.parse_args()
    small, large = "tiny-shapes 128×128, 20 steps, a picture", "SD 1.5 shapes 256×256, a guided step"
    races = [(small, tiny, 1), (small, tiny, 2), (large, sd15, 1)]
    rows, notes, adapter = [], [], ""
    for what, make, threads in races:
        if a.only not in (None, make.__name__):
            continue
        if threads > len(os.sched_getaffinity(0)):
            notes.append(f"{what} with {threads} threads was left out: only {len(os.sched_getaffinity(0))} processor(s) may be used")
            continue
        ready, missing = race(what, list(make(a, threads)), a.rounds)
        adapter = ready[0].adapter
        rows += table(what, ready)
        notes += missing
    if not a.sdcpp and a.only != "tiny":
        notes.append("stable-diffusion.cpp was left out: cyllama needs Python 3.12 or newer (PEERS_PYTHON312 names one)")
    load = os.getloadavg()[1]
    peers = ", ".join(versions(a.torch, "torch", "diffusers", "transformers") + versions(a.sdcpp, "cyllama"))
    print(f"{datetime.date.today()}, `make bench-peers`, {a.rounds} rounds. {processor()}. Vulkan: {adapter}. {peers}.\n"
          f"Load average of the last 5 minutes: {load:.1f}; CPU seconds are user and system of the whole process, warm, without loading.\n")
    print("| work | threads | program | CPU s, median (min–max) | wall s | Waggle's CPU s / its |\n|--|--|--|--|--|--|")
    print("\n".join(rows))
    for note in notes:
        print(f"\n{note}.")


main()
