"""Writes brownian.json for brownian_test.go: noise of a torchsde.BrownianTree, as k-diffusion's BrownianTreeNoiseSampler
takes it from one: from the higher sigma to the lower, over the root of their distance.

Needs torch and torchsde 0.2.6. Run in this folder: python brownian.py
"""
import json
import torch
import torchsde

RUNS = [
    (0, [14.6146421, 9.72, 6.31, 3.0, 1.0, 0.2, 0.0291675]),
    (1234567890123, [10.0, 5.05, 2.5, 0.1]),
    (2**64 - 1, [80.0, 79.99999, 40.015, 0.5, 0.03]),
]


def cases():
    for seed, levels in RUNS:
        sigma = torch.tensor(levels)
        tree = torchsde.BrownianTree(sigma[-1], torch.zeros(4, 2, 3), sigma[0], entropy=seed)
        steps = [(i, i + 1) for i in range(len(levels) - 1)]
        for i, j in steps + [(0, len(levels) - 1), (0, 2)]:
            noise = -tree(sigma[j], sigma[i]) / (sigma[i] - sigma[j]).sqrt()
            yield {"seed": str(seed), "low": sigma[-1].item(), "high": sigma[0].item(),
                   "from": sigma[i].item(), "to": sigma[j].item(), "noise": [round(v, 7) for v in noise.flatten().tolist()]}


with open("brownian.json", "w") as f:
    f.write("[\n" + ",\n".join(json.dumps(c) for c in cases()) + "\n]\n")
