"""Stages that can be killed at any moment and go on: finished ones are kept, the running one is saved now and then."""

import math
import os
import random
import resource
import time

import torch


class Run:
    """One training: the folder it works in, its seed, and a log that is plain lines."""

    def __init__(self, out, seed, save_seconds=120):
        self.out, self.seed, self.save_seconds = out, seed, save_seconds
        self.start = time.monotonic()
        out.mkdir(parents=True, exist_ok=True)

    def log(self, text):
        """A line with the minutes on the clock and the CPU minutes used by this process."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        wall, cpu = (time.monotonic() - self.start) / 60, (used.ru_utime + used.ru_stime) / 60
        line = f"{wall:6.1f} min, cpu {cpu:6.1f} | {text}"
        print(line, flush=True)
        with open(self.out / "train.log", "a") as f:
            f.write(line + "\n")

    def path(self, stage):
        return self.out / "stages" / f"{stage}.pt"

    def done(self, stage):
        return self.path(stage).exists()

    def load(self, stage):
        return torch.load(self.path(stage), weights_only=False)

    def finish(self, stage, value):
        """Keeps what the stage made, and forgets how far it had come."""
        save(self.path(stage), value)
        self._partial(stage).unlink(missing_ok=True)

    def seeded(self, stage):
        """Random numbers of this stage alone: the same whatever ran before it."""
        rng = random.Random(f"{self.seed} {stage}")
        torch.manual_seed(rng.getrandbits(63))
        return rng

    def steps(self, stage, total, rng, **parts):
        """Step numbers up to total, from where an earlier run stopped. Parts (modules, optimizers) and both random
        generators are saved about every two minutes."""
        first = self._restore(stage, rng, parts)
        saved = time.monotonic()
        for step in range(first, total):
            yield step
            if time.monotonic() - saved > self.save_seconds:
                state = {name: part.state_dict() for name, part in parts.items()}
                save(self._partial(stage), (step + 1, rng.getstate(), torch.get_rng_state(), state))
                saved = time.monotonic()

    def _restore(self, stage, rng, parts):
        if not self._partial(stage).exists():
            return 0
        step, python_rng, torch_rng, state = torch.load(self._partial(stage), weights_only=False)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        rng.setstate(python_rng)
        torch.set_rng_state(torch_rng)
        self.log(f"{stage}: going on from step {step}")
        return step

    def _partial(self, stage):
        return self.path(stage).with_suffix(".partial.pt")


def save(path, value):
    """Whole or not at all, whenever the process dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".tmp")
    torch.save(value, aside)
    os.replace(aside, path)


def set_rate(optimizer, step, total, peak, warmup, floor):
    """Learning rate: linear up over the warm-up steps, times a cosine from 1 down to floor."""
    cosine = 0.5 * (1 + math.cos(math.pi * step / total))
    rate = peak * min(1, (step + 1) / warmup) * (floor + (1 - floor) * cosine)
    for group in optimizer.param_groups:
        group["lr"] = rate


class Average:
    """A running mean of numbers by name, for the log."""

    def __init__(self, keep=0.97):
        self.keep, self.values = keep, {}

    def add(self, **values):
        for name, value in values.items():
            value = float(value.detach() if isinstance(value, torch.Tensor) else value)
            self.values[name] = self.keep * self.values.get(name, value) + (1 - self.keep) * value

    def __str__(self):
        return "  ".join(f"{name} {value:.4f}" for name, value in self.values.items())
