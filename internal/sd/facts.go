package sd

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"waggle/internal/models"
	"waggle/internal/sampler"
)

// Fact is something that is known of a model, and where from.
type Fact struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Source string `json:"source"`
}

// Sources of facts.
const (
	fromTensors   = "tensors"
	fromConfig    = "config.json"
	fromScheduler = "scheduler_config.json"
	fromMetadata  = "metadata"
	fromYAML      = "the .yaml file beside it"
	fromFlag      = "flag"
	fromName      = "the model's name" + aGuess
	fromBias      = "the spread of a bias" + aGuess
	fromFamily    = "usual for the family"

	aGuess = ", a guess"
)

// Guessed reports whether the fact was concluded from something that does not say it: its owner should be told.
func (f Fact) Guessed() bool { return strings.HasSuffix(f.Source, aGuess) }

// know gathers what is known of the model beyond the shapes of its networks.
func (p *Pipeline) know(m *models.Model) error {
	unet := p.networks.unet
	p.tell("family", p.family.name, fromTensors)
	p.tell("variant", variant(unet.config), fromTensors)
	shapes := shapeSource(m.UNet, fromFamily)
	p.tell("heads", fmt.Sprint(unet.config.Heads), shapes)
	p.tell("groups", strconv.Itoa(unet.config.Groups), shapes)
	config, err := p.noise(m)
	if err != nil {
		return err
	}
	pace := p.pace(m)
	if pace.trailing && config.Spacing == "" {
		config.Spacing = sampler.Trailing
	}
	p.tell("schedule", describeSchedule(config), cmp.Or(given(fromScheduler, m.Scheduler != nil), fromFamily))
	if m.Tokenizer.Vocab != nil {
		p.tell("tokenizer", fmt.Sprintf("%d tokens", p.networks.text[0].config.Vocabulary), "tokenizer/")
	} else {
		p.tell("tokenizer", "49408 tokens", "CLIP's own")
	}
	vae := p.networks.vae.config
	p.tell("latent", fmt.Sprintf("%d channels, %d×%d pixels a cell, scale %v", vae.Latent, vae.Factor(), vae.Factor(), vae.Scale), shapeSource(m.VAE, fromFamily))
	if vae.tiny() {
		p.tell("vae", "TAESD", cmp.Or(given(fromConfig, m.VAE.Config != nil), fromTensors))
	}
	p.model, err = sampler.NewModel(config)
	p.usual = p.defaults(m, pace, config.Prediction)
	return err
}

func (p *Pipeline) tell(name, value, source string) {
	p.facts = append(p.facts, Fact{name, value, source})
}

// given is text where it holds.
func given(text string, holds bool) string {
	if holds {
		return text
	}
	return ""
}

// shapeSource is where heads and groups of a part come from, which no tensor says.
func shapeSource(p *models.Part, otherwise string) string {
	if p.Config != nil {
		return fromConfig
	}
	return otherwise
}

// variant says what a UNet takes besides the noisy latent.
func variant(c UNetConfig) string {
	switch c.In - c.Out {
	case 0:
		return "text to picture"
	case 5:
		return "inpaint"
	case 4:
		return "pix2pix"
	}
	return fmt.Sprintf("%d more channels", c.In-c.Out)
}

func describeSchedule(c sampler.Config) string {
	text := fmt.Sprintf("%s %v to %v, %d steps", c.BetaSchedule, c.BetaStart, c.BetaEnd, c.TrainSteps)
	if c.TrainedBetas != nil {
		text = fmt.Sprintf("%d betas of its own", c.TrainSteps)
	}
	if c.Spacing != "" {
		text += ", " + string(c.Spacing)
	}
	return text
}

// witness says something of the network's prediction, or nothing.
type witness struct {
	source     string
	prediction sampler.Prediction // "" for nothing
	zeroSNR    *bool              // nil for nothing
}

// noise finds what the network predicts and what noise it was trained with: of those who say something, the first is believed.
func (p *Pipeline) noise(m *models.Model) (sampler.Config, error) {
	config, witnesses := sampler.StableDiffusion(sampler.Epsilon), []witness{ownerSays(m.Said)}
	if m.Scheduler != nil {
		var err error
		if config, err = sampler.ParseConfig(m.Scheduler); err != nil {
			return config, err
		}
		witnesses = append(witnesses, witness{fromScheduler, config.Prediction, &config.ZeroSNR})
	}
	witnesses = append(witnesses, marksSay(m.Rest.Marks), metadataSays(m.Metadata), yamlSays(m.Parameterization), p.biasSays(),
		witness{source: fromFamily, prediction: sampler.Epsilon})
	at := slices.IndexFunc(witnesses, func(w witness) bool { return w.prediction != "" })
	zero := slices.IndexFunc(witnesses, func(w witness) bool { return w.zeroSNR != nil })
	config.Prediction = witnesses[at].prediction
	p.tell("prediction", string(config.Prediction), witnesses[at].source)
	// A model that is told to predict noise has no pure noise, whatever a lesser witness says.
	config.ZeroSNR = zero >= 0 && *witnesses[zero].zeroSNR && (config.Prediction != sampler.Epsilon || zero == 0)
	if config.ZeroSNR {
		p.tell("zero terminal SNR", "yes", witnesses[zero].source)
		if config.Prediction == sampler.Epsilon {
			return config, fmt.Errorf("zero terminal SNR (%s): pure noise says nothing about the picture to a model that predicts epsilon (%s); say --prediction v",
				witnesses[zero].source, witnesses[at].source)
		}
	}
	return config, nil
}

func ownerSays(s models.Said) witness {
	return witness{fromFlag, map[string]sampler.Prediction{"epsilon": sampler.Epsilon, "v": sampler.V}[s.Prediction], s.ZeroSNR}
}

// marksSay reads the empty tensors v_pred and ztsnr, as NoobAI writes and ComfyUI reads them.
func marksSay(marks []string) witness {
	w := witness{source: "tensor v_pred"}
	if slices.Contains(marks, "v_pred") {
		zero := slices.Contains(marks, "ztsnr")
		w.prediction, w.zeroSNR = sampler.V, &zero
	}
	return w
}

// metadataSays reads modelspec's keys (github.com/Stability-AI/ModelSpec) and those of kohya's training scripts.
func metadataSays(metadata map[string]string) witness {
	w := witness{source: fromMetadata}
	switch kind := strings.ToLower(metadata["modelspec.prediction_type"]); {
	case kind == "v" || kind == "v_prediction" || yes(metadata["ss_v_parameterization"]) ||
		kind == "" && strings.HasPrefix(metadata["modelspec.architecture"], "stable-diffusion-v2-768-v"):
		w.prediction = sampler.V
	case kind == "epsilon" || kind == "eps":
		w.prediction = sampler.Epsilon
	}
	if yes(metadata["ss_zero_terminal_snr"]) {
		zero := true
		w.zeroSNR = &zero
	}
	return w
}

func yes(text string) bool { return strings.EqualFold(text, "true") || text == "1" }

func yamlSays(parameterization string) witness {
	return witness{source: fromYAML, prediction: map[string]sampler.Prediction{"v": sampler.V, "eps": sampler.Epsilon}[parameterization]}
}

func (p *Pipeline) biasSays() witness {
	w := witness{source: fromBias}
	if p.family.mayPredictV && (probe{p.networks.unet.tensors}).looksLikeV() {
		w.prediction = sampler.V
	}
	return w
}

// defaults are those of the pace, else of the family, with the side that the model itself names.
func (p *Pipeline) defaults(m *models.Model, pace pace, prediction sampler.Prediction) Request {
	d := pace.defaults.or(p.family.defaults)
	source := fromFamily
	if prediction != sampler.V && p.family.noiseSide > 0 {
		d.Width, d.Height = p.family.noiseSide, p.family.noiseSide
	}
	if pace.defaults.Width > 0 {
		d.Width, d.Height, source = pace.defaults.Width, pace.defaults.Height, "usual for its kind"
	}
	if w, h, ok := parseResolution(m.Metadata["modelspec.resolution"]); ok {
		d.Width, d.Height, source = w, h, fromMetadata
	}
	if side := p.networks.unet.config.SampleSize * p.networks.vae.config.Factor(); side >= minSide && side <= maxSide {
		d.Width, d.Height, source = side, side, fromConfig
	}
	p.tell("size", fmt.Sprintf("%d×%d", d.Width, d.Height), source)
	return d
}

// parseResolution reads "1024x1024".
func parseResolution(text string) (width, height int, ok bool) {
	w, h, _ := strings.Cut(text, "x")
	width, err := strconv.Atoi(w)
	height, err2 := strconv.Atoi(h)
	good := func(side int) bool { return side >= minSide && side <= maxSide/2 && side%minSide == 0 }
	return width, height, err == nil && err2 == nil && good(width) && good(height)
}

// words of a name, in lower case.
func words(name string) []string {
	return strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
}
