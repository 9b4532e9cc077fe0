package sampler

import (
	"errors"
	"fmt"
	"slices"
)

// Denoiser asks the network for the clean latent it sees in x at a noise level. x must not be kept or changed; the result
// belongs to the sampler.
type Denoiser func(x []float32, at Point) ([]float32, error)

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
	if !(s.eta >= 0 && s.eta <= 1) {
		return nil, fmt.Errorf("eta %v: want 0…1", s.eta)
	}
	return s, nil
}

// Step moves x from point i to point i + 1 of the grid, in place. Steps come in order. noise(n) returns n values of unit
// noise, and is called only by samplers that add noise. After an error x is as it was.
func (s *Sampler) Step(i int, x []float32, model Denoiser, noise func(n int) []float32) error {
	if i != s.next || i >= s.grid.Steps() {
		return fmt.Errorf("step %d asked for, the next is %d of %d", i, s.next, s.grid.Steps())
	}
	for _, old := range s.history {
		if len(old) != len(x) {
			return fmt.Errorf("step %d: a latent of %d values after one of %d", i, len(x), len(old))
		}
	}
	st := &step{Sampler: s, from: s.grid.Points[i], to: s.grid.Points[i+1], model: model, noise: noise}
	moved := slices.Clone(x)
	if err := s.kind.rule(st, moved); err != nil {
		return fmt.Errorf("step %d: %w", i, err)
	}
	copy(x, moved)
	s.history = st.kept
	s.next++
	return nil
}

// State is what a sampler remembers between two steps. With the latent it is enough to go on in another process.
type State struct {
	Next    int         `json:"next"`    // the step to do next
	History [][]float32 `json:"history"` // earlier estimates of x0, newest first, each as long as the latent
}

// State returns a copy of the memory.
func (s *Sampler) State() State {
	state := State{Next: s.next}
	for _, old := range s.history {
		state.History = append(state.History, slices.Clone(old))
	}
	return state
}

// Restore continues from a state of a sampler of the same name, grid and tuning.
func (s *Sampler) Restore(state State) error {
	if state.Next < 0 || state.Next > s.grid.Steps() {
		return fmt.Errorf("sampler state: step %d of %d", state.Next, s.grid.Steps())
	}
	if want := min(s.kind.memory, state.Next); len(state.History) != want {
		return fmt.Errorf("sampler state: %d earlier latents, %s has %d before step %d",
			len(state.History), s.kind.info.Name, want, state.Next)
	}
	s.next, s.history = state.Next, nil
	for _, old := range state.History {
		s.history = append(s.history, slices.Clone(old))
	}
	return nil
}

// step is one step under way.
type step struct {
	*Sampler
	from, to Point
	model    Denoiser
	noise    func(n int) []float32
	kept     [][]float32 // the history for the next step
}

// rule moves x from st.from to st.to.
type rule func(st *step, x []float32) error

// denoise asks the network and checks that the answer fits.
func (st *step) denoise(x []float32, at Point) ([]float32, error) {
	denoised, err := st.model(x, at)
	if err == nil && len(denoised) != len(x) {
		err = fmt.Errorf("the network gave %d values for a latent of %d", len(denoised), len(x))
	}
	return denoised, err
}

// remember puts the newest estimate in front of the history and drops what the rule does not need.
func (st *step) remember(denoised []float32) {
	kept := append([][]float32{denoised}, st.history...)
	st.kept = kept[:min(len(kept), st.kind.memory)]
}

// addNoise adds new noise of a deviation to x.
func (st *step) addNoise(x []float32, deviation float64) error {
	if deviation == 0 {
		return nil
	}
	if st.noise == nil {
		return errors.New("this sampler adds noise, but there is no source of noise")
	}
	fresh := st.noise(len(x))
	if len(fresh) != len(x) {
		return fmt.Errorf("the source of noise gave %d values for a latent of %d", len(fresh), len(x))
	}
	for i := range x {
		x[i] = float32(float64(x[i]) + deviation*st.noiseScale*float64(fresh[i]))
	}
	return nil
}
