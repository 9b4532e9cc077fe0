"""Trains the VAE, gives its latents Stable Diffusion's scale, and later sharpens its decoder."""

import torch

from networks import LATENT_SCALE, new_vae, pictures
from progress import Average, set_rate
from scenes import SIDE, random_scene, render

CROP = 64
KL_WEIGHT = 2e-5
DECODER_NOISE = 0.08  # greatest noise on latents while the decoder is sharpened, in standard deviations


def train_vae(run, crop_steps, whole_steps):
    """First crops at the rims of objects, which are many and cheap, then whole pictures. Returns the VAE."""
    rng, total = run.seeded("vae"), crop_steps + whole_steps
    vae = new_vae()
    optimizer = torch.optim.AdamW(vae.parameters(), lr=1, betas=(0.9, 0.98), weight_decay=1e-4)
    average = Average()
    for step in run.steps("vae", total, rng, vae=vae, optimizer=optimizer):
        set_rate(optimizer, step, total, 2.5e-3, warmup=50, floor=0.02)
        x = _crops(rng, 16) if step < crop_steps else _pictures(rng, 8)
        with torch.autocast("cpu", torch.bfloat16):
            posterior = vae.encode(x).latent_dist
            y = vae.decode(posterior.sample()).sample
        mean, logvar = posterior.mean.float(), posterior.logvar.float()
        kl = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).mean()
        loss = _difference(y.float(), x, average)
        _update(optimizer, loss + KL_WEIGHT * kl, vae.parameters())
        average.add(kl=kl)
        if (step + 1) % 50 == 0:
            run.log(f"vae {step + 1}/{total}  {average}")
    _normalise(vae, run.seeded("vae scale"))
    return vae


def train_decoder(run, vae, total):
    """The decoder alone, on latents with a little noise, so that slips of the denoiser do not show."""
    rng = run.seeded("decoder")
    for part in (vae.encoder, vae.quant_conv):
        part.requires_grad_(False)
    trained = [p for p in vae.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1, betas=(0.9, 0.98), weight_decay=0.0)
    average = Average()
    for step in run.steps("decoder", total, rng, vae=vae, optimizer=optimizer):
        set_rate(optimizer, step, total, 1e-3, warmup=40, floor=0.01)
        x = _pictures(rng, 6)
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                z = vae.encode(x).latent_dist.mean.float()
            z = z + torch.randn_like(z) / LATENT_SCALE * DECODER_NOISE * torch.rand(len(x), 1, 1, 1)
            y = vae.decode(z).sample
        _update(optimizer, _difference(y.float(), x, average), trained)
        if (step + 1) % 50 == 0:
            run.log(f"decoder {step + 1}/{total}  {average}")
    return vae


@torch.no_grad()
def encode(vae, scenes, batch=16):
    """The scenes as latents [n, 4, 16, 16] with standard deviation 1: posterior means times the scale."""
    latents = []
    for i in range(0, len(scenes), batch):
        x = pictures([render(scene) for scene in scenes[i : i + batch]])
        latents.append(vae.encode(x).latent_dist.mean * LATENT_SCALE)
    return torch.cat(latents)


@torch.no_grad()
def _normalise(vae, rng, samples=640):
    """Shifts and scales every latent channel to mean 0 and standard deviation 1 / 0.18215, inside the 1x1 convolutions
    next to the latents, so that what comes out of the decoder stays the same."""
    z = encode(vae, [random_scene(rng) for _ in range(samples)]) / LATENT_SCALE
    mean, scale = z.mean((0, 2, 3)), 1 / (z.std((0, 2, 3)) * LATENT_SCALE)
    conv = vae.quant_conv  # rows 0..3 mean, 4..7 log variance
    conv.weight[:4] *= scale.view(4, 1, 1, 1)
    conv.bias[:4] = (conv.bias[:4] - mean) * scale
    conv.bias[4:] += 2 * scale.log()
    conv = vae.post_quant_conv
    conv.bias += conv.weight[:, :, 0, 0] @ mean
    conv.weight /= scale.view(1, 4, 1, 1)


def _pictures(rng, n):
    return pictures([render(random_scene(rng)) for _ in range(n)])


def _crops(rng, n):
    """64x64 pieces centred near the rim of an object: crops taken anywhere hold too few edges."""
    crops = []
    for _ in range(n):
        scene = random_scene(rng)
        o = rng.choice(scene["objs"] or [{"cx": SIDE / 2, "cy": SIDE / 2, "r": 30}])
        y, x = (_corner(rng, o[axis], o["r"]) for axis in ("cy", "cx"))
        crops.append(render(scene)[y : y + CROP, x : x + CROP])
    return pictures(crops)


def _corner(rng, center, radius):
    return int(min(SIDE - CROP, max(0, center - CROP / 2 + rng.uniform(-1, 1) * radius)))


def _difference(y, x, average):
    """L1, squared error and L1 of the image gradients, both directions."""
    d = y - x
    l1, l2 = d.abs().mean(), (d**2).mean()
    edges = d.diff(dim=-1).abs().mean() + d.diff(dim=-2).abs().mean()
    average.add(l1=l1, l2=l2, edges=edges)
    return l1 + l2 + 0.5 * edges


def _update(optimizer, loss, parameters):
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
