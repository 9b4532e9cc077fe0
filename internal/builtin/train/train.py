"""Trains tiny-shapes from nothing to a model folder with its score: python train.py --out DIR

Stages: tokenizer, VAE, latents, text encoder, UNet with text encoder (obey, compose, finish), decoder, export, score.
Each is kept in DIR/stages when done and saved every two minutes before that: the same command goes on after a kill.
"""

import argparse
import json
from pathlib import Path

import torch

import autoencoder
import bpe
import denoiser
from evaluate import evaluate
from export import export
from networks import Captions, new_vae
from progress import Run
from scenes import random_scene

# How many steps (for latents: scenes) every stage takes; --STAGE N changes one, --scale F all.
STEPS = {
    "vae-crops": 970,
    "vae-whole": 750,
    "latents": 36_000,
    "text": 410,
    "obey": 2_900,
    "compose": 4_560,
    "finish": 800,
    "decoder": 1_710,
}


def train(run, steps, name="tiny-shapes"):
    """Does every stage that is not done yet."""
    tokenizer = run.out / "tokenizer"
    if not (tokenizer / "special_tokens_map.json").exists():
        run.log("tokenizer: %d tokens, %d merges" % bpe.train(tokenizer))
    captions = Captions(tokenizer)
    vae = _vae(run, steps)
    weights = _denoiser(run, steps, captions, vae)
    if not run.done("decoder"):
        run.finish("decoder", autoencoder.train_decoder(run, vae, steps["decoder"]).state_dict())
    export(run.out / name, tokenizer, captions.tokenizer, run.load("decoder"), weights)
    run.log(f"model written to {run.out / name}")
    evaluate(run.out / name, run.out, log=run.log)


def _vae(run, steps):
    if not run.done("vae"):
        run.finish("vae", autoencoder.train_vae(run, steps["vae-crops"], steps["vae-whole"]).state_dict())
    vae = new_vae()
    vae.load_state_dict(run.load("vae"))
    return vae


def _denoiser(run, steps, captions, vae):
    """Text encoder and UNet weights after the last phase."""
    if not run.done("text"):
        run.finish("text", denoiser.train_text(run, captions, steps["text"]))
    late = steps["compose"] * denoiser.COMPOSE_SWITCH
    phases = {
        "obey": lambda step: denoiser.OBEY,
        "compose": lambda step: denoiser.COMPOSE if step < late else denoiser.COMPOSE_LATE,
        "finish": lambda step: denoiser.FINISH,
    }
    weights = run.load("text")
    for stage, phase in phases.items():
        if not run.done(stage):
            pool = _pool(run, vae, steps["latents"])
            run.finish(stage, denoiser.train_joint(run, stage, captions, weights, pool, steps[stage], phase))
        weights = run.load(stage)
    return weights


def _pool(run, vae, count):
    """Scenes and their latents, float16: encoded once, used in every phase with ever new captions."""
    if not run.done("latents"):
        rng = run.seeded("latents")
        scenes = [random_scene(rng) for _ in range(count)]
        run.finish("latents", (scenes, autoencoder.encode(vae, scenes).half()))
        run.log(f"latents: {count} scenes encoded")
    return run.load("latents")


def main():
    options = _options()
    torch.set_num_threads(options.threads)
    steps = {s: max(1, round(getattr(options, s.replace("-", "_")) * options.scale)) for s in STEPS}
    run = Run(options.out, options.seed)
    _settings(run, {"seed": options.seed} | steps)
    run.log(f"seed {options.seed}, {options.threads} threads, steps {steps}")
    train(run, steps)


def _options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="working folder; the model is DIR/tiny-shapes")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scale", type=float, default=1, help="multiplies every count below; 0.005 tries the chain")
    for stage, count in STEPS.items():
        parser.add_argument(f"--{stage}", type=int, default=count, metavar="N", help=f"default {count}")
    return parser.parse_args()


def _settings(run, settings):
    """Writes down what the folder is made with. Step counts may change on the way; a stage that is past its new count
    ends at once. Another seed would give a model that no settings describe."""
    path = run.out / "settings.json"
    if path.exists() and json.loads(path.read_text())["seed"] != settings["seed"]:
        raise SystemExit(f"{path} has another seed than --seed: use the same or another --out folder")
    path.write_text(json.dumps(settings, indent=1) + "\n")


if __name__ == "__main__":
    main()
