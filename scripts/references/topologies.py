"""The published topologies, their widths cut down. Sources: unet/config.json and scheduler/scheduler_config.json of
stabilityai/stable-diffusion-2-base, stabilityai/sd-turbo, stabilityai/sdxl-turbo, segmind/SSD-1B, segmind/Segmind-Vega,
segmind/tiny-sd, segmind/small-sd, IDKiro/sdxs-512-0.9, SimianLuo/LCM_Dreamshaper_v7, latent-consistency/lcm-sdxl. A
transformer's depth, the kinds of blocks, their number and the middle are as published; channels, heads and groups are not."""

PLAIN, CROSS, PLAIN_UP, CROSS_UP = "DownBlock2D", "CrossAttnDownBlock2D", "UpBlock2D", "CrossAttnUpBlock2D"
MIDDLE, MIDDLE_PLAIN = "UNetMidBlock2DCrossAttn", "UNetMidBlock2D"

SD1 = dict(block_out_channels=[32, 32, 32, 64], down_block_types=[CROSS, CROSS, CROSS, PLAIN],
           up_block_types=[PLAIN_UP, CROSS_UP, CROSS_UP, CROSS_UP], attention_head_dim=8, cross_attention_dim=32,
           layers_per_block=2, mid_block_type=MIDDLE)
SD2 = SD1 | dict(block_out_channels=[16, 32, 32, 32], attention_head_dim=[2, 4, 4, 4], use_linear_projection=True)
SDXL = dict(block_out_channels=[16, 32, 32], down_block_types=[PLAIN, CROSS, CROSS], up_block_types=[CROSS_UP, CROSS_UP, PLAIN_UP],
            attention_head_dim=[2, 4, 4], cross_attention_dim=64, layers_per_block=2, mid_block_type=MIDDLE,
            transformer_layers_per_block=[1, 2, 10], use_linear_projection=True, addition_embed_type="text_time",
            addition_time_embed_dim=256, projection_class_embeddings_input_dim=32 + 6 * 256)
# Two transformers of SDXL's middle and many of its blocks are gone; the depth differs from block to block on the way up.
SSD = SDXL | dict(mid_block_type=MIDDLE_PLAIN, transformer_layers_per_block=[0, [2, 2], [4, 4]],
                  reverse_transformer_layers_per_block=[[4, 4, 10], [2, 1, 1], 0])
VEGA = SDXL | dict(mid_block_type=MIDDLE_PLAIN, transformer_layers_per_block=[0, [1, 1], [2, 2]],
                   reverse_transformer_layers_per_block=[[2, 2, 2], [1, 1, 1], 0])
# BK-SDM (Kim et al. 2023): one layer a block, no middle; in Tiny no fourth level.
SMALL = SD1 | dict(layers_per_block=1, mid_block_type=None)
BASE = SMALL | dict(mid_block_type=MIDDLE)
TINY = SMALL | dict(block_out_channels=[32, 32, 64], down_block_types=[CROSS, CROSS, CROSS], up_block_types=[CROSS_UP, CROSS_UP, CROSS_UP])
# SDXS-512 (Song et al. 2024)
SDXS = SD2 | dict(block_out_channels=[16, 32, 32], attention_head_dim=[2, 4, 4], down_block_types=[PLAIN, CROSS, CROSS],
                  up_block_types=[CROSS_UP, CROSS_UP, PLAIN_UP], layers_per_block=1, mid_block_type=None)
# Its version 0.9: the transformers of the finest level read the text twice.
SDXS_09 = SDXS | dict(down_block_types=[CROSS, CROSS, CROSS], up_block_types=[CROSS_UP, CROSS_UP, CROSS_UP],
                      only_cross_attention=[True, False, False])
# Small enough to be kept in many file formats.
COMPACT = SDXS | dict(block_out_channels=[8, 8, 16], attention_head_dim=2, norm_num_groups=4)

COMMON = dict(in_channels=4, out_channels=4, norm_num_groups=8, norm_eps=1e-5, flip_sin_to_cos=True, freq_shift=0, act_fn="silu",
              sample_size=8)

BETAS = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000, prediction_type="epsilon",
             steps_offset=1)
PNDM = BETAS | dict(_class_name="PNDMScheduler", skip_prk_steps=True, set_alpha_to_one=False, clip_sample=False)
DDIM = BETAS | dict(_class_name="DDIMScheduler", set_alpha_to_one=False, clip_sample=False)
EULER = BETAS | dict(_class_name="EulerDiscreteScheduler", interpolation_type="linear", timestep_spacing="leading")
TURBO = BETAS | dict(_class_name="EulerAncestralDiscreteScheduler", timestep_spacing="trailing")
SD_TURBO = EULER | dict(timestep_spacing="trailing")
LCM = BETAS | dict(_class_name="LCMScheduler", set_alpha_to_one=True, clip_sample=False, original_inference_steps=50, timestep_scaling=10.0,
                   timestep_spacing="leading")
ZERO = DDIM | dict(prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing")

# name: (UNet, scheduler)
MODELS = {
    "sd2-base": (SD2, EULER),
    "sd2-zero-snr": (SD2, ZERO),
    "sd-turbo": (SD2, SD_TURBO),
    "sdxl-turbo": (SDXL, TURBO),
    "ssd-1b": (SSD, EULER),
    "vega": (VEGA, EULER),
    "tiny-sd": (TINY, PNDM),
    "small-sd": (SMALL, PNDM),
    "bk-sdm-base": (BASE, PNDM),
    "sdxs": (SDXS, SD_TURBO),
    "sdxs-0.9": (SDXS_09, SD_TURBO),
    "compact": (COMPACT, SD_TURBO),
    "lcm-sd1": (SD1 | dict(time_cond_proj_dim=256), LCM),
    "lcm-sdxl": (SDXL | dict(time_cond_proj_dim=256), LCM),
}

# Models whose UNets differ.
DISTINCT = [name for name in MODELS if name not in ("sd2-zero-snr", "sd-turbo")]


def unet(name):
    return COMMON | MODELS[name][0]


def xl(name):
    return "addition_embed_type" in unet(name)


VAE = dict(in_channels=3, out_channels=3, latent_channels=4, block_out_channels=[16, 16, 16, 16], norm_num_groups=8, act_fn="silu",
           layers_per_block=1, down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4,
           scaling_factor=0.18215)


def vae(name):
    return VAE | dict(scaling_factor=0.13025) if xl(name) else VAE


# One text encoder stands for all: a vocabulary of 1000, beginning and end of text at its end.
TEXT = dict(architectures=["CLIPTextModel"], hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
            vocab_size=1000, max_position_embeddings=77, hidden_act="quick_gelu", layer_norm_eps=1e-5, projection_dim=32,
            bos_token_id=998, eos_token_id=999, pad_token_id=999)
TEXT2 = TEXT | dict(architectures=["CLIPTextModelWithProjection"], hidden_act="gelu", num_attention_heads=2)
