package models

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"waggle/internal/weights"
)

// Rest is what a file holds beside networks.
type Rest struct {
	Marks      []string // tensors that say something by being there: v_pred, ztsnr …
	Unexpected []string // tensors of which nothing is known, sorted
	Ignored    int      // tensors that no picture needs: averages, tables of the schedule
}

// networkLimit bounds the networks of a file; SDXL has four.
const networkLimit = 8

// pieces are the networks of a file, or of several.
type pieces struct {
	unet, vae *Part
	texts     []textPiece
	rest      Rest
	metadata  map[string]string
}

// textPiece is a text encoder that has no place yet.
type textPiece struct {
	*Part
	openCLIP bool
}

// split finds the networks in a file.
func split(file *weights.File) (p pieces, err error) {
	src := weights.Source(file)
	found := places(src)
	if !slices.ContainsFunc(found, func(f place) bool { return f.part == unetFolder }) {
		if restored, ok := flatAverage(src); ok {
			src, found = restored, places(restored)
		}
	}
	if len(found) > networkLimit {
		return p, fmt.Errorf("holds %d networks; use a file of one model", len(found))
	}
	p.metadata = file.Metadata()
	groups := make([][]weights.Tensor, len(found))
	for _, name := range src.Names() {
		at := owner(found, name)
		switch {
		case slices.Contains(marks, name):
			p.rest.Marks = append(p.rest.Marks, name)
		case idle(name) && (at < 0 || !found[at].average()):
			p.rest.Ignored++
		case at < 0:
			p.rest.Unexpected = append(p.rest.Unexpected, name)
		default:
			t, _ := src.Tensor(name)
			t.Name = strings.TrimPrefix(name, found[at].prefix)
			groups[at] = append(groups[at], t)
		}
	}
	for i, f := range found {
		if err := p.add(f, groups[i]); err != nil {
			return p, err
		}
	}
	return p, nil
}

// owner is the place with the longest prefix that a tensor is under, -1 for none.
func owner(found []place, name string) int {
	best := -1
	for i, p := range found {
		if strings.HasPrefix(name, p.prefix) && (best < 0 || len(p.prefix) > len(found[best].prefix)) {
			best = i
		}
	}
	return best
}

// add takes one network in.
func (p *pieces) add(at place, tensors []weights.Tensor) error {
	set, err := weights.NewSet(tensors)
	if err == nil {
		set, err = at.canonical(set)
	}
	if err != nil {
		return fmt.Errorf("%s%w", at.prefix, err)
	}
	part := &Part{Tensors: set}
	switch {
	case at.part == textFolder:
		p.texts = append(p.texts, textPiece{part, at.openCLIP})
	case at.part == vaeFolder && p.vae == nil:
		p.vae = part
	case at.part == unetFolder && p.unet == nil:
		p.unet = part
	default:
		return fmt.Errorf("holds two networks of the kind %s, the second under %s; use a file with one", at.part, strconv.Quote(at.prefix))
	}
	return nil
}

// marks are empty tensors that say something of the model by being there, as ComfyUI and NoobAI write them, and those of
// networks that are not run.
var marks = []string{"v_pred", "ztsnr", "edm_mean", "edm_std", "edm_vpred.sigma_max", "edm_vpred.sigma_min"}

// idleNames are the buffers of the original program's diffusion class: tables of the schedule, and what it counts.
var idleNames = []string{
	"betas", "alphas_cumprod", "alphas_cumprod_prev", "sqrt_alphas_cumprod", "sqrt_one_minus_alphas_cumprod",
	"log_one_minus_alphas_cumprod", "sqrt_recip_alphas_cumprod", "sqrt_recipm1_alphas_cumprod", "posterior_variance",
	"posterior_log_variance_clipped", "posterior_mean_coef1", "posterior_mean_coef2", "lvlb_weights", "logvar", "scale_factor",
	"denoiser.sigmas", "global_step", "epoch",
}

// idle reports a tensor that no network needs.
func idle(name string) bool {
	_, plain := cutPrefixes(name, "state_dict.", "model.")
	return slices.Contains(idleNames, plain) || strings.HasPrefix(name, "model_ema.") || strings.HasPrefix(name, "first_stage_model.loss.") ||
		strings.HasSuffix(name, ".position_ids") || name == "position_ids" || strings.HasSuffix(name, "logit_scale")
}

// cutPrefixes takes each of the prefixes off once, as far as they are there.
func cutPrefixes(name string, prefixes ...string) (cut bool, rest string) {
	for _, p := range prefixes {
		if after, ok := strings.CutPrefix(name, p); ok {
			name, cut = after, true
		}
	}
	return cut, name
}

// assemble gives every network its place in the model, and says what is missing.
func (m *Model) assemble(p pieces) error {
	m.UNet, m.VAE, m.Rest, m.Metadata = p.unet, p.vae, p.rest, p.metadata
	xl := m.UNet == nil || has(m.UNet.Tensors, "label_emb.0.0.weight") // a UNet alone tells how many it takes
	texts := slices.Clone(p.texts)
	slices.SortStableFunc(texts, func(a, b textPiece) int { return a.rank() - b.rank() })
	switch {
	case len(texts) > 2 || len(texts) == 2 && !xl:
		return fmt.Errorf("has %d text encoders, and the UNet takes %d", len(texts), map[bool]int{true: 2, false: 1}[xl])
	case len(texts) == 2:
		m.Text, m.Text2 = texts[0].Part, texts[1].Part
	case len(texts) == 1:
		m.Text = texts[0].Part
	}
	if !xl && m.Text != nil && texts[0].openCLIP {
		var err error
		m.Text.Tensors, err = withoutLastLayer(m.Text.Tensors)
		return err
	}
	return nil
}

// rank orders the text encoders of SDXL: the narrower one comes first, of equals that without a projection.
func (t textPiece) rank() int {
	width := 2 * min(extent(t.Tensors, "text_model.embeddings.token_embedding.weight", 1), 1<<20)
	if has(t.Tensors, "text_projection.weight") {
		width++
	}
	return width
}

// withoutLastLayer leaves out the last layer of an OpenCLIP text encoder and the projection behind it, which only that layer
// feeds: Stable Diffusion 2 is conditioned on the layer before, and diffusers folders of such models lack the last. So both
// have one meaning: last layer, final norm.
func withoutLastLayer(src weights.Source) (*weights.Set, error) {
	last := -1
	for _, name := range src.Names() {
		last = max(last, layerOf(name))
	}
	return weights.Rename(src, func(name string) (string, bool) {
		return name, name != "text_projection.weight" && (last < 1 || layerOf(name) != last)
	})
}

// layerOf is the number of the layer a text tensor belongs to, -1 for none.
func layerOf(name string) int {
	rest, ok := strings.CutPrefix(name, "text_model.encoder.layers.")
	if !ok {
		return -1
	}
	number, _, _ := strings.Cut(rest, ".")
	n, err := strconv.ParseUint(number, 10, 16)
	if err != nil {
		return -1
	}
	return int(n)
}

// sample shows what a file holds when it is not what was expected.
func sample(names []string) string {
	if len(names) == 0 {
		return "no tensors at all"
	}
	shown := slices.Clone(names[:min(len(names), 3)])
	for i := range shown {
		shown[i] = strconv.Quote(clip(shown[i]))
	}
	return fmt.Sprintf("%d tensors, such as %s", len(names), strings.Join(shown, ", "))
}

// withoutUNet says what a file without a UNet holds.
func (m *Model) withoutUNet() error {
	what := "nothing that is known"
	switch {
	case m.VAE != nil && m.Text != nil:
		what = "a VAE and a text encoder alone, which --vae and --clip lend to a model"
	case m.VAE != nil:
		what = "a VAE alone, which --vae lends to a model"
	case m.Text != nil:
		what = "a text encoder alone, which --clip lends to a model"
	}
	var names []string
	for _, f := range m.files {
		names = append(names, f.Names()...)
	}
	return fmt.Errorf("holds no UNet but %s; it has %s", what, sample(names))
}
