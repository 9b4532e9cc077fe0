"""The three networks, untrained, with the starting values that made them converge; and tokenised captions."""

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from bpe import WORD

LATENT_SCALE = 0.18215  # Stable Diffusion's own factor: latents are multiplied by it before the UNet sees them
LATENT = (4, 16, 16)
TEXT_LENGTH, TEXT_WIDTH = 77, 96

# Stable Diffusion 1's noise schedule.
SCHEDULE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "epsilon",
    "steps_offset": 1,
    "timestep_spacing": "leading",
}


def new_vae():
    """GroupNorm has 4 channels a group: with fewer, flat colours are normalised away."""
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 24, 48, 64),
        layers_per_block=1,
        latent_channels=LATENT[0],
        norm_num_groups=4,
        sample_size=128,
        scaling_factor=LATENT_SCALE,
    )
    with torch.no_grad():  # variance kept from layer to layer, residual branches silent, posterior nearly a point
        for name, p in vae.named_parameters():
            if p.ndim == 4:
                p *= 3**0.5
            if ".conv2." in name or ".to_out." in name:
                p.zero_()
        vae.quant_conv.weight[4:] *= 0.1
        vae.quant_conv.bias[4:] = -5.0
    return vae


def new_text_encoder(tokenizer):
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=384,
            projection_dim=TEXT_WIDTH,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=TEXT_LENGTH,
            hidden_act="quick_gelu",
            layer_norm_eps=1e-5,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.eos_token_id,
        )
    )


def new_unet():
    unet = UNet2DConditionModel(
        sample_size=LATENT[1],
        in_channels=LATENT[0],
        out_channels=LATENT[0],
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(48, 80, 112),
        layers_per_block=1,
        norm_num_groups=16,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=2,  # as in Stable Diffusion 1: the number of heads
    )
    unet.set_attn_processor(AttnProcessor())  # plain attention: on a CPU in bfloat16 faster than the fused one
    with torch.no_grad():
        for name, p in unet.named_parameters():
            if name.startswith("conv_out.") or ".conv2." in name or ".proj_out." in name:
                p.zero_()
    return unet


class Captions:
    """Text to token ids [n, 77] as the pipeline makes them, padded with end-of-text; words are looked up once."""

    def __init__(self, folder):
        self.tokenizer = CLIPTokenizer.from_pretrained(folder)
        self.end = self.tokenizer.eos_token_id
        self._words = {}

    def __call__(self, texts):
        ids = torch.full((len(texts), TEXT_LENGTH), self.end, dtype=torch.long)
        for row, text in zip(ids, texts):
            tokens = [self.tokenizer.bos_token_id]
            for word in WORD.findall(text.lower()):
                tokens += self._tokens(word)
            tokens = tokens[: TEXT_LENGTH - 1]
            row[: len(tokens)] = torch.tensor(tokens)
        return ids

    def _tokens(self, word):
        if word not in self._words:
            self._words[word] = self.tokenizer(word, add_special_tokens=False)["input_ids"]
        return self._words[word]


def pictures(images):
    """List of uint8 [h, w, 3] -> float32 [n, 3, h, w] from -1 to 1."""
    stacked = torch.stack([torch.from_numpy(image) for image in images])
    return stacked.permute(0, 3, 1, 2).float().contiguous() / 127.5 - 1
