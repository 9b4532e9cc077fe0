package sd

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"waggle/gpu"
	"waggle/internal/models"
	"waggle/internal/nn"
	"waggle/internal/weights"
)

// within fails the test unless got is within 10 % of want.
func within(t *testing.T, what string, got, want int64) {
	t.Helper()
	if diff := got - want; diff*10 > want || -diff*10 > want {
		t.Errorf("%s: %d bytes on the device, planned %d", what, got, want)
	}
}

// budgeted is a pipeline of the built-in model on a device of its own, and what the device holds without it.
func budgeted(t *testing.T, budget int64) (p *Pipeline, d *gpu.Device, before int64) {
	t.Helper()
	d = testDevice(t)
	before = d.Used()
	p = tinyPipeline(t, testGPU(t, d, nn.Options{}))
	p.budget = budget
	return p, d, before
}

// phases draws a picture and returns what is on the device at the end of each phase.
func phases(t *testing.T, p *Pipeline, d *gpu.Device, before int64, r Request) (used []int64, pixels []uint8) {
	t.Helper()
	drawing := begin(t, p, r)
	used = append(used, d.Used()-before)
	for !drawing.Done() {
		step(t, p, drawing)
	}
	used = append(used, d.Used()-before)
	pixels = finish(t, p, drawing)
	return append(used, d.Used()-before), pixels
}

// TestBudget: what is on the device is what the plan says in each phase, within the budget whatever the order of pictures, and
// no budget changes a picture.
func TestBudget(t *testing.T) {
	r := Request{Prompt: "a red circle on a blue background", Width: 128, Height: 128, Steps: 2, Seed: 3}
	p, d, before := budgeted(t, 0)
	_, want := phases(t, p, d, before, r)
	free, err := p.Plan(r, 1)
	if err != nil {
		t.Fatal(err)
	}
	parts, kept := map[string]int64{}, free.Parts[2].Activations() // while it decodes, with all weights
	for _, part := range free.Parts {
		parts[part.Name] = part.Total()
		kept += part.Weights
	}
	for _, test := range []struct {
		name    string
		budget  int64
		unloads bool
		runs    int // of the UNet
	}{
		{"none", 0, false, 1},
		{"plenty", 1 << 30, false, 1},
		{"without other programs", kept, false, 1},
		{"without text", kept - 1<<19, true, 1},
		{"the unet alone", parts["unet"] + 1<<16, true, 1},
		{"half the unet", parts["unet"] - 1<<20, true, 2},
		{"streamed", parts["unet"] / 3, true, 1},
		{"decoded by bands", parts["decoder"] * 6 / 10, true, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, d, before := budgeted(t, test.budget)
			plan, err := p.Plan(r, 1)
			if err != nil {
				t.Fatal(err)
			}
			if plan.Unloads != test.unloads || plan.Parts[1].Runs != test.runs {
				t.Errorf("unloads: %v, runs of the unet: %d", plan.Unloads, plan.Parts[1].Runs)
			}
			if last := plan.Parts[2]; (last.Host > 0) != (test.budget > 0 && test.budget < parts["decoder"]) {
				t.Errorf("%d bytes of the decoder in the host's memory", last.Host)
			}
			if unet := plan.Parts[1]; (unet.Streamed > 0) != (test.budget > 0 && test.budget < unet.LeastWeights+12<<20) {
				t.Errorf("%d bytes of the UNet streamed", unet.Streamed)
			}
			used, got := phases(t, p, d, before, r)
			for i, phase := range plan.Phases {
				within(t, phase.Name, used[i], phase.Bytes)
			}
			if !slices.Equal(got, want) {
				t.Error("the picture is another")
			}
			if _, again := phases(t, p, d, before, r); !slices.Equal(again, want) {
				t.Error("the second picture is another")
			}
			if peak := d.Peak() - before; test.budget > 0 && peak > test.budget {
				t.Errorf("%d bytes were taken of a budget of %d", peak, test.budget)
			}
		})
	}
}

// TestBudgetOfBatch: pictures drawn together within too little memory for all are those drawn alone.
func TestBudgetOfBatch(t *testing.T) {
	p, _, _ := budgeted(t, 0)
	guests := everySampler(Request{Width: 128, Height: 128})[:4]
	alone := unetNeed(t, p, guests[0].Request, 1)
	all := unetNeed(t, p, guests[0].Request, len(guests))
	narrow, d, before := budgeted(t, alone.Total()+(all.Total()-alone.Total())/2)
	checkParty(t, narrow, p, guests)
	if peak := d.Peak() - before; peak > narrow.budget {
		t.Errorf("%d bytes were taken of a budget of %d", peak, narrow.budget)
	}
}

func unetNeed(t *testing.T, p *Pipeline, r Request, batch int) nn.MemoryPlan {
	t.Helper()
	plan, err := p.Plan(r, batch)
	if err != nil {
		t.Fatal(err)
	}
	return plan.Parts[len(plan.Parts)-2].MemoryPlan
}

// TestRefusal: what cannot fit is refused before anything is allocated, and told is what would do.
func TestRefusal(t *testing.T) {
	p, d, before := budgeted(t, 2e6)
	_, err := p.Plan(Request{}, 1)
	var refused *BudgetError
	if !errors.As(err, &refused) || !errors.Is(err, gpu.ErrOutOfMemory) {
		t.Fatalf("error %v", err)
	}
	if refused.Budget != 2e6 || refused.Need <= refused.Budget || refused.Least <= refused.Budget || refused.Least > refused.Need {
		t.Errorf("%+v", refused)
	}
	if need := unetNeed(t, tinyPipeline(t, p.compiler), Request{}, 1); refused.Need != need.Total() {
		t.Errorf("refused for %d bytes, the UNet needs %d", refused.Need, need.Total())
	}
	if used := d.Used(); used != before {
		t.Errorf("%d bytes were allocated", used-before)
	}
	p.budget = mb(refused.Least) * 1e6
	generate(t, p, quick)
}

// TestStock: networks come in random order and stay within the budget as long as each fits by itself; nothing leaves while
// there is room.
func TestStock(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	sources := []weights.Source{new(weights.Set), new(weights.Set), new(weights.Set), new(weights.Set)}
	needs := []nn.MemoryPlan{{Weights: 10, Buffers: 3}, {Weights: 60, Images: 20}, {Weights: 30, Buffers: 5}, {Weights: 5, Buffers: 70}}
	s := stock{budget: 100, weights: map[weights.Source]int64{}}
	for n := range 2000 {
		i := random.IntN(len(sources))
		need := needs[i]
		need.Missing = need.Weights - s.weights[sources[i]]
		fits := s.excess(need) <= 0
		out := s.add(fmt.Sprint(n), sources[i], need)
		if got := s.bytes(); got > s.budget {
			t.Fatalf("%d bytes in a budget of %d after network %d: %+v", got, s.budget, i, s)
		}
		if fits && len(s.programs) < programLimit && len(out.programs)+len(out.weights) > 0 {
			t.Fatalf("%v left though there was room", out)
		}
		if slices.Contains(out.weights, sources[i]) || s.weights[sources[i]] != need.Weights {
			t.Fatalf("network %d lacks weights: %+v", i, s)
		}
	}
}

// TestBudgetOfFullSize: networks of Stable Diffusion 1.5's size, with random weights, within 2 and 1 GiB and 300 MB.
func TestBudgetOfFullSize(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: packs gigabytes of weights")
	}
	r := Request{Prompt: "x", Width: 64, Height: 64, Steps: 1, Seed: 5}
	var want []uint8
	for _, budget := range []int64{2 << 30, 1 << 30, 300e6} {
		m, err := models.Random("sd15")
		if err != nil {
			t.Fatal(err)
		}
		d := testDevice(t)
		before := d.Used()
		p, err := newPipeline(testGPU(t, d, nn.Options{}), m)
		if err != nil {
			t.Fatal(err)
		}
		p.budget = budget
		plan, err := p.Plan(r, 1)
		if err != nil {
			t.Fatal(err)
		}
		used, got := phases(t, p, d, before, r)
		for i, phase := range plan.Phases {
			within(t, fmt.Sprintf("%s within %d", phase.Name, budget), used[i], phase.Bytes)
		}
		if peak := d.Peak() - before; peak > budget {
			t.Errorf("%d bytes were taken of a budget of %d", peak, budget)
		}
		if want == nil {
			want = got
		}
		if !slices.Equal(got, want) {
			t.Errorf("another picture within %d bytes", budget)
		}
		p.Close()
	}
}
