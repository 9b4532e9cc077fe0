package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"waggle/gpu"
	"waggle/internal/models"
	"waggle/internal/nn"
	"waggle/internal/sd"
)

type modelsInspectCommand struct {
	Model       string `arg:"" help:"A name, a diffusers folder or a file."`
	folderFlags `embed:""`
	partFlags   `embed:""`
	Adapters    bool `default:"true" negatable:"" help:"Plan the memory of a picture on every adapter."`
	JSON        bool `name:"json" help:"Print JSON."`
}

// inspection is a model and what a picture of it needs on the adapters of this machine.
type inspection struct {
	sd.Inspection
	Adapters []adapterPlan `json:"adapters,omitempty"`
}

// adapterPlan is what a picture of the usual size needs on one adapter.
type adapterPlan struct {
	Adapter string   `json:"adapter"`
	Plan    *sd.Plan `json:"plan,omitempty"`
	Total   int64    `json:"total,omitempty"` // most bytes at a time
	Fits    bool     `json:"fits"`
	Problem string   `json:"problem,omitempty"`
}

// Run describes a model, or a file that goes with one. That a model cannot be run is an error, after
// what could be told.
func (c *modelsInspectCommand) Run() error {
	i, err := c.inspect()
	if err != nil {
		if k, ok, kinErr := inspectKin(c.shelf(), c.Model); ok {
			if kinErr != nil {
				return kinErr
			}
			return k.print(c.JSON)
		}
		return err
	}
	if c.JSON {
		err = json.NewEncoder(os.Stdout).Encode(i)
	} else {
		err = i.write(os.Stdout)
	}
	if err == nil && i.Problem != "" {
		err = fmt.Errorf("model %q cannot be run: %s", plainText(i.Name), i.Problem)
	}
	return err
}

func (c *modelsInspectCommand) inspect() (inspection, error) {
	m, err := c.open(c.shelf(), c.Model)
	if err != nil {
		return inspection{}, err
	}
	defer m.Close()
	i := inspection{Inspection: sd.Inspect(m)}
	if c.Adapters && i.Problem == "" && i.Draws {
		i.Adapters = planEverywhere(m)
	}
	return i, nil
}

// open opens the model, or as much of it as there is.
func (c *modelsInspectCommand) open(shelf *models.Shelf, name string) (*models.Model, error) {
	if strings.HasPrefix(name, models.RandomPrefix) {
		return nil, errors.New("random models have no tensors to look at")
	}
	return c.partFlags.open(shelf, name, models.With{Partial: true})
}

// planEverywhere plans a picture for each adapter.
func planEverywhere(m *models.Model) (plans []adapterPlan) {
	adapters, err := gpu.Adapters()
	if err != nil {
		return []adapterPlan{{Adapter: "none", Problem: err.Error()}}
	}
	for _, a := range adapters {
		p := adapterPlan{Adapter: adapterName(a)}
		if err := p.plan(a.Name, m); err != nil {
			p.Problem = err.Error()
		}
		plans = append(plans, p)
	}
	return plans
}

func adapterName(a gpu.Adapter) string {
	if a.Kind == gpu.Software {
		return a.Name + " (software)"
	}
	return a.Name
}

func (a *adapterPlan) plan(name string, m *models.Model) error {
	device, err := gpu.Open(name)
	if err != nil {
		return err
	}
	defer device.Close()
	p, err := sd.Load(device, m, sd.LoadOptions{Runtime: nn.Options{}, Budget: budgetOf(device, 1)})
	if err != nil {
		return err
	}
	defer p.Close()
	plan, err := p.Plan(sd.Request{}, 1)
	if err != nil {
		return err
	}
	a.Plan, a.Total, a.Fits = &plan, plan.Total(), true
	return nil
}

// write is for people.
func (i inspection) write(w io.Writer) error {
	fmt.Fprintf(w, "%s\n\n", plainText(strings.TrimSpace(i.Name+"  "+i.Path)))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range i.Facts {
		fmt.Fprintf(t, "%s\t%s\t%s\n", f.Name, plainText(f.Value), f.Source)
	}
	if d := i.Defaults; d != nil {
		fmt.Fprintf(t, "picture\t%d×%d, %d steps, guidance %v, %s %s\n", d.Width, d.Height, d.Steps, d.Guidance, d.Sampler, d.Schedule)
	}
	for _, key := range slices.Sorted(maps.Keys(i.Metadata)) {
		fmt.Fprintf(t, "%s\t%s\n", key, plainText(i.Metadata[key]))
	}
	fmt.Fprint(t, "\npart\ttensors\tparameters\tMB\ttypes\n")
	for _, p := range i.Parts {
		fmt.Fprintf(t, "%s\t%d\t%d\t%.1f\t%s\n", p.Name, p.Tensors, p.Parameters, float64(p.Bytes)/1e6, strings.Join(slices.Sorted(maps.Keys(p.DTypes)), " "))
	}
	if len(i.Adapters) > 0 {
		fmt.Fprint(t, "\nadapter\tmemory\n")
	}
	for _, a := range i.Adapters {
		fmt.Fprintf(t, "%s\t%s\n", a.Adapter, a.verdict())
	}
	if err := t.Flush(); err != nil {
		return err
	}
	return i.writeFaults(w)
}

func (a adapterPlan) verdict() string {
	if a.Problem != "" {
		return plainText(a.Problem)
	}
	return fmt.Sprintf("%.1f MB at most: fits", float64(a.Total)/1e6)
}

// writeFaults lists the tensors that are not as expected.
func (i inspection) writeFaults(w io.Writer) error {
	var text strings.Builder
	list := func(what string, n sd.Names) {
		if n.Count == 0 {
			return
		}
		fmt.Fprintf(&text, "\n%s: %d\n", what, n.Count)
		for _, name := range n.First {
			fmt.Fprintf(&text, "  %s\n", plainText(name))
		}
		if more := n.Count - len(n.First); more > 0 {
			fmt.Fprintf(&text, "  and %d more\n", more)
		}
	}
	for _, p := range i.Parts {
		list("missing in "+p.Name, p.Missing)
		list("of another shape in "+p.Name, p.Misshapen)
		list("unexpected in "+p.Name, p.Unexpected)
	}
	list("unexpected beside the parts", i.Unexpected)
	if i.Ignored > 0 {
		fmt.Fprintf(&text, "\ntensors that no picture needs (averages, tables of the schedule): %d\n", i.Ignored)
	}
	if !i.Draws && i.Defaults != nil {
		fmt.Fprint(&text, "\nIt changes a given picture and cannot draw from text alone.\n")
	}
	_, err := io.WriteString(w, text.String())
	return err
}
