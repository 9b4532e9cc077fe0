package main

import (
	"encoding/json"
	"fmt"
	"os"

	"waggle/internal/models"
)

// modelsCommand is what can be done with models, a verb each; alone it lists them.
type modelsCommand struct {
	List    modelsListCommand    `cmd:"" default:"withargs" help:"List models (also without a verb)."`
	Inspect modelsInspectCommand `cmd:"" help:"Say what a model is, and whether it can be run."`
}

// folderFlags say where models are found by name.
type folderFlags struct {
	ModelsDir []string `name:"models" env:"WAGGLE_MODELS" type:"path" help:"Folder with models to find by name; repeatable."`
}

type modelsListCommand struct {
	folderFlags `embed:""`
	JSON        bool `name:"json" help:"Print JSON."`
}

// Run lists the models there are.
func (c *modelsListCommand) Run() error {
	list := models.List(c.ModelsDir...)
	if c.JSON {
		return json.NewEncoder(os.Stdout).Encode(list)
	}
	for _, e := range list {
		fmt.Printf("%-32s %-8s %10.1f MB  %s\n", e.Name, e.Kind, float64(e.Bytes)/1e6, e.Path)
	}
	return nil
}
