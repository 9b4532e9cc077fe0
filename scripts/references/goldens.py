"""Cases in files: inputs and outputs as safetensors, tolerances in an index."""
import json

import numpy as np
import torch
from safetensors.numpy import save_file


def tolerance(single, double):
    """What an implementation in float32 may differ by: 25 times what the order of sums makes, or 2e-5 of the greatest value."""
    single, double = np.asarray(single, np.float64), np.asarray(double, np.float64)
    return float(f"{max(25 * np.abs(single - double).max(), 2e-5 * np.abs(single).max()):.3g}")


def both(compute):
    """Runs compute(dtype) -> {name: tensor} in float32 and float64."""
    with torch.no_grad():
        return compute(torch.float32), compute(torch.float64)


class Cases:
    """What is known of a set of cases, written as FOLDER/index.json and FOLDER/CASE.safetensors, or all in one file."""

    def __init__(self, folder, about, together=None):
        self.folder, self.index, self.together, self.data = folder, {"about": about, "cases": {}}, together, {}
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, name, inputs, outputs, **facts):
        single, double = outputs
        data = {f"in.{k}": np.ascontiguousarray(v) for k, v in inputs.items()}
        atol = {}
        for k, v in single.items():
            data[f"out.{k}"] = np.ascontiguousarray(v.numpy())
            atol[f"out.{k}"] = {"atol": tolerance(v, double[k])}
        self.index["cases"][name] = facts | {"tensors": atol}
        if self.together:
            self.data |= {f"{name}.{k}": v for k, v in data.items()}
        else:
            self.index["cases"][name]["file"] = f"{name}.safetensors"
            self.save(f"{name}.safetensors", data)
        print(name, {k: v["atol"] for k, v in atol.items()}, flush=True)

    def save(self, name, data):
        save_file(data, self.folder / name)
        (self.folder / name).chmod(0o644)

    def close(self):
        if self.together:
            self.save(self.together, self.data)
        (self.folder / "index.json").write_text(json.dumps(self.index, indent=1) + "\n")
