package sd

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"waggle/internal/lora"
	"waggle/internal/models"
	"waggle/internal/prompt"
	"waggle/internal/weights"
)

// LoRA is a change to the model that a request asks for, from a file on the shelf.
type LoRA struct {
	Name       string  // on the shelf, or of LoadOptions.LoRAFiles
	UNet, Text float64 // strengths, of the change to the UNet and to the text encoders
}

// LoRAReport says what a LoRA does to the model.
type LoRAReport struct {
	LoRA
	Hash string // of the file's numbers: the first twelve digits, as other programs write it
	lora.Report
}

const (
	maxLoRAs        = 64
	maxLoRAStrength = 10
	loraSetLimit    = 4 // sets whose weights are kept beside the model's
)

// loraSet is some LoRAs with their strengths, and the networks' weights with their changes.
type loraSet struct {
	key     string // "" for none
	asked   []LoRA
	reports []LoRAReport
	files   []*weights.File
	changed map[weights.Source]weights.Source // by the base's; those that nothing changes are not there
}

// source is a network's weights with the set's changes.
func (s *loraSet) source(base weights.Source) weights.Source {
	if s != nil {
		if changed, ok := s.changed[base]; ok {
			return changed
		}
	}
	return base
}

// keyOf names what a network's programs and results depend on beside the network: the set, where it changes that.
func (s *loraSet) keyOf(base weights.Source) string {
	if s.source(base) == base {
		return ""
	}
	return " " + s.key
}

// close gives the files back.
func (s *loraSet) close() {
	for _, f := range s.files {
		f.Close()
	}
	s.files = nil
}

// LoRAs says what the LoRAs of the drawing do to the model.
func (d *Drawing) LoRAs() []LoRAReport { return d.loras.report() }

// LoRAs says what the LoRAs of a request do to the model, those that its prompt names included.
func (p *Pipeline) LoRAs(r Request) ([]LoRAReport, error) {
	s, err := p.settle(r)
	return s.loras.report(), err
}

func (s *loraSet) report() []LoRAReport {
	if s == nil {
		return nil
	}
	return s.reports
}

// promptLoRAs are the LoRAs that a prompt names: <lora:name:strength> for all, <lora:name:text:unet>, or with te= and unet=.
// Only they can be mixed in by a prompt.
func promptLoRAs(networks []prompt.Network) (all []LoRA, err error) {
	for _, n := range networks {
		if n.Kind != "lora" && n.Kind != "lyco" {
			return nil, fmt.Errorf("the prompt names a network of kind %q: only lora can be mixed in", n.Kind)
		}
		if len(n.Args) == 0 || n.Args[0] == "" {
			return nil, errors.New("the prompt names a LoRA without a name: write <lora:name:1>")
		}
		l := LoRA{Name: n.Args[0], UNet: 1, Text: 1}
		if len(n.Args) > 1 {
			if l.Text, err = strengthOf(l.Name, n.Args[1]); err != nil {
				return nil, err
			}
			l.UNet = l.Text
		}
		if len(n.Args) > 2 {
			if l.UNet, err = strengthOf(l.Name, n.Args[2]); err != nil {
				return nil, err
			}
		}
		for name, into := range map[string]*float64{"te": &l.Text, "unet": &l.UNet} {
			if text, ok := n.Named[name]; ok {
				if *into, err = strengthOf(l.Name, text); err != nil {
					return nil, err
				}
			}
		}
		all = append(all, l)
	}
	return all, nil
}

func strengthOf(name, text string) (float64, error) {
	var v float64
	if n, err := fmt.Sscanf(text+"|", "%g|", &v); n != 1 || err != nil {
		return 0, fmt.Errorf("LoRA %.60q in the prompt: strength %.20q is not a number", name, text)
	}
	return v, nil
}

// checkLoRAs refuses numbers out of bounds.
func checkLoRAs(all []LoRA) error {
	if len(all) > maxLoRAs {
		return fmt.Errorf("%d LoRAs: want at most %d", len(all), maxLoRAs)
	}
	for _, l := range all {
		for _, strength := range []float64{l.UNet, l.Text} {
			if !(math.Abs(strength) <= maxLoRAStrength) {
				return fmt.Errorf("LoRA %.60q: strength %v, want −%d…%d", l.Name, strength, maxLoRAStrength, maxLoRAStrength)
			}
		}
	}
	return nil
}

// loraFile is a LoRA that is there.
type loraFile struct {
	LoRA
	path, hash string
}

// adopt finds the set of some LoRAs, or opens its files and matches them to the model. The same name twice counts with both
// strengths; one without strength is looked for, and changes nothing. Order does not matter.
func (p *Pipeline) adopt(asked []LoRA) (*loraSet, error) {
	if err := checkLoRAs(asked); err != nil {
		return nil, err
	}
	files, err := p.findLoRAs(asked)
	if err != nil || len(files) == 0 {
		return &loraSet{}, err
	}
	var parts []string
	for _, f := range files {
		parts = append(parts, fmt.Sprintf("%s:%s:%v:%v", f.Name, f.hash, f.UNet, f.Text))
	}
	s := &loraSet{key: strings.Join(parts, ","), asked: asked, changed: map[weights.Source]weights.Source{}}
	if known, ok := p.loras.get(s.key); ok {
		return known, nil
	}
	if err := p.openLoRAs(s, files); err != nil {
		s.close()
		return nil, err
	}
	p.loras.put(s.key, s)
	return s, nil
}

// findLoRAs looks LoRAs up, each file once, in the order of their names.
func (p *Pipeline) findLoRAs(asked []LoRA) ([]loraFile, error) {
	byPath := map[string]*loraFile{}
	for _, l := range asked {
		path, name := p.loraFiles[l.Name], l.Name
		if path == "" {
			e, err := p.shelf.Find(models.LoRA, l.Name)
			if err != nil {
				return nil, err
			}
			path, name = e.Path, e.Name
		}
		f := byPath[path]
		if f == nil {
			f = &loraFile{path: path, LoRA: LoRA{Name: name}}
			byPath[path] = f
		}
		f.UNet, f.Text = f.UNet+l.UNet, f.Text+l.Text
	}
	var files []loraFile
	for path, f := range byPath {
		if f.UNet == 0 && f.Text == 0 {
			continue
		}
		var err error
		if f.hash, err = p.hashes.of(path); err != nil {
			return nil, fmt.Errorf("LoRA %q: %w", f.Name, err)
		}
		files = append(files, *f)
	}
	slices.SortFunc(files, func(a, b loraFile) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.path, b.path)) })
	return files, nil
}

// openLoRAs matches files to the model and prepares what they change.
func (p *Pipeline) openLoRAs(s *loraSet, files []loraFile) error {
	var unet, text []lora.Use
	parts := p.networks.loraParts()
	for _, f := range files {
		file, err := weights.Open(f.path)
		if err != nil {
			return err
		}
		s.files = append(s.files, file)
		matched, err := lora.Match(file, parts)
		if err != nil {
			return fmt.Errorf("LoRA %q for model %s: %w", f.Name, p.name, err)
		}
		unet, text = append(unet, lora.Use{LoRA: matched, Strength: f.UNet}), append(text, lora.Use{LoRA: matched, Strength: f.Text})
		s.reports = append(s.reports, LoRAReport{f.LoRA, f.hash, matched.Report})
	}
	for _, part := range parts {
		uses := text
		if part.Kind == lora.UNet {
			uses = unet
		}
		if m := lora.Merge(part.Tensors, part.Kind, uses); m != nil {
			s.changed[part.Tensors] = m
		}
	}
	return nil
}

// dropLoRAs gives back what is kept of a set.
func (p *Pipeline) dropLoRAs(s *loraSet) {
	for _, changed := range s.changed {
		p.forget(changed)
	}
	s.close()
}

// forget gives back what is kept of weights, those in float32 included.
func (p *Pipeline) forget(source weights.Source) {
	used := p.precise(source)
	p.dropPrograms(func(of weights.Source) bool { return of == source || of == used })
	p.compiler.release(used)
	p.compiler.release(source)
	delete(p.exact, source)
}

// live is the set of a drawing whose set may have been dropped for others since.
func (p *Pipeline) live(s *loraSet) (*loraSet, error) {
	if s == nil || s.key == "" {
		return s, nil
	}
	if kept, ok := p.loras.get(s.key); ok {
		return kept, nil
	}
	again, err := p.adopt(s.asked)
	if err == nil && again.key != s.key {
		err = errors.New("a LoRA's file is not what it was when the picture was begun")
	}
	return again, err
}

// dropPrograms closes compiled graphs by their weights.
func (p *Pipeline) dropPrograms(of func(weights.Source) bool) {
	for _, key := range slices.Clone(p.programs.order) {
		if of(p.programs.values[key].source) {
			p.programs.remove(key)
		}
	}
}

// term is what a checkpoint says of the set.
func (s *loraSet) term() []Term {
	if s == nil || s.key == "" {
		return nil
	}
	return []Term{{"LoRAs", s.key}}
}
