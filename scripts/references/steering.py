"""Networks beside the UNet: ControlNets, a T2I-Adapter, a TAESD. What they give, and what a UNet then predicts."""
import torch
from diffusers import AutoencoderTiny, ControlNetModel, T2IAdapter

import goldens
import models
import networks
import tensors
import topologies

TIMES = torch.tensor([301.0, 951.0])
CONTROL = dict(conditioning_channels=3, conditioning_embedding_out_channels=[16, 16, 32, 32])
# A time step that is another number for each row, a small picture.
HEIGHT, WIDTH = 8, 6


def control_config(name):
    """A ControlNet of a UNet's own shape."""
    config = topologies.unet(name)
    return {k: v for k, v in config.items() if k not in ("up_block_types", "out_channels", "sample_size", "reverse_transformer_layers_per_block")} | CONTROL


def inputs(name):
    config = topologies.unet(name)
    made = {"sample": tensors.plain(name + " sample", (2, 4, HEIGHT, WIDTH)), "ctx": tensors.plain(name + " ctx", (2, 20, config["cross_attention_dim"])),
            "t": TIMES.numpy(), "image": tensors.plain("picture", (2, 3, 8 * HEIGHT, 8 * WIDTH), 0.25) + 0.5}
    if topologies.xl(name):
        made["text_embeds"] = tensors.plain(name + " text_embeds", (2, 32))
        made["time_ids"] = torch.tensor([[64.0, 96, 0, 0, 64, 96], [512, 512, 8, 16, 64, 96]]).numpy()
    return made


def control(name, given):
    def compute(dtype):
        of = {k: torch.from_numpy(v).to(dtype) for k, v in given.items()}
        added = {k: of[k] for k in ("text_embeds", "time_ids") if k in of}
        net, unet = networks.filled(ControlNetModel(**control_config(name)), dtype), networks.unet(name, dtype)
        made = {}
        for key, strength, guess in (("eps_scale1", 1.0, False), ("eps_scale0.65", 0.65, False), ("eps_guess", 1.0, True)):
            down, mid = net(of["sample"], of["t"], of["ctx"], of["image"], strength, guess_mode=guess, added_cond_kwargs=added, return_dict=False)
            if key == "eps_scale1":
                made |= {f"down{i}": d for i, d in enumerate(down)} | {"mid": mid}
            made[key] = unet(of["sample"], of["t"], of["ctx"], added_cond_kwargs=added, down_block_additional_residuals=down,
                             mid_block_additional_residual=mid).sample
        made["eps_without"] = unet(of["sample"], of["t"], of["ctx"], added_cond_kwargs=added).sample
        return made
    return compute


def adapter_config(name):
    return dict(in_channels=3, channels=topologies.unet(name)["block_out_channels"], num_res_blocks=2, downscale_factor=8, adapter_type="full_adapter")


def adapter(name, given):
    def compute(dtype):
        of = {k: torch.from_numpy(v).to(dtype) for k, v in given.items()}
        net, unet = networks.filled(T2IAdapter(**adapter_config(name)), dtype), networks.unet(name, dtype)
        features = net(of["image"][:1])
        made = {f"feature{i}": f for i, f in enumerate(features)}
        for scale in (1, 0.6):
            made[f"eps_scale{scale}"] = unet(of["sample"], of["t"], of["ctx"],
                                             down_intrablock_additional_residuals=[(f * scale).expand(2, -1, -1, -1).clone() for f in features]).sample
        return made
    return compute


TINY = dict(encoder_block_out_channels=[16] * 4, decoder_block_out_channels=[16] * 4, num_encoder_blocks=[1, 2, 2, 2], num_decoder_blocks=[2, 2, 2, 1])


def tiny(given):
    def compute(dtype):
        of = {k: torch.from_numpy(v).to(dtype) for k, v in given.items()}
        net = networks.filled(AutoencoderTiny(**TINY), dtype)
        return {"latents": net.encode(of["image"]).latents, "decoded": net.decode(of["z"]).sample}
    return compute


def write(folder):
    cases, parts = goldens.Cases(folder / "steering", __doc__, "steering.safetensors"), {}

    def add(case, net, config, given, compute, model=""):
        parts[case] = {"config": config, "tensors": networks.shapes(net)}
        cases.add(case, given, goldens.both(compute), model=model)

    for name in ("bk-sdm-base", "sdxl-turbo"):
        given, config = inputs(name), control_config(name)
        add(f"control.{name}", ControlNetModel(**config), config, given, control(name, given), name)
    name, given = "bk-sdm-base", inputs("bk-sdm-base")
    given["image"], config = given["image"][:1], adapter_config(name)
    add("adapter", T2IAdapter(**config), config, given, adapter(name, given), name)
    given = {"image": tensors.plain("picture", (1, 3, 72, 48), 0.5), "z": tensors.plain("z", (1, 4, 9, 6), 2)}
    add("tiny", AutoencoderTiny(**TINY), TINY, given, tiny(given))
    cases.close()
    models.pack(folder / "steering/networks.json.gz", parts)
