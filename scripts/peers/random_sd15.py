#!/usr/bin/env python3
"""A checkpoint of the shape of Stable Diffusion 1.5 with random weights: one .safetensors file with the original names, f16,
2.1 GB. For measurements only.
usage: random_sd15.py OUT.safetensors"""
import os
import re
import sys

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel

import sd15


def filled(model, seed):
    """Weights that keep activations finite in f16: normal, narrower the more inputs a unit has; norms stay 1 and 0."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.ndim >= 2:
                table = "embedding" in name and "time" not in name
                p.normal_(0, 0.02 if table else 0.7 / p[0].numel() ** 0.5, generator=random)
            elif "norm" not in name:
                p.normal_(0, 0.01, generator=random)
    return model.half().state_dict()


def unet_blocks():
    """diffusers' block names and the original ones."""
    names = {"time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
             "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
             "mid_block.resnets.0": "middle_block.0", "mid_block.attentions.0": "middle_block.1",
             "mid_block.resnets.1": "middle_block.2"}
    for level in range(4):
        for i in range(2):
            names[f"down_blocks.{level}.resnets.{i}"] = f"input_blocks.{3 * level + i + 1}.0"
            names[f"down_blocks.{level}.attentions.{i}"] = f"input_blocks.{3 * level + i + 1}.1"
        for i in range(3):
            names[f"up_blocks.{level}.resnets.{i}"] = f"output_blocks.{3 * level + i}.0"
            names[f"up_blocks.{level}.attentions.{i}"] = f"output_blocks.{3 * level + i}.1"
        names[f"down_blocks.{level}.downsamplers.0.conv"] = f"input_blocks.{3 * level + 3}.0.op"
        names[f"up_blocks.{level}.upsamplers.0"] = f"output_blocks.{3 * level + 2}.{2 if level else 1}"
    return names


RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
          "conv2": "out_layers.3", "conv_shortcut": "skip_connection"}
VAE_RULES = [(r"conv_shortcut", "nin_shortcut"), (r"conv_norm_out", "norm_out"), (r"mid_block\.attentions\.0\.", "mid.attn_1."),
             (r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}"),
             (r"down_blocks\.(\d)\.resnets\.(\d)", r"down.\1.block.\2"), (r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample"),
             (r"up_blocks\.(\d)\.resnets\.(\d)", lambda m: f"up.{3 - int(m[1])}.block.{m[2]}"),
             (r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{3 - int(m[1])}.upsample"),
             (r"attn_1\.group_norm", "attn_1.norm"), (r"attn_1\.to_([qkv])", r"attn_1.\1"), (r"attn_1\.to_out\.0", "attn_1.proj_out")]


def unet(tensors):
    names = unet_blocks()
    for key, t in tensors.items():
        block = next(b for b in names if key.startswith(b + "."))
        part, _, kind = key[len(block) + 1:].partition(".")
        if ".resnets." in key:
            part = RESNET[part]
        yield ".".join(filter(None, ("model.diffusion_model", names[block], part, kind))), t


def vae(tensors):
    for key, t in tensors.items():
        for pattern, new in VAE_RULES:
            key = re.sub(pattern, new, key)
        if "attn_1" in key and t.ndim == 2:
            t = t[:, :, None, None]  # kept as a 1×1 convolution
        yield "first_stage_model." + key, t


def text(tensors):
    for key, t in tensors.items():
        if "position_ids" not in key:
            yield "cond_stage_model.transformer.text_model." + key.removeprefix("text_model."), t


checkpoint = dict(unet(filled(UNet2DConditionModel(**sd15.UNET), 1)))
checkpoint |= vae(filled(AutoencoderKL(**sd15.VAE), 2))
checkpoint |= text(filled(CLIPTextModel(CLIPTextConfig(**sd15.TEXT)), 3))
aside = sys.argv[1] + ".part"
save_file({name: t.contiguous() for name, t in checkpoint.items()}, aside)
os.rename(aside, sys.argv[1])
