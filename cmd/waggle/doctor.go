package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"waggle/gpu"
	"waggle/internal/builtin"
	"waggle/internal/nn"
	"waggle/internal/sd"
)

type doctorCommand struct {
	GPU     string `name:"gpu" env:"WAGGLE_GPU" help:"Adapter to check, by index or a part of its name."`
	Kernels string `env:"WAGGLE_KERNELS" enum:",subgroup,tiled,plain" default:"" help:"Check one kernel family only."`
	Full    bool   `help:"Also make the 64 reference pictures of the built-in model and judge them."`
	JSON    bool   `name:"json" help:"Print the adapters as JSON and check nothing."`
}

// Run shows what is there and checks it. Anything wrong is an error.
func (c *doctorCommand) Run(ctx context.Context) error {
	adapters, err := gpu.Adapters()
	if err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(os.Stdout).Encode(adapters)
	}
	for _, a := range adapters {
		printAdapter(a)
	}
	device, err := gpu.Open(c.GPU)
	if err != nil {
		return err
	}
	defer device.Close()
	fmt.Printf("\nchecking %d: %s, subgroups of %d\n", device.Adapter().Index, adapterNote(device.Adapter()), device.SubgroupSize())
	if err := c.checkKernels(device); err != nil {
		return err
	}
	if c.Full {
		return c.checkPictures(ctx)
	}
	return nil
}

func printAdapter(a gpu.Adapter) {
	mb := func(n uint64) string { return fmt.Sprintf("%d MB", n>>20) }
	fmt.Printf("%d: %s\n   %s, %s, %s\n", a.Index, a.Name, a.Kind, a.Backend, a.Driver)
	fmt.Printf("   buffers to %s, bindings to %s, images to %d lines, %d invocations and %d KB a workgroup\n",
		mb(a.Limits.Buffer), mb(a.Limits.Binding), a.Limits.ImageSide, a.Limits.WorkgroupInvocations, a.Limits.WorkgroupMemory>>10)
	fmt.Printf("   half floats %v, subgroups %v, timestamps %v\n", a.Features.HalfFloat, a.Features.Subgroups, a.Features.Timestamps)
}

// checkKernels runs the self-test of every family that the device can run, or of the one asked for.
func (c *doctorCommand) checkKernels(device *gpu.Device) error {
	chosen, err := nn.NewRuntime(device, nn.Options{Family: nn.Family(c.Kernels)})
	if err != nil {
		return err
	}
	families := []nn.Family{chosen.Family()}
	chosen.Close()
	if c.Kernels == "" {
		fmt.Printf("kernel family in use: %s\n", families[0])
		families = nn.Families
	}
	failed := 0
	for _, family := range families {
		r, err := nn.NewRuntime(device, nn.Options{Family: family})
		if err != nil {
			fmt.Printf("  %-9s not on this adapter: %v\n", family, err)
			continue
		}
		for _, result := range r.SelfTest() {
			verdict := fmt.Sprintf("ok, error %.1e", result.Error)
			if result.Err != nil {
				verdict, failed = "WRONG: "+oneLine(result.Err.Error()), failed+1
			}
			fmt.Printf("  %-9s %-28s %s\n", family, result.Name, verdict)
		}
		r.Close()
	}
	if failed > 0 {
		return fmt.Errorf("%d checks of kernels failed: pictures from this adapter cannot be trusted; try another --kernels family", failed)
	}
	return nil
}

// checkPictures makes the reference pictures and compares them with the reference's, and with what they should show.
func (c *doctorCommand) checkPictures(ctx context.Context) error {
	l, err := modelFlags{Model: builtin.Name, GPU: c.GPU, Kernels: c.Kernels}.load()
	if err != nil {
		return err
	}
	defer l.Close()
	fmt.Println("the 64 reference pictures of the built-in model")
	right, worst := 0, 0.0
	references := builtin.References()
	for i, p := range builtin.Prompts64() {
		img, err := l.Generate(ctx, sd.Request{Prompt: p.Prompt, Seed: p.Seed, Dialect: "diffusers"}, nil)
		if err != nil {
			return err
		}
		difference := builtin.Difference(img, references[i])
		verdict, err := builtin.Check(img, p.Scene)
		if err != nil {
			return err
		}
		if verdict.Right() {
			right++
		} else {
			fmt.Printf("  %q: %v\n", p.Prompt, verdict)
		}
		worst = max(worst, difference)
	}
	fmt.Printf("  %d of 64 show what their prompts say; greatest mean difference to the reference %.3f of 255\n", right, worst)
	if right < 62 || worst >= 1 {
		return errors.New("the built-in model does not draw as it should on this adapter")
	}
	return nil
}
