"""Writes the trained networks as a diffusers folder of float16 safetensors, named as Stable Diffusion 1 names them."""

import json
import shutil

from diffusers import DDIMScheduler, StableDiffusionPipeline
from safetensors.torch import load_file, save_file

from networks import SCHEDULE, new_text_encoder, new_unet, new_vae

TOKENIZER_FILES = ("vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json")


def export(folder, tokenizer_folder, tokenizer, vae_weights, weights):
    """Replaces folder by the model; a folder half written never bears its name."""
    aside = folder.with_name(folder.name + ".new")
    shutil.rmtree(aside, ignore_errors=True)
    _pipeline(tokenizer, vae_weights, weights).save_pretrained(aside, safe_serialization=True)
    _restore_tokenizer(aside / "tokenizer", tokenizer_folder)
    _restore_text_names(aside / "text_encoder" / "model.safetensors")
    for part in ("vae", "unet", "text_encoder"):
        _tidy_config(aside / part / "config.json")
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)


def _pipeline(tokenizer, vae_weights, weights):
    vae, text, unet = new_vae(), new_text_encoder(tokenizer), new_unet()
    vae.load_state_dict(vae_weights)
    text.load_state_dict(weights["text"])
    unet.load_state_dict(weights["unet"])
    return StableDiffusionPipeline(
        vae=vae.half(),
        text_encoder=text.half(),
        tokenizer=tokenizer,
        unet=unet.half(),
        scheduler=DDIMScheduler(**SCHEDULE, clip_sample=False, set_alpha_to_one=False),
        safety_checker=None,
        feature_extractor=None,
        image_encoder=None,
        requires_safety_checker=False,
    )


def _restore_tokenizer(folder, source):
    """Exactly the four files that Stable Diffusion 1 ships."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in TOKENIZER_FILES:
        shutil.copy(source / name, folder / name)


def _restore_text_names(path):
    """transformers 5 drops the prefix that every Stable Diffusion 1 file has."""
    tensors = load_file(path)
    named = {"text_model." + name.removeprefix("text_model."): tensor for name, tensor in tensors.items()}
    save_file(named, path, metadata={"format": "pt"})


def _tidy_config(path):
    config = json.loads(path.read_text())
    config.pop("_name_or_path", None)
    if "dtype" in config:
        config["torch_dtype"] = config.pop("dtype")
    path.write_text(json.dumps(config, indent=2) + "\n")
