"""diffusers' and transformers' networks with the weights of tensors.py, in float32 or float64."""
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

import tensors
import topologies


def filled(model, dtype):
    model = model.to(dtype).eval()
    with torch.no_grad():
        for name, p in model.state_dict().items():
            if not name.endswith("position_ids"):
                p.copy_(torch.from_numpy(tensors.values(name, tuple(p.shape))))
    return model


def unet(name, dtype):
    return filled(UNet2DConditionModel(**topologies.unet(name)), dtype)


def vae(name, dtype):
    return filled(AutoencoderKL(**topologies.vae(name)), dtype)


def text(config, dtype):
    config = dict(config)
    kind = {"CLIPTextModel": CLIPTextModel, "CLIPTextModelWithProjection": CLIPTextModelWithProjection}[config.pop("architectures")[0]]
    return filled(kind(CLIPTextConfig(**config, attn_implementation="eager")), dtype)


def parts(name):
    """Folder, configuration and class of every network of a model."""
    out = {"unet": (topologies.unet(name), UNet2DConditionModel), "vae": (topologies.vae(name), AutoencoderKL),
           "text_encoder": (topologies.TEXT, None)}
    if topologies.xl(name):
        out["text_encoder_2"] = (topologies.TEXT2, None)
    return out


def shapes(model):
    return {n: list(p.shape) for n, p in sorted(model.state_dict().items()) if not n.endswith("position_ids")}
