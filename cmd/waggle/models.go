package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"waggle/internal/models"
)

type modelsCommand struct {
	Model     string   `arg:"" optional:"" help:"Model to look into: a name, a folder or a file; without it all are listed."`
	ModelsDir []string `name:"models" env:"WAGGLE_MODELS" type:"path" help:"Folder with models to find by name; repeatable."`
	JSON      bool     `name:"json" help:"Print JSON."`
}

// Run lists models or describes one.
func (c *modelsCommand) Run() error {
	if c.Model == "" {
		return c.list()
	}
	m, err := models.Open(c.Model, c.ModelsDir...)
	if err != nil {
		return err
	}
	defer m.Close()
	s := models.Inspect(m)
	if c.JSON {
		return json.NewEncoder(os.Stdout).Encode(s)
	}
	kind := strings.TrimSpace(fmt.Sprint(s.Family, " ", s.Variant))
	fmt.Printf("%s: %s, %.1f million parameters, %.1f MB\n", c.Model, kind, float64(s.Parameters)/1e6, float64(s.Bytes)/1e6)
	for _, p := range s.Parts {
		fmt.Printf("  %-16s %5d tensors %12d parameters\n", p.Name, p.Tensors, p.Parameters)
	}
	return nil
}

func (c *modelsCommand) list() error {
	list := models.List(c.ModelsDir...)
	if c.JSON {
		return json.NewEncoder(os.Stdout).Encode(list)
	}
	for _, e := range list {
		fmt.Printf("%-32s %-8s %10.1f MB  %s\n", e.Name, e.Kind, float64(e.Bytes)/1e6, e.Path)
	}
	return nil
}
