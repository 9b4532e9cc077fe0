#!/usr/bin/env python3
"""diffusers' UNet of Stable Diffusion 1.5 on PyTorch, f32 on the CPU: one guided step, both halves as a batch of 2.
usage: torch_step.py LATENT THREADS"""
import sys

import torch
from diffusers import UNet2DConditionModel

import sd15
import turns

side, threads = int(sys.argv[1]), int(sys.argv[2])
torch.set_num_threads(threads)
torch.manual_seed(1)
unet = UNet2DConditionModel(**sd15.UNET).eval()  # random weights: time does not depend on their values
latent, text = torch.randn(2, 4, side, side), torch.randn(2, 77, 768)


@torch.inference_mode()
def step():
    unet(latent, 500, encoder_hidden_states=text)


turns.take(step)
