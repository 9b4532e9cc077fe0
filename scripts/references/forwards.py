"""One pass of every UNet, at three time steps."""
import torch

import goldens
import networks
import tensors
import topologies

TIMES = [1.0, 401.0, 999.0]


def guidance_embedding(scale, width):
    """What an LCM takes in place of guidance (Luo et al. 2023): sines, then cosines of 1000·(scale - 1)."""
    half = width // 2
    frequency = torch.exp(torch.arange(half, dtype=torch.float64) * -(torch.log(torch.tensor(10000.0, dtype=torch.float64)) / (half - 1)))
    angle = (scale - 1) * 1000 * frequency
    return torch.cat([angle.sin(), angle.cos()])


def inputs(name):
    config = topologies.unet(name)
    made = {"sample": tensors.plain(name + " sample", (2, 4, 8, 12)), "ctx": tensors.plain(name + " ctx", (2, 20, config["cross_attention_dim"])),
            "t": torch.tensor(TIMES).numpy()}
    if topologies.xl(name):
        made["text_embeds"] = tensors.plain(name + " text_embeds", (2, 32))
        made["time_ids"] = torch.tensor([[64.0, 96, 0, 0, 64, 96], [512, 512, 8, 16, 64, 96]]).numpy()
    if width := config.get("time_cond_proj_dim"):
        made["guidance"] = torch.tensor([7.5, 1.5]).numpy()
        made["time_cond"] = torch.stack([guidance_embedding(w, width) for w in (7.5, 1.5)]).float().numpy()
    return made


def predict(name, given, net=networks.unet):
    def compute(dtype):
        net_of = net(name, dtype)
        of = {k: torch.from_numpy(v).to(dtype) for k, v in given.items()}
        added = {k: of[k] for k in ("text_embeds", "time_ids") if k in of}
        return {f"eps_t{i}": net_of(of["sample"], t, of["ctx"], added_cond_kwargs=added, timestep_cond=of.get("time_cond")).sample
                for i, t in enumerate(TIMES)}
    return compute


def write(folder):
    cases = goldens.Cases(folder / "forwards", "UNet passes: eps_tJ is the prediction for both rows at t[J]. Pictures NCHW.")
    for name in topologies.DISTINCT:
        given = inputs(name)
        cases.add(f"{name}.unet", given, goldens.both(predict(name, given)), model=name, kind="unet")
    cases.close()
