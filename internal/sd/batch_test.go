package sd

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"waggle/internal/nn"
	"waggle/internal/sampler"
)

// guest is a picture that is drawn beside others.
type guest struct {
	Request
	joins int // the round before which it is begun
	rests int // after so many steps it leaves, and comes back two rounds later from its checkpoint; 0: it stays
	gone  int // after so many steps it leaves for good; 0: it is finished
}

// party draws guests together, each from its own round on, and returns their pictures; those that leave for good have none.
// It counts the largest batch.
func party(t *testing.T, p *Pipeline, begin func(Request) *Drawing, guests []guest) (pictures [][]uint8, largest int) {
	t.Helper()
	pictures = make([][]uint8, len(guests))
	present := make([]*Drawing, len(guests))
	for round, left := 0, len(guests); left > 0; round++ {
		var batch []*Drawing
		for i := range guests {
			if guests[i].joins == round {
				present[i] = begin(guests[i].Request)
			}
			if present[i] != nil {
				batch = append(batch, present[i])
			}
		}
		largest = max(largest, len(batch))
		step(t, p, batch...)
		for i, d := range present {
			switch g := &guests[i]; {
			case d == nil:
			case d.Done():
				pictures[i] = finish(t, p, d)
				present[i], left = nil, left-1
			case d.StepsDone() == g.gone:
				present[i], left = nil, left-1
			case d.StepsDone() == g.rests && g.From == nil:
				c, err := d.Checkpoint()
				if err != nil {
					t.Fatal(err)
				}
				g.From, g.joins, present[i] = copied(t, c), round+2, nil
			}
		}
	}
	return pictures, largest
}

// everySampler is a guest for each sampler, with prompts, guidance, seeds and numbers of steps of their own.
func everySampler(base Request) (guests []guest) {
	colours := []string{"red", "green", "blue", "yellow"}
	for i, info := range sampler.Samplers() {
		if base.Guidance == 1 && sampler.NeedsUncond(info.Name) {
			continue // asks for another number of passes
		}
		r := base
		r.Prompt = fmt.Sprintf("a %s circle on a %s background", colours[i%4], colours[(i+1)%4])
		r.Negative = colours[(i+2)%4]
		r.Sampler, r.Seed, r.Steps = string(info.Name), uint64(i), 2+i%3
		if r.Guidance != 1 {
			r.Guidance = 3 + float64(i)/2
		}
		guests = append(guests, guest{Request: r, joins: i / 4})
	}
	guests[3].rests, guests[7].rests, guests[11].rests = 1, 2, 1
	gone := guests[5]
	gone.Steps, gone.gone = 4, 2
	return append(guests, gone)
}

// some are a third of the guests, those among them that rest or go.
func some(guests []guest) (fewer []guest) {
	for i, g := range guests {
		if i%3 == 0 || g.rests > 0 || g.gone > 0 {
			fewer = append(fewer, g)
		}
	}
	return fewer
}

// checkParty compares every picture of a party with the one drawn alone by another pipeline.
func checkParty(t *testing.T, p, alone *Pipeline, guests []guest) {
	t.Helper()
	pictures, largest := party(t, p, func(r Request) *Drawing { return begin(t, p, r) }, slices.Clone(guests))
	t.Logf("up to %d pictures in a batch", largest)
	for i, g := range guests {
		if g.gone > 0 {
			continue
		}
		want, err := alone.Generate(context.Background(), g.Request, nil)
		if err != nil || !slices.Equal(pictures[i], want.Pix) {
			t.Errorf("picture %d, %s: not the one drawn alone; error %v", i, g.Sampler, err)
		}
	}
}

// TestBatch: a picture does not depend on what is drawn beside it: with all samplers, joined, left and taken up again at
// different times, every picture is to the last bit the one drawn alone.
func TestBatch(t *testing.T) {
	guests := everySampler(Request{Width: 64, Height: 64, Guidance: 1})
	if testing.Short() {
		guests = append(guests[:5], guests[10:]...)
	}
	checkParty(t, tinyPipeline(t, plainGo{}), tinyPipeline(t, plainGo{}), guests)
}

func TestBatchGPU(t *testing.T) {
	gpu := func() compiler { return testGPU(t, testDevice(t), nn.Options{}) }
	p, alone := tinyPipeline(t, gpu()), tinyPipeline(t, gpu())
	for name, guests := range map[string][]guest{
		"guidance":      everySampler(Request{Width: 64, Height: 64}),
		"no guidance":   some(everySampler(Request{Width: 64, Height: 64, Guidance: 1})),
		"odd size":      some(everySampler(Request{Width: 72, Height: 104})),
		"other dialect": some(everySampler(Request{Width: 64, Height: 64, Dialect: "comfy"})),
	} {
		t.Run(name, func(t *testing.T) { checkParty(t, p, alone, guests) })
	}
	t.Run("long prompts", func(t *testing.T) {
		guests := some(everySampler(Request{Width: 64, Height: 64}))
		for i := range guests {
			guests[i].Prompt = strings.Repeat(guests[i].Prompt+" ", 10)
		}
		checkParty(t, p, alone, guests)
	})
}

// TestBatchFamilies: the same with the kernels of every family, in batches whose sizes choose other kernels.
func TestBatchFamilies(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: only the family that suits the adapter is run, in TestBatchGPU")
	}
	d := testDevice(t)
	for _, family := range nn.Families {
		t.Run(string(family), func(t *testing.T) {
			if c, err := nn.NewRuntime(d, nn.Options{Family: family}); err != nil {
				t.Skip(err)
			} else {
				c.Close()
			}
			gpu := func() compiler { return testGPU(t, d, nn.Options{Family: family}) }
			checkParty(t, tinyPipeline(t, gpu()), tinyPipeline(t, gpu()), some(everySampler(Request{Width: 64, Height: 64})))
		})
	}
}

// TestBatchModels: networks of the shapes of SD 1, 2 and XL, whose tokenizers are not there: prompts are random states, and
// nobody takes a rest, as checkpoints tell of prompts.
func TestBatchModels(t *testing.T) {
	for _, model := range []string{"sd1", "sd2", "sdxl"} {
		t.Run(model, func(t *testing.T) {
			d := testDevice(t)
			p, err := newPipeline(testGPU(t, d, nn.Options{}), openGolden(t, model, "file"))
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			begin := func(r Request) *Drawing { return beginWithRandomPrompts(t, p, r) }
			guests := some(everySampler(Request{Width: 64, Height: 64}))
			for i := range guests {
				guests[i].rests = 0
			}
			pictures, _ := party(t, p, begin, slices.Clone(guests))
			for i, g := range guests {
				if g.gone > 0 {
					continue
				}
				g.joins = 0
				if alone, _ := party(t, p, begin, []guest{g}); !slices.Equal(pictures[i], alone[0]) {
					t.Errorf("picture %d, %s: not the one drawn alone", i, g.Sampler)
				}
			}
		})
	}
}

// beginWithRandomPrompts begins a drawing whose text states depend on its seed.
func beginWithRandomPrompts(t *testing.T, p *Pipeline, r Request) *Drawing {
	t.Helper()
	s, err := p.settle(r)
	if err != nil {
		t.Fatal(err)
	}
	d, err := p.begin(s)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(r.Seed, 1))
	numbers := func(n int) []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(random.NormFloat64())
		}
		return v
	}
	pooled := p.networks.text[len(p.networks.text)-1].config.Projection
	for range s.passes {
		d.prompts = append(d.prompts, conditioning{context: numbers(77 * p.networks.unet.config.Context), pooled: numbers(pooled)})
	}
	return d
}

// TestPlanOfBatch: a batch, drawn to its end through all smaller ones, takes what the plan says.
func TestPlanOfBatch(t *testing.T) {
	d := testDevice(t)
	p := tinyPipeline(t, testGPU(t, d, nn.Options{}))
	before := d.Used()
	guests := everySampler(Request{Width: 128, Height: 128})[:5]
	plan, err := p.Plan(guests[0].Request, len(guests))
	if err != nil {
		t.Fatal(err)
	}
	for i := range guests {
		guests[i].joins, guests[i].rests, guests[i].Steps = 0, 0, 1+i
	}
	party(t, p, func(r Request) *Drawing { return begin(t, p, r) }, guests)
	const parameters = 1 << 20 // of kernels, which no plan counts
	if took := d.Peak() - before; took > plan.Total()+parameters || took < plan.Total()/2 {
		t.Errorf("%d bytes were taken, planned %d", took, plan.Total())
	}
	one, err := p.Plan(guests[0].Request, 1)
	if err != nil || one.SmallerBatches != 0 || plan.SmallerBatches == 0 || one.Total() >= plan.Total() {
		t.Errorf("planned %d bytes for one and %d for %d, error %v", one.Total(), plan.Total(), len(guests), err)
	}
	if _, err := p.Plan(guests[0].Request, 0); err == nil {
		t.Error("no error for a batch of 0")
	}
}
