package sd

import (
	"crypto/sha256"
	"fmt"
	"io"
	"strconv"
	"strings"

	"waggle/internal/sampler"
	"waggle/internal/weights"
)

// Term is one thing that a picture depends on: a value for people, or "#" and a key of what is too long to be kept.
type Term struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// terms are what a picture depends on, apart from the adapter.
func (p *Pipeline) terms(s settings) ([]Term, error) {
	guides, err := p.read(s)
	if err != nil {
		return nil, err
	}
	negative := "unused"
	if s.passes > 1 {
		negative, guides = guidesKey(guides[:1]), guides[1:]
	}
	eta := "the sampler's own"
	if s.Eta != nil {
		eta = decimal(*s.Eta)
	}
	guidance := decimal(s.Guidance)
	if s.GuidanceRescale != 0 {
		guidance += ", rescaled by " + decimal(s.GuidanceRescale)
	}
	decoder, err := p.decoderTerm(s.VAE)
	if err != nil {
		return nil, err
	}
	return append([]Term{
		{"model", p.name}, {"set of weights", p.weightsKey()}, {"prompt", guidesKey(guides)}, {"negative prompt", negative},
		{"clip skip", strconv.Itoa(s.ClipSkip)}, {"guidance", guidance}, {"seed", strconv.FormatUint(s.Seed, 10)},
		{"width", strconv.Itoa(s.Width)}, {"height", strconv.Itoa(s.Height)}, {"steps", strconv.Itoa(s.grid.Steps())},
		{"sampler", string(s.rule)}, {"eta", eta}, {"noise schedule", gridKey(s.grid)}, {"dialect", s.dialect.Name}, {"noise of steps", s.noiseOfSteps()},
		{"precision", precision},
	}, append(s.loras.term(), decoder...)...), nil
}

// noiseOfSteps is the kind of noise that a sampler is given.
func (s settings) noiseOfSteps() string {
	if sampler.Brownian(s.rule) && s.dialect.Brownian != "" {
		return "brownian " + string(s.dialect.Brownian)
	}
	return string(s.dialect.Steps)
}

func decimal(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

// differences names the terms that are not the same.
func differences(old, now []Term) (differ []string) {
	for i := range max(len(old), len(now)) {
		switch {
		case i >= len(old) || i >= len(now) || old[i].Name != now[i].Name:
			return append(differ, "it tells of other things than this program would")
		case old[i].Value == now[i].Value:
		case strings.HasPrefix(now[i].Value, "#"):
			differ = append(differ, "another "+now[i].Name)
		default:
			differ = append(differ, fmt.Sprintf("%s %.60q, not %.60q", now[i].Name, old[i].Value, now[i].Value))
		}
	}
	return differ
}

// key shortens what a function writes.
func key(write func(w io.Writer)) string {
	h := sha256.New()
	write(h)
	return fmt.Sprintf("#%x", h.Sum(nil)[:16])
}

// guidesKey is of what the text encoders read, and of when and how much of it counts.
func guidesKey(guides []guide) string {
	return key(func(w io.Writer) {
		for _, g := range guides {
			fmt.Fprint(w, g.weight, g.phases, g.texts)
		}
	})
}

// gridKey is of noise levels to six digits: processors may differ in the last.
func gridKey(g *sampler.Grid) string {
	return key(func(w io.Writer) { fmt.Fprintf(w, "%.6g %.6g", g.InitScale, g.Points) })
}

// weightsKey tells models of the same name apart: shapes, and a little of every tensor.
func (p *Pipeline) weightsKey() string {
	if p.weights == "" {
		p.weights = key(func(w io.Writer) {
			for _, text := range p.networks.text {
				describe(w, text)
			}
			describe(w, p.networks.unet)
			describe(w, p.networks.vae)
			fmt.Fprint(w, p.model.Config())
		})
	}
	return p.weights
}

// sampleBytes of every tensor, out of its middle, are enough: training changes all of it, and merging most.
const sampleBytes = 64

func describe[C any](w io.Writer, n network[C]) {
	fmt.Fprintf(w, "%+v", n.config)
	if _, madeUp := n.tensors.(interface{ Declare(string, ...int) }); madeUp {
		return // random weights for measurements: their names come as they are asked for
	}
	for _, name := range n.tensors.Names() {
		if t, ok := n.tensors.Tensor(name); ok {
			fmt.Fprint(w, name, t.DType, t.Shape)
			w.Write(middle(t))
		}
	}
}

func middle(t weights.Tensor) []byte {
	from := max(0, (len(t.Data)-sampleBytes)/2)
	return t.Data[from:min(from+sampleBytes, len(t.Data))]
}
