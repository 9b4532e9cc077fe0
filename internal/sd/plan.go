package sd

import (
	"fmt"

	"waggle/internal/nn"
)

// Plan is what pictures drawn together need on the device, part by part, in the order of use.
type Plan struct {
	Parts []PartPlan `json:"parts"`
	// SmallerBatches is the memory in bytes of the programs for fewer pictures than all: they come into use as pictures end,
	// or when some samplers ask the network twice a step. 0 for one picture.
	SmallerBatches int64 `json:"smaller_batches,omitempty"`
}

// PartPlan is the need of one network.
type PartPlan struct {
	Name string `json:"name"`
	nn.MemoryPlan
}

// Total is the most that is on the device at a time, in bytes: all weights, and activations up to the limit at which those of
// other programs are given back.
func (p Plan) Total() int64 {
	weights, together, largest := int64(0), p.SmallerBatches, int64(0)
	for _, part := range p.Parts {
		weights += part.Weights
		together += part.Activations()
		largest = max(largest, part.Activations())
	}
	return weights + min(together, max(activationLimit, largest))
}

// Flops counts the floating-point operations of a picture of so many steps, in a plan for one: products and attention only.
func (p Plan) Flops(steps int) int64 {
	total := int64(0)
	for _, part := range p.Parts {
		total += part.JobFlops + int64(steps)*part.StepFlops
	}
	return total
}

// Plan computes what drawing so many pictures of the request's shape together would allocate, without allocating anything.
func (p *Pipeline) Plan(r Request, batch int) (Plan, error) {
	s, err := p.settle(r)
	if err != nil {
		return Plan{}, err
	}
	if batch < 1 {
		return Plan{}, fmt.Errorf("a batch of %d: want 1 or more", batch)
	}
	shape, err := p.shape(s)
	if err != nil {
		return Plan{}, err
	}
	var plan Plan
	for _, n := range p.parts(s, shape, batch) {
		need, err := p.compiler.plan(n.graph)
		if err != nil {
			return Plan{}, fmt.Errorf("%s: %w", n.name, err)
		}
		plan.Parts = append(plan.Parts, PartPlan{n.name, need})
	}
	plan.SmallerBatches, err = p.smallerBatches(shape, batch)
	return plan, err
}

// part is a network of a plan.
type part struct {
	name  string
	graph *nn.Graph
}

func (p *Pipeline) parts(s settings, shape Shape, batch int) (parts []part) {
	for i, text := range p.networks.text {
		parts = append(parts, part{fmt.Sprintf("text encoder %d", i+1), textGraph(text, text.config.skip(s.ClipSkip))})
	}
	return append(parts, part{"unet", p.unetGraph(shape, batch)}, part{"decoder", decodeGraph(p.networks.vae, s.height, s.width)})
}

// smallerBatches is the memory of the programs for 1 to batch-1 drawings, as far as they are kept at a time.
func (p *Pipeline) smallerBatches(s Shape, batch int) (bytes int64, err error) {
	for n := batch - 1; n > 0 && bytes < activationLimit; n-- {
		need, err := p.compiler.plan(p.unetGraph(s, n))
		if err != nil {
			return 0, fmt.Errorf("unet: %w", err)
		}
		bytes += need.Activations()
	}
	return bytes, nil
}
