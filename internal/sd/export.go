package sd

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"

	"waggle/internal/models"
	"waggle/internal/nn"
	"waggle/internal/sampler"
	"waggle/internal/tokenizer"
)

// Export is what a model needs to be written in another layout, weights apart.
type Export struct {
	Files    map[string][]byte // of a diffusers folder, by the paths in it
	Metadata map[string]string // of a single file
	// Alone: a single file with the metadata says all that the model says; otherwise the files must lie beside it.
	Alone bool
	// OpenCLIP: the only text encoder is one of OpenCLIP, whose names it has in a single file.
	OpenCLIP bool
}

// ExportOf describes a model for another layout. Configuration that the model brings is kept as it is, what it lacks is made
// of what is known of it. The error is a models.ErrInvalid.
func ExportOf(m *models.Model) (Export, error) {
	p, err := newPipeline(nil, m)
	if err != nil {
		return Export{}, &models.InvalidError{Model: m.Name, Err: err}
	}
	if p.networks.vae.config.tiny() {
		err := errors.New("vae: it is a TAESD, which is not written in another layout")
		return Export{}, &models.InvalidError{Model: m.Name, Err: err}
	}
	noise, err := p.noise(m)
	if err != nil {
		return Export{}, &models.InvalidError{Model: m.Name, Err: err}
	}
	e := Export{Files: map[string][]byte{}, Metadata: p.metadata(m, noise), Alone: p.alone(m, noise)}
	e.OpenCLIP = m.Text2 == nil && p.networks.text[0].config.Activation == nn.GELU
	e.put("unet/config.json", m.UNet.Config, p.unetJSON())
	e.put("vae/config.json", m.VAE.Config, p.vaeJSON())
	scheduler, err := told(m.Scheduler, m.Said, noise)
	if err != nil {
		return e, &models.InvalidError{Model: m.Name, Err: err}
	}
	e.put("scheduler/scheduler_config.json", scheduler, schedulerJSON(noise))
	index := p.index(e.Files["scheduler/scheduler_config.json"])
	for i, part := range []*models.Part{m.Text, m.Text2} {
		if part == nil {
			continue
		}
		suffix := []string{"", "_2"}[i]
		e.put("text_encoder"+suffix+"/config.json", part.Config, p.textJSON(i))
		done, err := e.tokenizer("tokenizer"+suffix+"/", []models.TokenizerFiles{m.Tokenizer, m.Tokenizer2}[i], p.networks.text[i].config)
		if err != nil {
			return e, &models.InvalidError{Model: m.Name, Err: err}
		}
		if done {
			index["tokenizer"+suffix] = []any{"transformers", "CLIPTokenizer"}
		}
	}
	e.put("model_index.json", nil, index)
	return e, nil
}

// told is the model's own scheduler_config.json with what its owner says in place of what it says.
func told(own []byte, said models.Said, noise sampler.Config) ([]byte, error) {
	if own == nil || said == (models.Said{}) {
		return own, nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(own, &fields); err != nil {
		return nil, fmt.Errorf("scheduler_config.json: %w", err)
	}
	names := []string{"prediction_type", "rescale_betas_zero_snr"}
	if noise.ZeroSNR {
		names = append(names, "timestep_spacing")
	}
	for _, name := range names {
		fields[name], _ = json.Marshal(schedulerJSON(noise)[name]) // a text or a truth
	}
	out, err := json.MarshalIndent(fields, "", "  ")
	return append(out, '\n'), err
}

// put keeps what the model brings, else what was made.
func (e *Export) put(path string, own []byte, made map[string]any) {
	if own == nil {
		own, _ = json.MarshalIndent(made, "", "  ") // of numbers, texts and lists alone
		own = append(own, '\n')
	}
	e.Files[path] = own
}

// tokenizer puts a tokenizer's files: the model's own, else CLIP's; none where the vocabulary is neither.
func (e *Export) tokenizer(dir string, files models.TokenizerFiles, c TextConfig) (done bool, err error) {
	t, err := newTokenizer(files, c)
	if err != nil {
		return false, err
	}
	if files.Vocab == nil {
		if c.Vocabulary != t.Size() {
			return false, nil
		}
		if files.Vocab, files.Merges, err = tokenizer.StandardFiles(); err != nil {
			return false, err
		}
	}
	s := t.Special()
	special := map[string]any{"bos_token": t.Token(s.BOS), "eos_token": t.Token(s.EOS), "unk_token": t.Token(s.EOS), "pad_token": t.Token(s.Pad)}
	config := map[string]any{"tokenizer_class": "CLIPTokenizer", "model_max_length": tokenizer.ChunkLength, "do_lower_case": true,
		"errors": "replace", "add_prefix_space": false}
	maps.Copy(config, special)
	e.Files[dir+"vocab.json"], e.Files[dir+"merges.txt"] = files.Vocab, files.Merges
	e.put(dir+"tokenizer_config.json", files.Config, config)
	e.put(dir+"special_tokens_map.json", nil, special)
	return true, nil
}

// classes are the pipelines of diffusers, by the channels that a UNet reads beyond those it predicts.
var classes = map[bool]map[int]string{
	false: {0: "StableDiffusionPipeline", 5: "StableDiffusionInpaintPipeline", 4: "StableDiffusionInstructPix2PixPipeline"},
	true:  {0: "StableDiffusionXLPipeline", 5: "StableDiffusionXLInpaintPipeline", 4: "StableDiffusionXLInstructPix2PixPipeline"},
}

// index is a model_index.json without tokenizers.
func (p *Pipeline) index(scheduler []byte) map[string]any {
	xl, c := p.networks.unet.config.Added > 0, p.networks.unet.config
	none := []any{nil, nil}
	index := map[string]any{
		"_class_name": classes[xl][c.In-c.Out], "_diffusers_version": diffusersVersion,
		"unet": []any{"diffusers", "UNet2DConditionModel"}, "vae": []any{"diffusers", "AutoencoderKL"},
		"scheduler":    []any{"diffusers", cmp.Or(schedulerClass(scheduler), defaultScheduler)},
		"text_encoder": []any{"transformers", "CLIPTextModel"}, "tokenizer": none,
		"feature_extractor": none, "image_encoder": none,
	}
	if !xl {
		index["safety_checker"], index["requires_safety_checker"] = none, false
		return index
	}
	index["text_encoder_2"], index["tokenizer_2"] = []any{"transformers", "CLIPTextModelWithProjection"}, none
	index["force_zeros_for_empty_prompt"] = true
	return index
}

// metadata says in a single file what its tensors do not.
func (p *Pipeline) metadata(m *models.Model, noise sampler.Config) map[string]string {
	out := map[string]string{}
	for _, key := range []string{"modelspec.title", "modelspec.author", "modelspec.license"} {
		if v, ok := m.Metadata[key]; ok {
			out[key] = v
		}
	}
	out["format"] = "pt" // what other programs look for: tensors as torch has them
	out["modelspec.prediction_type"] = "epsilon"
	if noise.Prediction == sampler.V {
		out["modelspec.prediction_type"] = "v"
	}
	out["modelspec.resolution"] = fmt.Sprintf("%dx%d", p.usual.Width, p.usual.Height)
	if noise.ZeroSNR {
		out["ss_zero_terminal_snr"] = "True"
	}
	return out
}

// alone reports whether the tensors and the metadata of a single file say everything: shapes, schedule and vocabulary.
func (p *Pipeline) alone(m *models.Model, noise sampler.Config) bool {
	bare := &models.Model{UNet: tensorsOf(m.UNet), VAE: tensorsOf(m.VAE), Text: tensorsOf(m.Text), Text2: tensorsOf(m.Text2)}
	n, _, err := readNetworks(bare)
	if err != nil {
		return false
	}
	own := p.networks
	n.unet.config.SampleSize, own.unet.config.SampleSize = 0, 0 // the resolution is in the metadata
	for i, text := range own.text {
		if !reflect.DeepEqual(text.config, n.text[i].config) || m.Tokenizer.Vocab != nil && text.config.Vocabulary != tokenizer.Standard().Size() {
			return false
		}
	}
	usual := sampler.StableDiffusion(noise.Prediction)
	return reflect.DeepEqual(n.unet.config, own.unet.config) && reflect.DeepEqual(n.vae.config, own.vae.config) &&
		noise.TrainedBetas == nil && noise.TrainSteps == usual.TrainSteps && noise.BetaSchedule == usual.BetaSchedule &&
		noise.BetaStart == usual.BetaStart && noise.BetaEnd == usual.BetaEnd && !bytes.Contains(m.Scheduler, []byte("LCM"))
}

func tensorsOf(p *models.Part) *models.Part {
	if p == nil {
		return nil
	}
	return &models.Part{Tensors: p.Tensors}
}
