"""CFG++ (Chung et al. 2024, arXiv 2406.08070): trajectories with two analytic denoisers, with and without the prompt.

Algorithm 2 of the paper, written for sigma = noise/signal: with guidance w, D_w = D_0 + w·(D_c - D_0) of the clean latents seen
without (0) and with (c) the prompt, a step from s to s' is x' = D_w + s'·(x - D_0)/s: the picture is the guided one, the noise
that is put back the unguided one. Ancestral: s' is the lower level, then noise. The second-order forms are those that user
interfaces have (ComfyUI, k_diffusion/sampling.py): for both, x is shifted by D_w - D_0 first."""
import numpy as np
import torch

import goldens
import tensors

SHAPE = (1, 4, 4, 6)


def with_prompt(x, s):
    return x / (1 + s * s) + 0.1 * torch.tanh(x)


def without_prompt(x, s):
    return x / (1 + s * s) - 0.05 * torch.cos(x)


def guided(x, s, w):
    plain = without_prompt(x, s)
    return plain + w * (with_prompt(x, s) - plain), plain


def ancestral(s, to, eta):
    """Level to step down to, and noise to add. Karras et al. 2022."""
    up = min(to, eta * (to**2 * (s**2 - to**2) / s**2) ** 0.5)
    return (to**2 - up**2) ** 0.5, up


def euler(x, sigmas, w, eta, noise):
    for s, to in zip(sigmas, sigmas[1:]):
        seen, plain = guided(x, s, w)
        down, up = ancestral(s, to, eta)
        x = seen + down / s * (x - plain)
        if up > 0:
            x = x + up * next(noise)
        yield x


def dpmpp_2m(x, sigmas, w, eta, noise):
    old = length = None
    for s, to in zip(sigmas, sigmas[1:]):
        seen, plain = guided(x, s, w)
        y = seen + to / s * (x - plain)
        if to > 0:
            h = np.log(s / to)
            if old is not None:
                y = y + (1 - to / s) * h / (2 * length) * (seen - old)
            length = h
        x, old = y, plain
        yield x


def dpmpp_2s(x, sigmas, w, eta, noise):
    for s, to in zip(sigmas, sigmas[1:]):
        seen, plain = guided(x, s, w)
        down, up = ancestral(s, to, eta)
        if down == 0:
            x = seen
        else:
            shifted, middle = x + seen - plain, (s * down) ** 0.5
            between = middle / s * shifted + (1 - middle / s) * seen
            seen, _ = guided(between, middle, w)
            x = down / s * shifted + (1 - down / s) * seen
        if to > 0:
            x = x + up * next(noise)
        yield x


SAMPLERS = {"euler_cfg_pp": (euler, 0), "euler_ancestral_cfg_pp": (euler, 1), "dpmpp_2m_cfg_pp": (dpmpp_2m, 0),
            "dpmpp_2s_ancestral_cfg_pp": (dpmpp_2s, 1)}


def levels(n):
    """n levels of Karras' schedule of Stable Diffusion, then 0."""
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    alphas = np.cumprod(1 - betas)
    low, high = (((1 - a) / a) ** (0.5 / 7) for a in (alphas[0], alphas[-1]))
    return np.append((high + np.linspace(0, 1, n) * (low - high)) ** 7, 0.0)


def write(folder):
    cases = goldens.Cases(folder / "samplers", __doc__, "cfg_pp.safetensors")
    for name, (rule, eta) in SAMPLERS.items():
        for steps in (1, 4, 9):
            for w in (0.6, 1.4):
                unit, noise = tensors.plain("x0_unit", SHAPE), tensors.plain("noise", (2 * steps, *SHAPE))
                sigmas = levels(steps)

                def run(dtype):
                    tape = iter(torch.from_numpy(noise).to(dtype))
                    x = torch.from_numpy(unit).to(dtype) * sigmas[0]
                    traj = torch.stack([x, *rule(x, sigmas.tolist(), w, eta, tape)])
                    return {"traj": traj, "final": traj[-1]}

                cases.add(f"{name}.{steps}.{w}", {"unit": unit, "noise": noise, "sigmas": sigmas}, goldens.both(run), sampler=name, guidance=w)
    cases.close()
