package sd

import (
	"fmt"

	"waggle/internal/nn"
)

// Plan is what a picture needs on the device, part by part, in the order of use.
type Plan struct {
	Parts []PartPlan `json:"parts"`
}

// PartPlan is the need of one network.
type PartPlan struct {
	Name string `json:"name"`
	nn.MemoryPlan
}

// Total is the most that is on the device at a time, in bytes: all weights, and activations until they pass the limit at
// which other parts' are given back.
func (p Plan) Total() int64 {
	weights, kept, largest := int64(0), int64(0), int64(0)
	for _, part := range p.Parts {
		weights += part.Weights
		if kept += part.Activations(); kept > activationLimit {
			kept = part.Activations()
		}
		largest = max(largest, kept)
	}
	return weights + largest
}

// Flops counts the floating-point operations of a picture of so many steps: products and attention only.
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
	shape, err := p.shape(s)
	if err != nil {
		return Plan{}, err
	}
	if batch < 1 {
		return Plan{}, fmt.Errorf("a batch of %d: want 1 or more", batch)
	}
	var plan Plan
	add := func(name string, g *nn.Graph) {
		if err != nil {
			return
		}
		part := PartPlan{Name: name}
		if part.MemoryPlan, err = p.compiler.plan(g); err != nil {
			err = fmt.Errorf("%s: %w", name, err)
		}
		plan.Parts = append(plan.Parts, part)
	}
	for i, text := range p.networks.text {
		add(fmt.Sprintf("text encoder %d", i+1), textGraph(text, text.config.skip(s.ClipSkip)))
	}
	add("unet", unetGraph(p.networks.unet, s.passes, s.height, s.width, shape.Tokens))
	add("decoder", decodeGraph(p.networks.vae, s.height, s.width))
	return plan, err
}
