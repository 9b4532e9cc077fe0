package sampler

import (
	"errors"
	"math"
	"slices"
)

// DPM-Solver (Lu et al. 2022, arXiv 2206.00927) as in k-diffusion: the noise estimate is integrated over −ln sigma by one,
// two or three questions to the network. Both rules here end at the noise of the first training step, not at 0.

// asked are the noise estimates within one step, kept because two orders share them.
type asked struct {
	*step
	x    []float32 // at the start
	from Point
	h    float64   // length of the step
	at   []float32 // noise estimate at the start
	r1   []float32 // at a third or a half of it
}

func (st *step) ask(x []float32, from Point) (*asked, error) {
	a := &asked{step: st, x: x, from: from}
	var err error
	a.at, err = st.noiseAt(x, from)
	return a, err
}

// noiseAt is what the network takes for noise in x.
func (st *step) noiseAt(x []float32, at Point) ([]float32, error) {
	denoised, err := st.denoise(x, at)
	if err != nil {
		return nil, err
	}
	return noiseIn(x, denoised, at), nil
}

// along is x after a share of the step, with weights of the estimates relative to the one at the start.
func (a *asked) along(share float64, extra float64, estimate []float32) []float32 {
	sigma := a.from.Sigma() * math.Exp(-share*a.h)
	euler := sigma * math.Expm1(share*a.h)
	moved := make([]float32, len(a.x))
	for i := range moved {
		v := float64(a.x[i]) - euler*float64(a.at[i])
		if estimate != nil {
			v -= sigma * extra * (float64(estimate[i]) - float64(a.at[i]))
		}
		moved[i] = float32(v)
	}
	return moved
}

// after is the level after a share of the step.
func (a *asked) after(share float64) Point { return a.grid.at(a.from.Sigma() * math.Exp(-share*a.h)) }

// second is the step by two questions, the second at share r.
func (a *asked) second(r float64) ([]float32, error) {
	if a.r1 == nil {
		var err error
		if a.r1, err = a.noiseAt(a.along(r, 0, nil), a.after(r)); err != nil {
			return nil, err
		}
	}
	return a.along(1, math.Expm1(a.h)/(2*r), a.r1), nil
}

// third is the step by three questions, at a third and two thirds.
func (a *asked) third() ([]float32, error) {
	const r1, r2 = 1. / 3, 2. / 3
	if _, err := a.second(r1); err != nil {
		return nil, err
	}
	h2 := r2 * a.h
	between := a.along(r2, r2/r1*(math.Expm1(h2)/h2-1), a.r1)
	last, err := a.noiseAt(between, a.after(r2))
	if err != nil {
		return nil, err
	}
	return a.along(1, (math.Expm1(a.h)/a.h-1)/r2, last), nil
}

// dpmFast is dpm_fast: stretches of order 3, and at the end one or two of a lower order, so that the network is asked as often
// as there are steps. A stretch is done in the first of its steps; the others do nothing.
func dpmFast(st *step, x []float32) error {
	from, to, order := st.grid.stretchAt(st.next)
	if order == 0 {
		return nil
	}
	st.from = from
	a, err := st.ask(slices.Clone(x), from)
	if err != nil {
		return err
	}
	land, up := st.landing(from, to)
	a.h = math.Log(from.Sigma() / land.Sigma())
	moved := x
	switch order {
	case 1:
		moved = a.along(1, 0, nil)
	case 2:
		moved, err = a.second(0.5)
	default:
		moved, err = a.third()
	}
	if err != nil {
		return err
	}
	copy(x, moved)
	return st.addNoise(x, up, to)
}

// stretchAt is the stretch of dpm_fast that a step does, and its order; order 0 if an earlier step did it. All n/3 + 1 of n
// steps are equally long in ln sigma.
func (g *Grid) stretchAt(i int) (from, to Point, order int) {
	n := g.Steps()
	stretch, all := i/3, n/3+1
	switch {
	case n%3 == 0 && i == n-1:
		stretch, order = all-1, 1
	case i%3 != 0:
		return Point{}, Point{}, 0
	case n%3 == 0 && stretch == all-2:
		order = 2
	default:
		order = min(3, n-i)
	}
	ends := linspace(math.Log(g.Points[0].Sigma()), math.Log(g.Points[n].Sigma()), all+1)
	return g.at(math.Exp(ends[stretch])), g.at(math.Exp(ends[stretch+1])), order
}

// landing is split, but not below the last level of the grid.
func (st *step) landing(from, to Point) (land Point, up float64) {
	if st.eta == 0 {
		return to, 0
	}
	end := st.grid.Points[st.grid.Steps()].Sigma()
	ratio := to.Sigma() / from.Sigma()
	up = min(to.Sigma(), st.eta*to.Sigma()*math.Sqrt(max(1-ratio*ratio, 0)))
	down := max(math.Sqrt(to.Sigma()*to.Sigma()-up*up), end)
	return st.grid.at(down), math.Sqrt(max(to.Sigma()*to.Sigma()-down*down, 0))
}

// logGrid has steps of one length in ln sigma, from the first sigma of a schedule to the first training step's.
func (m *Model) logGrid(_ kind, sigmas []float64) *Grid {
	high, low := sigmas[0], m.SigmaMin()
	if low > high/2 {
		low = high / 2
	}
	grid := &Grid{InitScale: high, model: m, space: exploding}
	for _, log := range linspace(math.Log(high), math.Log(low), len(sigmas)) {
		grid.Points = append(grid.Points, grid.at(math.Exp(log)))
	}
	return grid
}

// Numbers that dpm_adaptive remembers.
const (
	adaptivePlace  = iota // −ln sigma
	adaptiveLength        // of the next try
	adaptiveTries
	adaptiveNumbers
)

// What dpm_adaptive allows itself, k-diffusion's defaults. mostTries is ours: no run goes on for ever.
const (
	adaptiveRelative = 0.05
	adaptiveAbsolute = 0.0078
	adaptiveFirst    = 0.05 // length of the first try
	adaptiveSafety   = 0.81
	mostTries        = 2000
)

// dpmAdaptive is dpm_adaptive: orders 2 and 3 side by side, whose difference chooses the length of the next try; a try that
// was too long is done again. How many there are is not known before. A step of the grid is therefore a share of the way: as
// many tries as it takes to pass its end, none where the last try went further. Beside the numbers it remembers the previous
// latent, by which errors are measured.
func dpmAdaptive(st *step, x []float32) error {
	numbers, previous := st.numbers, x
	if st.next > 0 {
		previous = st.history[0]
	} else {
		numbers = make([]float64, adaptiveNumbers)
		numbers[adaptivePlace], numbers[adaptiveLength] = -math.Log(st.from.Sigma()), adaptiveFirst
	}
	try := &adaptive{step: st, x: slices.Clone(x), previous: slices.Clone(previous), numbers: slices.Clone(numbers),
		end: -math.Log(st.grid.Points[st.grid.Steps()].Sigma())}
	goal := -math.Log(st.to.Sigma())
	if st.next == st.grid.Steps()-1 {
		goal -= 1e-5
	}
	for try.numbers[adaptivePlace] < goal {
		if err := try.once(); err != nil {
			return err
		}
	}
	copy(x, try.x)
	st.kept, st.counted = [][]float32{try.previous}, try.numbers
	return nil
}

// adaptive is a run of dpm_adaptive.
type adaptive struct {
	*step
	x, previous []float32
	numbers     []float64
	end         float64 // −ln sigma
}

// once tries a step and takes it if its error is small.
func (a *adaptive) once() error {
	if a.numbers[adaptiveTries]++; a.numbers[adaptiveTries] > mostTries {
		return errors.New("dpm_adaptive finds no step that is short enough: the network's answers are not smooth; choose another sampler")
	}
	place := a.numbers[adaptivePlace]
	next := min(a.end, place+a.numbers[adaptiveLength])
	from, to := a.grid.at(math.Exp(-place)), a.grid.at(math.Exp(-next))
	asked, err := a.ask(a.x, from)
	if err != nil {
		return err
	}
	land, up := a.landing(from, to)
	asked.h = math.Log(from.Sigma() / land.Sigma())
	low, err := asked.second(1. / 3)
	if err != nil {
		return err
	}
	high, err := asked.third()
	if err != nil {
		return err
	}
	if !a.accept(a.difference(low, high)) {
		return nil
	}
	a.previous, a.x, a.numbers[adaptivePlace] = low, high, next
	return a.addNoise(a.x, up, to)
}

// difference of two results, 1 where it is as large as it may be.
func (a *adaptive) difference(low, high []float32) float64 {
	var sum float64
	for i := range low {
		size := max(math.Abs(float64(low[i])), math.Abs(float64(a.previous[i])))
		d := (float64(low[i]) - float64(high[i])) / max(adaptiveAbsolute, adaptiveRelative*size)
		sum += d * d
	}
	return math.Sqrt(sum / float64(len(low)))
}

// accept judges a try and chooses the length of the next one. k-diffusion has a PID controller here, of which only the
// integral part is used.
func (a *adaptive) accept(difference float64) bool {
	order := 3.0
	if a.eta > 0 {
		order = 1.5
	}
	factor := 1 + math.Atan(math.Pow(1/(difference+1e-8), 1/order)-1)
	a.numbers[adaptiveLength] *= factor
	return factor >= adaptiveSafety
}
