package sd

import (
	"fmt"
	"maps"
	"slices"

	"waggle/gpu"
	"waggle/internal/nn"
	"waggle/internal/weights"
)

// Limits of what is kept compiled: pictures take a decoder, up to two text encoders and a UNet for each size of batch that
// comes by.
const (
	programLimit = 16
	// activationLimit is the most memory in bytes that the activations of all compiled graphs may keep: beyond it, those
	// used longest ago are given back before a new one is compiled.
	activationLimit = 256 << 20
)

// stock is what a pipeline has on the device: the weights of networks and the activations of compiled programs. A plan
// counts with a stock of its own what drawing does with the real one.
type stock struct {
	budget   int64                    // most bytes at a time; 0 where there is no limit
	programs []stocked                // the one used last at the end
	weights  map[weights.Source]int64 // bytes of each network
}

// stocked is a compiled program.
type stocked struct {
	key         string
	source      weights.Source
	activations int64 // bytes
}

// leaving is what makes room for something new.
type leaving struct {
	programs []string
	weights  []weights.Source
}

// add counts a program that needs so much, and says what leaves for it: programs used longest ago, which cost little to
// make again; then, where the budget asks for it, weights of networks that are not in use.
func (s *stock) add(key string, source weights.Source, need nn.MemoryPlan) (out leaving) {
	drop := func() {
		out.programs = append(out.programs, s.programs[0].key)
		s.programs = s.programs[1:]
	}
	for len(s.programs) > 0 && (len(s.programs) >= programLimit || s.activations()+need.Activations() > activationLimit) {
		drop()
	}
	for len(s.programs) > 0 && s.excess(need) > 0 {
		drop()
	}
	for s.excess(need) > 0 {
		least, ok := s.idle(source, s.excess(need))
		if !ok {
			break
		}
		out.weights = append(out.weights, least)
		delete(s.weights, least)
	}
	if s.excess(need) > 0 && s.weights[source] > 0 { // it was run in another way, with more of its weights
		out.weights = append(out.weights, source)
		delete(s.weights, source)
		need.Missing = need.Weights
	}
	s.programs = append(s.programs, stocked{key, source, need.Activations()})
	s.weights[source] += need.Missing
	return out
}

// excess is by how many bytes the budget is exceeded with so much more.
func (s *stock) excess(need nn.MemoryPlan) int64 {
	if s.budget == 0 {
		return 0
	}
	return s.bytes() + need.Missing + need.Activations() - s.budget
}

// idle is the network whose weights leave for the sake of another: the smallest that is enough, else the largest.
func (s *stock) idle(but weights.Source, enough int64) (best weights.Source, ok bool) {
	for source, bytes := range s.weights {
		if source == but || source == baseOf(but) {
			continue
		}
		had := s.weights[best]
		switch {
		case !ok, bytes >= enough && (had < enough || bytes < had), bytes < enough && bytes > had:
			best, ok = source, true
		}
	}
	return best, ok
}

func (s *stock) activations() (sum int64) {
	for _, p := range s.programs {
		sum += p.activations
	}
	return sum
}

// bytes of everything.
func (s *stock) bytes() int64 {
	sum := s.activations()
	for _, bytes := range s.weights {
		sum += bytes
	}
	return sum
}

// BudgetError refuses a picture that does not fit the budget, whatever is done for it. It is a gpu.ErrOutOfMemory.
type BudgetError struct {
	Need   int64 // bytes of the largest network as it is run where there is room
	Least  int64 // bytes of it with everything done that saves memory
	Budget int64 // bytes there are
}

func (e *BudgetError) Error() string {
	return fmt.Sprintf("%d MB are needed at a time, %d MB at the very least, and the budget is %d MB: a smaller picture may do, or --max-vram %dMB",
		mb(e.Need), mb(e.Least), e.Budget/1e6, mb(e.Least))
}

func (e *BudgetError) Unwrap() error { return gpu.ErrOutOfMemory }

// mb is a number of bytes in MB, rounded up.
func mb(bytes int64) int64 { return (bytes + 999_999) / 1e6 }

// stock is what the pipeline has on the device now.
func (p *Pipeline) stock() *stock {
	s := &stock{budget: p.budget, weights: map[weights.Source]int64{}}
	for _, key := range p.programs.order {
		c := p.programs.values[key]
		s.programs = append(s.programs, stocked{key, c.source, c.activations})
	}
	sources := p.sources()
	for _, set := range p.loras.values {
		sources = slices.AppendSeq(sources, maps.Values(set.changed))
	}
	for _, e := range p.exact {
		sources = append(sources, e)
	}
	for _, source := range sources {
		if bytes := p.compiler.held(source); bytes > 0 {
			s.weights[source] = bytes
		}
	}
	return s
}

// makeRoom gives back what must leave for a program.
func (p *Pipeline) makeRoom(key string, source weights.Source, need nn.MemoryPlan) {
	if changed, ok := source.(nn.Changed); ok && p.budget > 0 { // matrices leave the base, which these have in use
		p.dropPrograms(func(other weights.Source) bool { return other != source && baseOf(other) == changed.Base() })
	}
	out := p.stock().add(key, source, need)
	for _, key := range out.programs {
		p.programs.remove(key)
	}
	for _, source := range out.weights {
		p.compiler.release(source)
	}
}

// baseOf is the source without changes.
func baseOf(source weights.Source) weights.Source {
	if changed, ok := source.(nn.Changed); ok {
		return changed.Base()
	}
	return source
}

// sources of all networks' weights.
func (n Networks) sources() []weights.Source {
	all := []weights.Source{n.unet.tensors, n.vae.tensors}
	for _, text := range n.text {
		all = append(all, text.tensors)
	}
	return slices.Compact(all)
}
