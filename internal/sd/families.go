package sd

import (
	"errors"
	"math"

	"waggle/internal/models"
)

// family is what published models of one kind have in common and their tensors do not say.
type family struct {
	name        string
	context     int     // width of the text states, by which published models are told apart
	added       bool    // there is an added vector: pooled text and more
	small       bool    // of three levels with one block each way and no middle
	refused     string  // why none of its models is run; "" for families that are
	mayPredictV bool    // some of its models predict v
	defaults    Request // side of the picture, steps, guidance, sampler, schedule
	noiseSide   int     // side of the picture of models that predict noise, where it is another; else 0
	scale       float64 // the autoencoder's scaling factor
	colours     Colours // the autoencoder's latent, approximately

	heads     int // attention heads at every level of the UNet; 0: heads of headSize channels
	groups    int // of the UNet's group norms
	vaeGroups int // of the autoencoder's
	textHead  int // channels of a text encoder's attention head

	textLayers int // of the text encoder that the UNet was trained with, where whole ones have more; 0: all
}

// headSize is the width of a UNet's attention head from SD 2.x on.
const headSize = 64

// The families; the first that fits counts.
var families = []family{sdxs, sd1, sd2, unCLIP, sdxl, refiner, tinyShapes}

var (
	sd1 = family{
		name: "sd1", context: 768, scale: 0.18215, // Rombach et al. 2022
		heads: 8, groups: 32, vaeGroups: 32, textHead: 64,
		defaults: Request{Width: 512, Height: 512, Steps: 20, Guidance: 7, Sampler: "dpmpp_2m", Schedule: "karras"},
		colours:  sdColours,
	}
	sd2 = family{
		name: "sd2", context: 1024, mayPredictV: true, scale: 0.18215,
		groups: 32, vaeGroups: 32, textHead: 64, textLayers: 23, noiseSide: 512,
		defaults: Request{Width: 768, Height: 768, Steps: 20, Guidance: 7, Sampler: "dpmpp_2m", Schedule: "karras"},
		colours:  sdColours,
	}
	sdxl = family{
		name: "sdxl", context: 2048, added: true, scale: 0.13025, // Podell et al. 2023
		groups: 32, vaeGroups: 32, textHead: 64,
		defaults: Request{Width: 1024, Height: 1024, Steps: 20, Guidance: 7, Sampler: "dpmpp_2m", Schedule: "karras"},
		// Factors that previewers of SDXL use, for −1…1 (ComfyUI, latent_formats.py), halved here for 0…1.
		colours: Colours{
			Factors: [][3]float32{
				{0.3651 / 2, 0.4232 / 2, 0.4341 / 2}, {-0.2533 / 2, -0.0042 / 2, 0.1068 / 2},
				{0.1076 / 2, 0.1111 / 2, -0.0362 / 2}, {-0.3165 / 2, -0.2492 / 2, -0.2188 / 2},
			},
			Bias: [3]float32{0.5 + 0.1084/2, 0.5 - 0.0175/2, 0.5 - 0.0011/2},
		},
	}
	// sdxs is Stable Diffusion 1 distilled to one step, with heads as later families have them. Song et al. 2024.
	sdxs = family{
		name: "sdxs", context: 768, small: true, scale: 0.18215,
		groups: 32, vaeGroups: 32, textHead: 64,
		defaults: Request{Width: 512, Height: 512, Steps: 1, Guidance: 1, Sampler: "euler", Schedule: "sgm_uniform"},
		colours:  sdColours,
	}
	refiner = family{name: "sdxl-refiner", context: 1280, added: true,
		refused: "is the refiner of SDXL, which goes over pictures that the base model began, and draws none: load the base model"}
	unCLIP = family{name: "sd2-unclip", context: 1024, added: true,
		refused: "is Stable Diffusion unCLIP, which draws after a picture's CLIP embedding: load Stable Diffusion 2.1"}
	tinyShapes = family{
		name: "tiny-shapes", context: 96, scale: 0.18215,
		heads: 2, groups: 16, vaeGroups: 4, textHead: 24,
		defaults: Request{Width: 128, Height: 128, Steps: 20, Guidance: 5, Sampler: "ddim", Schedule: "normal"},
		// Fitted to the reference pictures by TestColoursOfTinyShapes.
		colours: Colours{
			Factors: [][3]float32{
				{0.1120, 0.0172, -0.0972}, {0.4346, 0.0814, 0.0490},
				{0.4381, -0.1158, -0.3946}, {0.2699, 0.2732, 0.1025},
			},
			Bias: [3]float32{0.5667, 0.5212, 0.5009},
		},
	}
)

// sdColours are the factors that previewers of SD 1.x and 2.x use, for −1…1 (ComfyUI, latent_formats.py, after Keturn's
// regression), halved here for 0…1. Both families share an autoencoder.
var sdColours = Colours{
	Factors: [][3]float32{
		{0.3512 / 2, 0.2297 / 2, 0.3227 / 2}, {0.3250 / 2, 0.4974 / 2, 0.2350 / 2},
		{-0.2829 / 2, 0.1762 / 2, 0.2721 / 2}, {-0.2120 / 2, -0.2616 / 2, -0.7177 / 2},
	},
	Bias: [3]float32{0.5, 0.5, 0.5},
}

// family tells a UNet's family by the width of its text states and its blocks, else by its structure.
func (p probe) family() family {
	context, conv := 0, false
	for block := range maxLayers {
		if width := p.extent(1, "input_blocks.%d.1.transformer_blocks.0.attn2.to_k.weight", block); width > 0 {
			context, conv = width, len(p.shape("input_blocks.%d.1.proj_in.weight", block)) > 2
			break
		}
	}
	added := p.shape("label_emb.0.0.weight") != nil
	for _, f := range families {
		if f.context == context && f.added == added && (!f.small || p.small()) {
			return f
		}
	}
	switch {
	case added:
		return sdxl
	case conv: // a 1×1 convolution before the transformer, a linear in later families
		return sd1
	}
	return sd2
}

// small reports SDXS's blocks: nothing but a convolution and a residual block on the finest level.
func (p probe) small() bool {
	return p.shape("middle_block.0.in_layers.2.weight") == nil && p.depth("input_blocks.1.1") == 0 &&
		p.shape("input_blocks.2.0.op.weight") != nil && p.shape("input_blocks.6.0.op.weight") == nil
}

// refusals are marks of models that are not run, and why.
var refusals = map[string]string{
	"edm_mean":            "was trained with the noise of EDM (Playground 2.5), which is not one of those here",
	"edm_vpred.sigma_max": "was trained with the noise of EDM, which is not one of those here",
}

// refuse says why a model cannot be run whose weights could be.
func (f family) refuse(m *models.Model) error {
	if f.refused != "" {
		return errors.New(f.refused)
	}
	for _, mark := range m.Rest.Marks {
		if why := refusals[mark]; why != "" {
			return errors.New(why)
		}
	}
	return nil
}

// vDeviation parts SD 2.x models that predict v from those that predict noise by the spread of one bias, whose values are
// wider in the former (observed by the makers of ComfyUI; model_detection of its supported_models.py).
const vDeviation = 0.09

// looksLikeV guesses whether an SD 2.x UNet without scheduler_config.json predicts v.
func (p probe) looksLikeV() bool {
	t, ok := p.Tensor("output_blocks.11.1.transformer_blocks.0.norm1.bias")
	if !ok {
		return false
	}
	v, err := t.Float32s()
	if err != nil || len(v) == 0 {
		return false
	}
	var sum, squares float64
	for _, x := range v {
		sum += float64(x)
		squares += float64(x) * float64(x)
	}
	n := float64(len(v))
	return math.Sqrt(max(0, squares/n-sum/n*sum/n)) > vDeviation
}
