"""Whole pictures by diffusers' own pipelines, from token ids and a seed: what a request of that sampler must draw.

Noise is torch's, of the processor, float32 in the runs in float64 too. 'steps' pictures begin with noise of the seed; what a
sampler adds comes from the same generator, as in diffusers."""

import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
import diffusers

import goldens
import networks
import topologies

SEED = 1234
HEIGHT, WIDTH = 64, 96

# name: model, sampler's name for the tests, its class where it is not the model's, steps, guidance, rescaling of guidance
RUNS = {
    "sd2-base.euler.6.rescale": ("sd2-base", "euler", None, 6, 7.5, 0.7),
    "sd2-zero-snr.ddim.6": ("sd2-zero-snr", "ddim", None, 6, 7.5, 0.0),
    "sd2-zero-snr.ddim.6.rescale": ("sd2-zero-snr", "ddim", None, 6, 7.5, 0.7),
    "sd-turbo.euler.1": ("sd-turbo", "euler", None, 1, 0.0, 0.0),
    "sd-turbo.euler.4": ("sd-turbo", "euler", None, 4, 0.0, 0.0),
    "sdxl-turbo.euler_ancestral.1": ("sdxl-turbo", "euler_ancestral", None, 1, 0.0, 0.0),
    "sdxl-turbo.euler_ancestral.4": ("sdxl-turbo", "euler_ancestral", None, 4, 0.0, 0.0),
    "sdxs.euler.1": ("sdxs", "euler", None, 1, 0.0, 0.0),
    "ssd-1b.euler.4": ("ssd-1b", "euler", None, 4, 7.5, 0.0),
    "vega.euler.4.rescale": ("vega", "euler", None, 4, 7.5, 1.0),
    "tiny-sd.dpmpp_2m.4": ("tiny-sd", "dpmpp_2m", "DPMSolverMultistepScheduler", 4, 7.5, 0.0),
    "small-sd.ddim.4": ("small-sd", "ddim", "DDIMScheduler", 4, 7.5, 0.0),
    "lcm-sd1.lcm.1": ("lcm-sd1", "lcm", None, 1, 8.0, 0.0),
    "lcm-sd1.lcm.4": ("lcm-sd1", "lcm", None, 4, 8.0, 0.0),
    "lcm-sdxl.lcm.4": ("lcm-sdxl", "lcm", None, 4, 8.0, 0.0),
    "lcm-sd1.tcd.4": ("lcm-sd1", "tcd", "TCDScheduler", 4, 8.0, 0.0),
}
PICTURES = ["sd-turbo", "sdxl-turbo"]  # whose pictures are kept


def ids(words):
    """A chunk: beginning of text, words, end of text and its filling."""
    return torch.tensor([[998, *words, *[999] * (76 - len(words))]])

PROMPT, NEGATIVE = ids([5, 320, 17, 801, 64]), ids([11, 250])

def same_noise():
    """torch.randn that gives the same numbers in float64 as in float32."""
    plain = torch.randn

    def randn(*size, generator=None, dtype=None, **more):
        return plain(*size, generator=generator, dtype=torch.float32, **more).to(dtype or torch.get_default_dtype())

    torch.randn = randn

def conditions(name, dtype):
    """Text states and, for XL, summaries, as the pipelines take them."""
    first = networks.text(topologies.TEXT, dtype)
    second = networks.text(topologies.TEXT2, dtype) if topologies.xl(name) else None
    made = {}
    for key, tokens in (("", PROMPT), ("negative_", NEGATIVE)):
        out = first(tokens, output_hidden_states=True)
        if second is None:
            made[key + "prompt_embeds"] = out.last_hidden_state
            continue
        other = second(tokens, output_hidden_states=True)
        made[key + "prompt_embeds"] = torch.cat([out.hidden_states[-2], other.hidden_states[-2]], -1)
        made[key + "pooled_prompt_embeds"] = other.text_embeds
    return made

def scheduler(name, kind):
    config = topologies.MODELS[name][1]
    kind = getattr(diffusers, kind or config["_class_name"])
    return kind.from_config({k: v for k, v in config.items() if k != "_class_name"})

def pipeline(name, kind, dtype):
    shared = dict(vae=networks.vae(name, dtype), text_encoder=None, tokenizer=None, unet=networks.unet(name, dtype),
                  scheduler=scheduler(name, kind))
    if topologies.xl(name):
        pipe = StableDiffusionXLPipeline(**shared, text_encoder_2=None, tokenizer_2=None, add_watermarker=False)
    else:
        pipe = StableDiffusionPipeline(**shared, safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    return pipe

def draw(name, kind, steps, guidance, rescale):
    def compute(dtype):
        torch.set_default_dtype(dtype)
        given = conditions(name, dtype)
        pipe = pipeline(name, kind, dtype)
        latents = []
        kept = name in PICTURES
        picture = pipe(**given, num_inference_steps=steps, guidance_scale=guidance, guidance_rescale=rescale, height=HEIGHT, width=WIDTH,
                       generator=torch.Generator().manual_seed(SEED), eta=0.3 if kind == "TCDScheduler" else 0.0,
                       output_type="pt" if kept else "latent",
                       callback_on_step_end=lambda p, i, t, k: latents.append(k["latents"].clone()) or k).images
        torch.set_default_dtype(torch.float32)
        made = {"ctx": given["prompt_embeds"], "latents": latents[-1]}
        if kept:
            made["image"] = picture
        if "pooled_prompt_embeds" in given:
            made["pooled"] = given["pooled_prompt_embeds"]
        return made
    return compute

def write(folder):
    same_noise()
    cases = goldens.Cases(folder / "runs", __doc__)
    for run, (name, sampler, kind, steps, guidance, rescale) in RUNS.items():
        given = {"ids": PROMPT.int().numpy(), "neg_ids": NEGATIVE.int().numpy()}
        if topologies.xl(name):
            given |= {key + "2": v for key, v in given.items()}
        cases.add(run, given, goldens.both(draw(name, kind, steps, guidance, rescale)), model=name, sampler=sampler, steps=steps,
                  guidance=guidance, rescale=rescale, seed=SEED)
    cases.close()
