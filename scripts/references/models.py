"""models.json.gz: configurations, and the name and shape of every tensor, from which the models can be made."""
import gzip
import json

import torch

import networks
import topologies


def describe(name):
    made = {"unet": networks.unet(name, torch.float32), "vae": networks.vae(name, torch.float32),
            "text_encoder": networks.text(topologies.TEXT, torch.float32)}
    if topologies.xl(name):
        made["text_encoder_2"] = networks.text(topologies.TEXT2, torch.float32)
    return {"scheduler": topologies.MODELS[name][1],
            "parts": {part: {"config": networks.parts(name)[part][0], "tensors": networks.shapes(net)} for part, net in made.items()}}


def write(folder):
    folder.mkdir(parents=True, exist_ok=True)
    pack(folder / "models.json.gz", {name: describe(name) for name in topologies.MODELS})


def pack(path, value):
    path.write_bytes(gzip.compress(json.dumps(value, sort_keys=True).encode(), 9, mtime=0))
