"""Makes the checkpoints of this folder, as the programs that people use write them. Needs torch and numpy.

Every file has the same numbers where its form can hold them: weight = 0..5 as [2, 3], bias = -1, 0.5.
"""
import sys
import types
from collections import Counter, OrderedDict, defaultdict

import numpy
import torch

WEIGHT = torch.arange(6, dtype=torch.float32).reshape(2, 3)
BIAS = torch.tensor([-1, 0.5])


def save(name, value, **how):
    torch.save(value, name, **how)


def tensors(dtype=torch.float32):
    return {"weight": WEIGHT.to(dtype), "bias": BIAS.to(dtype)}


for protocol in (2, 3, 4, 5):
    save(f"protocol{protocol}.pt", tensors(), pickle_protocol=protocol)
    save(f"protocol{protocol}-legacy.pt", tensors(), pickle_protocol=protocol, _use_new_zipfile_serialization=False)
for dtype in ("float64", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"):
    save(f"{dtype}.pt", tensors(getattr(torch, dtype)))

# What nn.Module.state_dict gives: an OrderedDict with an attribute, parameters under it.
linear = torch.nn.Linear(3, 2)
linear.weight.data, linear.bias.data = WEIGHT.clone(), BIAS.clone()
save("module.pt", linear.state_dict())
save("parameters.pt", OrderedDict(linear.named_parameters()))

# Convolutions trained with channels last keep that order in the file.
picture = torch.arange(2 * 3 * 4 * 5, dtype=torch.float32).reshape(2, 3, 4, 5)
save("channels-last.pt", {"x": picture.to(memory_format=torch.channels_last)})
save("expanded.pt", {"x": torch.tensor([7.0]).expand(1000)})

# A training checkpoint as pytorch-lightning 1 wrote it: a class as a key, numpy scalars, the optimizer's state.
names = "pytorch_lightning pytorch_lightning.callbacks pytorch_lightning.callbacks.model_checkpoint".split()
for name in names:
    sys.modules[name] = types.ModuleType(name)
ModelCheckpoint = type("ModelCheckpoint", (), {"__module__": names[-1]})
sys.modules[names[-1]].ModelCheckpoint = ModelCheckpoint
save("lightning.ckpt", {
    "epoch": 1, "global_step": 470000, "pytorch-lightning_version": "1.4.2", "state_dict": tensors(),
    "callbacks": {ModelCheckpoint: {"best_model_score": numpy.float64(1.5), "dirpath": "/x", "tags": {"a"}}},
    "optimizer_states": [{"state": {0: {"step": 3, "exp_avg": WEIGHT}}, "param_groups": [{"lr": 1e-4, "params": [0]}]}],
    "lr_schedulers": [{"milestones": Counter([5, 7]), "more": defaultdict(dict)}],
})

# Textual inversion as its first program wrote it.
save("parameter-dict.pt", {"string_to_token": {"*": torch.tensor(265)},
                           "string_to_param": torch.nn.ParameterDict({"*": torch.nn.Parameter(WEIGHT)})})
save("hypernetwork.pt", {768: [tensors(), tensors()], "name": "net"})
save("whole-module.pt", linear)  # a program, not weights: to be refused
