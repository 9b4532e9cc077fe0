#!/usr/bin/env python3
"""diffusers on PyTorch, f32 on the CPU: a whole picture, from the prompt to its pixels.
usage: diffusers_picture.py MODEL_FOLDER SIZE STEPS GUIDANCE THREADS"""
import itertools
import sys

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline

import turns

folder, size, steps, guidance, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5])
torch.set_num_threads(threads)
pipe = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32, safety_checker=None, local_files_only=True)
pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
pipe.set_progress_bar_config(disable=True)
numbers = itertools.count()


def picture():
    pipe(f"a red circle on a blue background {next(numbers)}", height=size, width=size, num_inference_steps=steps,
         guidance_scale=guidance, generator=torch.Generator().manual_seed(1))


turns.take(picture)
