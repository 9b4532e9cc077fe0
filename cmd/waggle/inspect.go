package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"waggle/internal/models"
)

type modelsInspectCommand struct {
	Model       string `arg:"" help:"A name, a diffusers folder or a file."`
	folderFlags `embed:""`
	JSON        bool `name:"json" help:"Print JSON."`
}

// Run describes a model.
func (c *modelsInspectCommand) Run() error {
	m, err := c.shelf().Open(c.Model)
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
