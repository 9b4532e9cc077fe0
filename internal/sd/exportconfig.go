package sd

import (
	"slices"

	"waggle/internal/nn"
	"waggle/internal/sampler"
)

const (
	diffusersVersion = "0.30.0" // whose fields the files have
	defaultScheduler = "DDIMScheduler"
)

// unetJSON is the configuration of a UNet2DConditionModel.
func (p *Pipeline) unetJSON() map[string]any {
	c := p.networks.unet.config
	down, up := []string{}, []string{}
	var layers []int
	var depths, upDepths []any
	mirrored := true
	for level := range c.Widths {
		down = append(down, blockType("DownBlock2D", c.Down[level]))
		up = append(up, blockType("UpBlock2D", c.Up[level]))
		layers = append(layers, len(c.Down[level]))
		depths = append(depths, depthOf(c.Down[level], max(1, c.Mid)))
		upDepths = append(upDepths, depthOf(c.Up[level], 1))
		mirrored = mirrored && mirrors(c.Up[len(c.Up)-1-level], c.Down[level])
	}
	out := map[string]any{
		"_class_name": "UNet2DConditionModel", "_diffusers_version": diffusersVersion, "act_fn": "silu",
		"in_channels": c.In, "out_channels": c.Out, "block_out_channels": c.Widths, "layers_per_block": one(layers),
		"down_block_types": down, "up_block_types": up, "transformer_layers_per_block": alike(depths),
		"attention_head_dim": one(c.Heads), "cross_attention_dim": c.Context, "norm_num_groups": c.Groups, "norm_eps": c.Eps,
		"flip_sin_to_cos": c.TimeFlip, "freq_shift": c.TimeShift, "sample_size": p.usual.Width / p.networks.vae.config.Factor(),
		"mid_block_type": middleType(c.Mid), "use_linear_projection": p.linear(),
	}
	if !mirrored {
		out["reverse_transformer_layers_per_block"] = upDepths
	}
	if c.TimeWidth != 4*c.Widths[0] {
		out["time_embedding_dim"] = c.TimeWidth
	}
	if c.Guidance > 0 {
		out["time_cond_proj_dim"] = c.Guidance
	}
	if c.Added > 0 {
		out["addition_embed_type"], out["addition_time_embed_dim"] = "text_time", c.AddedTime
		out["projection_class_embeddings_input_dim"] = c.Added
	}
	return out
}

// linear reports linear layers around the transformers, where Stable Diffusion 1 has convolutions.
func (p *Pipeline) linear() bool {
	t := probe{p.networks.unet.tensors}
	for block := range maxLayers {
		if shape := t.shape("input_blocks.%d.1.proj_in.weight", block); shape != nil {
			return len(shape) == 2
		}
	}
	return false
}

func blockType(plain string, depths []int) string {
	if slices.Max(depths) > 0 {
		return "CrossAttn" + plain
	}
	return plain
}

func middleType(depth int) any {
	switch depth {
	case NoMiddle:
		return nil
	case 0:
		return "UNetMidBlock2D"
	}
	return "UNetMidBlock2DCrossAttn"
}

// depthOf is a level's entry of transformer_layers_per_block: a number where all blocks are alike, idle for a level without.
func depthOf(depths []int, idle int) any {
	if slices.Max(depths) == 0 {
		return idle
	}
	return one(depths)
}

// one is the number that a list repeats, else the list.
func one(list []int) any {
	if slices.Min(list) == slices.Max(list) {
		return list[0]
	}
	return list
}

// alike is the entry that all levels have, else those of each.
func alike(levels []any) any {
	for _, l := range levels {
		n, ok := l.(int)
		if first, isInt := levels[0].(int); !ok || !isInt || n != first {
			return levels
		}
	}
	return levels[0]
}

// mirrors reports whether a level on the way up has the depths that diffusers makes of those on the way down.
func mirrors(up, down []int) bool {
	return slices.Max(up) == 0 && slices.Max(down) == 0 || slices.Min(up) == slices.Max(up) && slices.Min(down) == slices.Max(down) && up[0] == down[0]
}

// vaeJSON is the configuration of an AutoencoderKL.
func (p *Pipeline) vaeJSON() map[string]any {
	c := p.networks.vae.config
	out := map[string]any{
		"_class_name": "AutoencoderKL", "_diffusers_version": diffusersVersion, "act_fn": "silu",
		"in_channels": c.Picture, "out_channels": c.Picture, "latent_channels": c.Latent, "block_out_channels": c.Widths,
		"layers_per_block": c.Layers, "norm_num_groups": c.Groups, "scaling_factor": c.Scale, "sample_size": p.usual.Width,
		"down_block_types": slices.Repeat([]string{"DownEncoderBlock2D"}, len(c.Widths)),
		"up_block_types":   slices.Repeat([]string{"UpDecoderBlock2D"}, len(c.Widths)),
	}
	if !c.MidAttention {
		out["mid_block_add_attention"] = false
	}
	return out
}

// textJSON is the configuration of the i-th text encoder.
func (p *Pipeline) textJSON(i int) map[string]any {
	c := p.networks.text[i].config
	class, activation := "CLIPTextModel", "quick_gelu"
	projection := c.Hidden
	if i == 1 {
		class = "CLIPTextModelWithProjection"
	}
	if c.Projection > 0 {
		projection = c.Projection
	}
	if c.Activation == nn.GELU {
		activation = "gelu"
	}
	special := p.tokenizers[i].Special()
	return map[string]any{
		"architectures": []string{class}, "model_type": "clip_text_model", "hidden_act": activation,
		"hidden_size": c.Hidden, "intermediate_size": c.Intermediate, "num_hidden_layers": c.Layers, "num_attention_heads": c.Heads,
		"vocab_size": c.Vocabulary, "max_position_embeddings": c.Positions, "layer_norm_eps": c.Eps, "projection_dim": projection,
		"bos_token_id": special.BOS, "eos_token_id": special.EOS, "pad_token_id": special.Pad,
	}
}

// schedulerJSON says what noise the model was trained with.
func schedulerJSON(c sampler.Config) map[string]any {
	prediction := "epsilon"
	if c.Prediction == sampler.V {
		prediction = "v_prediction"
	}
	spacing := string(c.Spacing)
	if spacing == "" {
		spacing = "leading"
	}
	out := map[string]any{
		"_class_name": defaultScheduler, "_diffusers_version": diffusersVersion, "num_train_timesteps": c.TrainSteps,
		"beta_start": c.BetaStart, "beta_end": c.BetaEnd, "beta_schedule": c.BetaSchedule, "prediction_type": prediction,
		"clip_sample": false, "set_alpha_to_one": c.SetAlphaToOne, "steps_offset": c.StepsOffset, "timestep_spacing": spacing,
		"rescale_betas_zero_snr": c.ZeroSNR,
	}
	if c.ZeroSNR {
		out["timestep_spacing"] = "trailing" // as Lin et al. 2023 have it; leading never begins in pure noise
	}
	return out
}
