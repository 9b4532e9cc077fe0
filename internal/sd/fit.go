package sd

import (
	"waggle/internal/nn"
	"waggle/internal/weights"
)

// part is a network as a picture needs it.
type part struct {
	name   string
	phase  string // of a picture, in which it is used
	source weights.Source
	rows   int                      // of its batch, which are independent of each other
	graph  func(rows int) *nn.Graph // for so many of them
	bands  bool                     // its large values can lie in the host's memory
}

// way is how a network is run: what is done so that it fits, and what it then needs. Results are the same to the last bit.
type way struct {
	graph  *nn.Graph
	runs   int // of the graph, one after another, for the whole batch
	saving nn.Saving
	need   nn.MemoryPlan
}

// cost is what a way uploads, in bytes: what is brought again whenever it is run.
func (w way) cost() int64 { return int64(w.runs) * w.need.Streamed }

// Bands of values in the host's memory, in bytes: as large as there is room for.
const (
	largestBand  = 64 << 20
	smallestBand = 64 << 10
)

// fit finds the cheapest way to run a network within the budget: as a whole; a part of the batch at a time; with large values
// in the host's memory; with weights that are uploaded again in every run.
func (p *Pipeline) fit(n part) (way, error) {
	var ways []way
	for w, err := range p.ways(n) {
		if err != nil {
			return way{}, err
		}
		if p.budget == 0 || w.need.Total() <= p.budget {
			return w, nil
		}
		ways = append(ways, w)
	}
	return p.streamed(n, ways)
}

// ways to run a network with all its weights there, the cheapest first.
func (p *Pipeline) ways(n part) func(yield func(way, error) bool) {
	return func(yield func(way, error) bool) {
		for runs := 1; runs <= n.rows; runs++ {
			if n.rows%runs == 0 && !yield(p.plan(n, way{runs: runs})) {
				return
			}
		}
		for band := largestBand; n.bands && band >= smallestBand; band /= 2 {
			if !yield(p.plan(n, way{runs: n.rows, saving: nn.Saving{Band: band}})) {
				return
			}
		}
	}
}

func (p *Pipeline) plan(n part, w way) (way, error) {
	var err error
	w.graph = n.graph(n.rows / w.runs).Save(w.saving)
	w.need, err = p.compiler.plan(w.graph, p.precise(n.source))
	return w, err
}

// streamed is the one of the ways that uploads least when only those weights stay for which there is room.
func (p *Pipeline) streamed(n part, ways []way) (best way, err error) {
	refused := &BudgetError{Need: ways[0].need.Total(), Least: ways[0].need.Total(), Budget: p.budget}
	for _, w := range ways {
		least := w.need.LeastWeights + w.need.Activations()
		if refused.Least = min(refused.Least, least); least > p.budget {
			continue
		}
		w.saving.Weights = p.budget - w.need.Activations()
		if w, err = p.plan(n, w); err != nil {
			return way{}, err
		}
		if best.graph == nil || w.cost() < best.cost() {
			best = w
		}
	}
	if best.graph == nil {
		return way{}, refused
	}
	return best, nil
}
