"""Scores an exported model with the checker: python evaluate.py MODEL [--out DIR] [--count 100] [--threads 1]

Two tests: the 64 fixed prompts, each with its seed, and random prompts with combinations that training showed and
that it never showed, with three samplers. float16 weights, float32 arithmetic, 20 steps, guidance 5.
"""

import argparse
import json
import random
import re
from pathlib import Path

import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler, StableDiffusionPipeline
from PIL import Image

from checker import check
from networks import LATENT, SCHEDULE
from scenes import COLOR_WORDS, SIDE, caption, random_scene

SAMPLERS = {"ddim": DDIMScheduler, "euler": EulerDiscreteScheduler, "dpm": DPMSolverMultistepScheduler}
PROMPTS64 = Path(__file__).parent.parent / "testdata" / "prompts64.json"
TESTS = ("bg", "color", "shape", "place")


def evaluate(model, out, count=100, samplers=tuple(SAMPLERS), log=print):
    """All scores in per cent, also written to out/score.json; pictures of the 64 prompts to out/prompts64.png."""
    pipeline = StableDiffusionPipeline.from_pretrained(model, torch_dtype=torch.float32, safety_checker=None)
    cases = json.loads(PROMPTS64.read_text())["prompts"]
    images = draw(pipeline, [c["prompt"] for c in cases], [_noise(c["seed"]) for c in cases])
    _sheet(images, out / "prompts64.png")
    scores = {"prompts64 ddim": score(images, [_scene(c) for c in cases])}
    log(f"prompts64 ddim: {scores['prompts64 ddim']}")
    for name, holdout, seed in (("seen", False, 777), ("held out", True, 778)):
        scenes, texts = random_tests(count, holdout, seed)
        for sampler in samplers:
            generator = torch.Generator().manual_seed(5)
            noise = [torch.randn(1, *LATENT, generator=generator) for _ in scenes]
            scores[f"{name} {sampler}"] = score(draw(pipeline, texts, noise, sampler), scenes)
            log(f"{name} {sampler}: {scores[f'{name} {sampler}']}")
    (out / "score.json").write_text(json.dumps(scores, indent=1) + "\n")
    return scores


@torch.no_grad()
def draw(pipeline, texts, noise, sampler="ddim", steps=20, guidance=5.0, batch=16):
    """One picture, uint8 [128, 128, 3], for every text and noise [1, 4, 16, 16]."""
    images = []
    for i in range(0, len(texts), batch):
        scheduler = _scheduler(sampler, steps)
        context = torch.cat([_encode(pipeline, [""] * len(texts[i : i + batch])), _encode(pipeline, texts[i : i + batch])])
        x = torch.cat(noise[i : i + batch]) * scheduler.init_noise_sigma
        for t in scheduler.timesteps:
            both = scheduler.scale_model_input(torch.cat([x, x]), t)
            empty, asked = pipeline.unet(both, t, context).sample.chunk(2)
            x = scheduler.step(empty + guidance * (asked - empty), t, x).prev_sample
        y = pipeline.vae.decode(x / pipeline.vae.config.scaling_factor).sample
        images += list(((y / 2 + 0.5).clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy())
    return images


def _scheduler(name, steps):
    more = {"clip_sample": False, "set_alpha_to_one": False} if name == "ddim" else {}
    scheduler = SAMPLERS[name](**SCHEDULE, **more)
    scheduler.set_timesteps(steps)
    return scheduler


def _encode(pipeline, texts):
    ids = pipeline.tokenizer(texts, padding="max_length", max_length=77, truncation=True, return_tensors="pt")["input_ids"]
    return pipeline.text_encoder(ids).last_hidden_state


def score(images, scenes):
    """Per cent right by test, single objects and pairs apart, and the number of pictures wholly right."""
    verdicts = [check(image, scene) for image, scene in zip(images, scenes)]
    out = {"right": sum(all(v.values()) for v in verdicts), "of": len(verdicts)}
    for kind in ("single", "pair"):
        some = [v for v, scene in zip(verdicts, scenes) if scene["kind"] == kind]
        for test in TESTS if kind == "single" else TESTS[:3]:
            out[f"{kind} {test}"] = _percent([v[test] for v in some])
        out[f"{kind} all"] = _percent([all(v.values()) for v in some])
    return out


def _percent(values):
    return round(100 * sum(values) / max(1, len(values)), 1)


def random_tests(count, holdout, seed):
    """Scenes, half of them pairs, and captions that say everything the checker looks for."""
    rng = random.Random(seed)
    scenes = [random_scene(rng, holdout, "single" if i % 2 == 0 else "pair") for i in range(count)]
    return scenes, [_full_caption(rng, scene) for scene in scenes]


def _full_caption(rng, scene):
    while True:
        text = caption(rng, scene)
        vague = scene["kind"] == "pair" and re.search(r" (and|next|beside) ", text)
        if not vague and any(re.search(rf"\b{word}\b", text) for word in COLOR_WORDS[scene["bg"]]):
            return text


def _scene(case):
    names = {"kind": "kind", "background": "bg", "relation": "rel", "size": "size", "place": "pos", "objects": "objs"}
    return {short: case[name] for name, short in names.items()}


def _noise(seed):
    return torch.randn(1, *LATENT, generator=torch.Generator().manual_seed(seed))


def _sheet(images, path, columns=8):
    sheet = Image.new("RGB", (columns * SIDE, -(-len(images) // columns) * SIDE))
    for i, image in enumerate(images):
        sheet.paste(Image.fromarray(image), (i % columns * SIDE, i // columns * SIDE))
    sheet.save(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path, help="diffusers folder")
    parser.add_argument("--out", type=Path, default=Path("."), help="folder for score.json and prompts64.png")
    parser.add_argument("--count", type=int, default=100, help="random prompts of each kind (seen, held out)")
    parser.add_argument("--samplers", nargs="+", choices=SAMPLERS, default=list(SAMPLERS))
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    evaluate(options.model, options.out, options.count, options.samplers)


if __name__ == "__main__":
    main()
