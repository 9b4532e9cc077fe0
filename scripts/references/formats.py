"""One UNet in every form in which people have weights, written by diffusers and torch themselves, and what it then computes; and
what numbers of each type are in float32."""
import shutil

import torch
from safetensors.torch import save_file

import forwards
import goldens
import networks

NAME = "compact"
STEM = "diffusion_pytorch_model"
TYPES = {"bf16": torch.bfloat16, "e4m3": torch.float8_e4m3fn, "e5m2": torch.float8_e5m2}


def rounded(kind):
    """The network as it is after its weights went through a narrower type."""
    def unet(name, dtype):
        net = networks.unet(name, dtype)
        with torch.no_grad():
            for p in net.parameters():
                p.copy_(p.to(torch.float32).to(kind).to(dtype))
        return net
    return unet


def folders(folder):
    """Files of one network as diffusers saves them."""
    net = networks.unet(NAME, torch.float32).half()
    for form, options in {
        "bin": dict(safe_serialization=False), "bin-sharded": dict(safe_serialization=False, max_shard_size="40KB"),
        "sharded": dict(max_shard_size="40KB"), "variant": dict(variant="fp16"),
        "variant-sharded": dict(variant="fp16", max_shard_size="40KB"),
    }.items():
        net.save_pretrained(folder / form, **options)
        (folder / form / "config.json").unlink()
    tensors = net.state_dict()
    (folder / "bin-legacy").mkdir()
    torch.save(tensors, folder / "bin-legacy" / f"{STEM}.bin", _use_new_zipfile_serialization=False)
    for form, kind in TYPES.items():
        (folder / form).mkdir()
        save_file({k: v.to(kind).contiguous() for k, v in tensors.items()}, folder / form / f"{STEM}.safetensors")


def numbers():
    """Every code of 8 bits, and some of 16."""
    codes = torch.arange(256, dtype=torch.uint8)
    wide = torch.arange(0, 65536, 37, dtype=torch.int32).to(torch.int16)
    made = {"e4m3": codes.view(torch.float8_e4m3fn), "e5m2": codes.view(torch.float8_e5m2), "bf16": wide.view(torch.bfloat16),
            "f16": wide.view(torch.float16)}
    made = {k: v.clone() for k, v in made.items()}  # of their own, as safetensors wants them
    return made, {k: v.to(torch.float32) for k, v in made.items()}


def write(folder):
    folder = folder / "formats"
    shutil.rmtree(folder, ignore_errors=True)
    cases = goldens.Cases(folder, __doc__)
    folders(folder)
    given = forwards.inputs(NAME)
    cases.add("f16", given, goldens.both(forwards.predict(NAME, given)), model=NAME,
              forms=["bin", "bin-legacy", "bin-sharded", "sharded", "variant", "variant-sharded"])
    for form, kind in TYPES.items():
        cases.add(form, given, goldens.both(forwards.predict(NAME, given, rounded(kind))), model=NAME, forms=[form])
    stored, single = numbers()
    save_file(stored, folder / "numbers.safetensors")
    save_file(single, folder / "numbers.f32.safetensors")
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    cases.close()
