// Package lora reads LoRA files and their kin and says what they change in a model's weights.
//
// A LoRA is a file of small matrices, each named after a weight of the model it was trained on, in the spelling of the
// program that trained it. [Match] goes the forward way: for each weight of the model it makes every spelling that is in use
// and looks it up. What is found and fits is a change; what is left over is counted.
//
// Kinds of changes (formulas at their types): products of low rank, Tucker products, LoHa, LoKr, full differences of weights,
// biases and norms, each of them also with the magnitudes of DoRA. [Merge] adds changes of several files to a network's
// weights. All changes are of the weights as they lie in the model's file, so that their order does not matter.
//
// Files are foreign: shapes are checked against the model before a number is computed, and what a change costs in memory is
// bounded by the weight that it changes.
package lora

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"waggle/internal/weights"
)

// Part of a model that may be changed.
type Part struct {
	Kind    Kind
	Tensors weights.Source // under canonical names
	Names   *weights.Names // of a UNet: how diffusers calls them
}

// Kind of a part.
type Kind int

const (
	UNet  Kind = iota
	Text       // the first text encoder, or the only one
	Text2      // the second of SDXL
	kinds
)

// LoRA is what a file changes in a model.
type LoRA struct {
	Report  Report
	changes [kinds]map[string]change // by the canonical name of the tensor
}

// Report counts the modules of a file: groups of tensors that change one layer.
type Report struct {
	Matched   int `json:"matched"`   // modules that change a layer of the model
	Unmatched int `json:"unmatched"` // modules whose name or kind is of no layer of the model
	Misshapen int `json:"misshapen"` // modules of a layer whose shape is another
	// Names of some of those that were left out, as in the file.
	LeftOut []string `json:"left_out,omitempty"`
}

const (
	maxLeftOut   = 8       // names in a report
	maxNameBytes = 100     // of each
	maxRank      = 4096    // the greatest in use are a few hundred
	maxTensors   = 200_000 // of a file; SDXL in full has about 20 000
)

// String is one line for people.
func (r Report) String() string {
	s := fmt.Sprintf("%d modules matched, %d unmatched, %d misshapen", r.Matched, r.Unmatched, r.Misshapen)
	if len(r.LeftOut) > 0 {
		s += " (" + strings.Join(r.LeftOut, ", ")
		if more := r.Unmatched + r.Misshapen - len(r.LeftOut); more > 0 {
			s += fmt.Sprintf(" and %d more", more)
		}
		s += ")"
	}
	return s
}

// ErrForeign is in the error of a file that changes nothing in the model.
var ErrForeign = errors.New("the LoRA does not fit the model")

// Match finds what file changes in the parts of a model. A file that changes nothing there, or nothing of the UNet although
// it is for one, is ErrForeign with what it looks made for; one with NaN or infinity is an error too.
func Match(file weights.Source, parts []Part) (*LoRA, error) {
	if n := len(file.Names()); n == 0 || n > maxTensors {
		return nil, fmt.Errorf("%d tensors: want 1…%d", n, maxTensors)
	}
	if err := weights.CheckFinite(file); err != nil {
		return nil, err
	}
	r := &reader{file: file, used: map[string]bool{}, alphas: readAlphas(file)}
	l := &LoRA{}
	for _, p := range parts {
		l.changes[p.Kind] = r.part(p)
	}
	l.Report = r.report()
	if l.foreign() {
		return nil, fmt.Errorf("%w: it looks made for %s; %v", ErrForeign, MadeFor(file), l.Report)
	}
	return l, nil
}

// foreign reports a file that cannot do what it was made for.
func (l *LoRA) foreign() bool {
	left := l.Report.Unmatched + l.Report.Misshapen
	return l.Report.Matched == 0 || len(l.changes[UNet]) == 0 && left >= l.Report.Matched
}

// Changes reports whether anything of a part is changed.
func (l *LoRA) Changes(k Kind) bool { return len(l.changes[k]) > 0 }

// reader looks up modules in a file.
type reader struct {
	file      weights.Source
	used      map[string]bool // tensors that belong to a module of the model
	alphas    alphas
	matched   int
	misshapen []string
}

// part finds the changes of one part, by tensor.
func (r *reader) part(p Part) map[string]change {
	changes := map[string]change{}
	for _, name := range p.Tensors.Names() {
		module, ok := strings.CutSuffix(name, ".weight")
		if !ok {
			continue
		}
		weight, _ := p.Tensors.Tensor(name)
		bias, hasBias := p.Tensors.Tensor(module + ".bias")
		target := target{weight: weight.Shape}
		if hasBias {
			target.bias = bias.Shape
		}
		for _, stem := range p.stems(module) {
			r.module(stem, module, target, changes)
		}
	}
	return changes
}

// module adds the changes under one stem of the file to those of a layer; a layer is changed by the first stem that fits.
func (r *reader) module(stem, module string, t target, changes map[string]change) {
	weight, bias, found, err := r.read(stem, t)
	if err == nil && found {
		if _, twice := changes[module+".weight"]; twice && weight != nil {
			err = errors.New("the layer is there under another spelling")
		}
	}
	switch {
	case !found:
	case err != nil:
		r.misshapen = append(r.misshapen, clip(stem)+": "+err.Error())
	default:
		r.matched++
		if weight != nil {
			changes[module+".weight"] = weight
		}
		if bias != nil {
			changes[module+".bias"] = bias
		}
	}
}

// report counts what was read and what is left over.
func (r *reader) report() Report {
	rest := map[string]bool{}
	var names []string
	for _, name := range r.file.Names() {
		if stem := stemOf(name); !r.used[name] && !rest[stem] {
			rest[stem] = true
			names = append(names, clip(stem))
		}
	}
	left := append(slices.Clone(r.misshapen), names...)
	return Report{Matched: r.matched, Unmatched: len(names), Misshapen: len(r.misshapen), LeftOut: left[:min(len(left), maxLeftOut)]}
}

// clip keeps a name of kilobytes out of a report.
func clip(name string) string {
	if len(name) > maxNameBytes {
		return strings.ToValidUTF8(name[:maxNameBytes], "") + "…"
	}
	return name
}
