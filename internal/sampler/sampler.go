package sampler

import (
	"errors"
	"fmt"
	"slices"
)

// Denoiser asks the network for the clean latent it sees in x at a noise level. x must not be kept or changed; the result
// belongs to the sampler.
type Denoiser func(x []float32, at Point) (Estimate, error)

// Estimate is what the network sees in a latent.
type Estimate struct {
	Clean  []float32 // x0
	Uncond []float32 // x0 as seen without the prompt: for samplers that NeedUncond, else unused
}

// Noise gives n values of unit noise for the way between two sigmas. Most sources do not look at the sigmas; those of a
// Brownian motion do (see Brownian).
type Noise func(n int, from, to float64) []float32

// Tuning are numbers that some samplers have. A nil Eta means the sampler's default.
type Tuning struct {
	// Eta is the share of the noise that is made anew in each step: 0 none; 1 as much as in training. Samplers that add no
	// noise ignore it.
	Eta        *float64
	NoiseScale float64 // multiplies new noise (s_noise in k-diffusion); 0 means 1
}

// Sampler moves one latent (or a batch of them, one after the other in a slice) along a grid.
type Sampler struct {
	kind       kind
	grid       *Grid
	eta        float64
	noiseScale float64
	next       int // the step that comes now
	history    [][]float32
	numbers    []float64
}

// New makes a sampler at the start of a grid, which must have been made for the same name.
func New(name Name, grid *Grid, tuning Tuning) (*Sampler, error) {
	kind, err := kindOf(name)
	if err != nil {
		return nil, err
	}
	s := &Sampler{kind: kind, grid: grid, noiseScale: 1}
	if kind.info.Eta != nil {
		s.eta = *kind.info.Eta
		if tuning.Eta != nil {
			s.eta = *tuning.Eta
		}
	}
	if tuning.NoiseScale != 0 {
		s.noiseScale = tuning.NoiseScale
	}
	if e := tuning.Eta; e != nil && !(*e >= 0 && *e <= 1) {
		return nil, fmt.Errorf("eta %v: want 0…1", *e)
	}
	return s, nil
}

// Step moves x from point i to point i + 1 of the grid, in place. Steps come in order. noise is called only by samplers that
// add noise. After an error x is as it was.
func (s *Sampler) Step(i int, x []float32, model Denoiser, noise Noise) error {
	if i != s.next || i >= s.grid.Steps() {
		return fmt.Errorf("step %d asked for, the next is %d of %d", i, s.next, s.grid.Steps())
	}
	for _, old := range s.history {
		if len(old) != len(x) {
			return fmt.Errorf("step %d: a latent of %d values after one of %d", i, len(x), len(old))
		}
	}
	st := &step{Sampler: s, from: s.grid.from(i), to: s.grid.Points[i+1], model: model, noise: noise}
	moved := slices.Clone(x)
	if err := s.kind.rule(st, moved); err != nil {
		return fmt.Errorf("step %d: %w", i, err)
	}
	copy(x, moved)
	s.history, s.numbers = st.kept, st.counted
	s.next++
	return nil
}

// State is what a sampler remembers between two steps. With the latent it is enough to go on in another process.
type State struct {
	Next    int         `json:"next"`              // the step to do next
	History [][]float32 `json:"history"`           // latents and earlier estimates, newest first, each as long as the latent
	Numbers []float64   `json:"numbers,omitempty"` // of samplers that choose their own step
}

// State returns a copy of the memory.
func (s *Sampler) State() State {
	state := State{Next: s.next, Numbers: slices.Clone(s.numbers)}
	for _, old := range s.history {
		state.History = append(state.History, slices.Clone(old))
	}
	return state
}

// MostNoise is how often noise can have been asked for in the steps done, at most.
func (s *Sampler) MostNoise() int {
	if s.kind.numbers > 0 { // chooses its own steps
		return mostTries
	}
	return 2 * s.next
}

// Restore continues from a state of a sampler of the same name, grid and tuning.
func (s *Sampler) Restore(state State) error {
	if state.Next < 0 || state.Next > s.grid.Steps() {
		return fmt.Errorf("sampler state: step %d of %d", state.Next, s.grid.Steps())
	}
	latents, numbers := s.kind.keeps(state.Next)
	if len(state.History) != latents || len(state.Numbers) != numbers {
		return fmt.Errorf("sampler state: %d earlier latents and %d numbers, %s has %d and %d before step %d",
			len(state.History), len(state.Numbers), s.kind.info.Name, latents, numbers, state.Next)
	}
	s.next, s.history, s.numbers = state.Next, nil, slices.Clone(state.Numbers)
	for _, old := range state.History {
		s.history = append(s.history, slices.Clone(old))
	}
	return nil
}

// keeps is what a sampler remembers before a step: latents and numbers.
func (k kind) keeps(next int) (latents, numbers int) {
	if next == 0 {
		return 0, 0
	}
	return k.beside + min(k.memory, next), k.numbers
}

// step is one step under way.
type step struct {
	*Sampler
	from, to Point
	model    Denoiser
	noise    Noise
	kept     [][]float32 // the history for the next step
	counted  []float64   // the numbers for the next step
}

// rule moves x from st.from to st.to.
type rule func(st *step, x []float32) error

// estimate asks the network and checks that the answer fits.
func (st *step) estimate(x []float32, at Point) (Estimate, error) {
	seen, err := st.model(x, at)
	if err == nil && len(seen.Clean) != len(x) {
		err = fmt.Errorf("the network gave %d values for a latent of %d", len(seen.Clean), len(x))
	}
	if err == nil && st.kind.uncond && len(seen.Uncond) != len(x) {
		err = fmt.Errorf("the network gave %d values without the prompt for a latent of %d", len(seen.Uncond), len(x))
	}
	return seen, err
}

// denoise asks the network for the clean latent.
func (st *step) denoise(x []float32, at Point) ([]float32, error) {
	seen, err := st.estimate(x, at)
	return seen.Clean, err
}

// remember puts the newest estimate in front of the history and drops what the rule does not need. Latents beside the
// estimates come first.
func (st *step) remember(estimate []float32, beside ...[]float32) {
	kept := append([][]float32{estimate}, st.estimates()...)
	st.kept = append(beside, kept[:min(len(kept), st.kind.memory)]...)
}

// estimates are those of earlier steps, newest first.
func (st *step) estimates() [][]float32 {
	if len(st.history) == 0 {
		return nil
	}
	return st.history[st.kind.beside:]
}

// addNoise adds new noise of a deviation to x, for the way to a level.
func (st *step) addNoise(x []float32, deviation float64, to Point) error {
	if deviation == 0 {
		return nil
	}
	if st.noise == nil {
		return errors.New("this sampler adds noise, but there is no source of noise")
	}
	fresh := st.noise(len(x), st.from.Sigma(), to.Sigma())
	if len(fresh) != len(x) {
		return fmt.Errorf("the source of noise gave %d values for a latent of %d", len(fresh), len(x))
	}
	for i := range x {
		x[i] = float32(float64(x[i]) + deviation*st.noiseScale*float64(fresh[i]))
	}
	return nil
}
