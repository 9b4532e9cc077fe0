package main

import (
	"encoding/json"
	"fmt"
	"os"

	"waggle/internal/engine"
	"waggle/internal/job"
	"waggle/internal/sd"
)

// printPlan tells what a picture would need on the device.
func (c *generateCommand) printPlan(l *loaded, r job.Request) error {
	plan, err := l.Plan(engine.Request(r, *r.Seed), 1)
	if err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(os.Stdout).Encode(plan)
	}
	fmt.Printf("%s at %d×%d on %s\n", c.Model, r.Width, r.Height, adapterNote(l.device.Adapter()))
	fmt.Printf("%-16s %12s %12s %12s %16s\n", "", "weights", "buffers", "images", "largest binding")
	for _, p := range plan.Parts {
		fmt.Printf("%-16s %12s %12s %12s %16s%s\n", p.Name, mb(p.Weights), mb(p.Buffers), mb(p.Images), mb(p.LargestBinding), measures(p))
	}
	for _, p := range plan.Phases {
		fmt.Printf("%-16s %12s\n", p.Name, mb(p.Bytes))
	}
	fmt.Printf("%-16s %12s\n", "at most", mb(plan.Total()))
	if plan.Budget > 0 {
		fmt.Printf("%-16s %12s\n", "budget", mb(plan.Budget))
	}
	if plan.Unloads {
		fmt.Println("networks leave the device when their turn is over, and are brought back for each picture")
	}
	return nil
}

// measures says what is done for a part so that it fits.
func measures(p sd.PartPlan) (text string) {
	if p.Runs > 1 {
		text += fmt.Sprintf("  in %d runs", p.Runs)
	}
	if p.Host > 0 {
		text += fmt.Sprintf("  by bands of %s, %s in the host's memory", mb(int64(p.Band)), mb(p.Host))
	}
	if p.Streamed > 0 {
		text += fmt.Sprintf("  %s of weights uploaded in each run", mb(p.Streamed))
	}
	return text
}

func mb(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }
