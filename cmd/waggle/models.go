package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"waggle/internal/models"
)

// modelsCommand is what can be done with models, a verb each; alone it lists them.
type modelsCommand struct {
	List    modelsListCommand    `cmd:"" default:"withargs" help:"List models (also without a verb)."`
	Inspect modelsInspectCommand `cmd:"" help:"Say what a model is, and whether it can be run."`
	Pull    modelsPullCommand    `cmd:"" help:"Fetch a model from a hub or an address."`
	Add     modelsAddCommand     `cmd:"" help:"Put a file or folder where it is found by name."`
	Rm      modelsRmCommand      `cmd:"" help:"Remove a model."`
	Verify  modelsVerifyCommand  `cmd:"" help:"Check that files are whole, as they were, and without NaN or infinity."`
}

// folderFlags say where models are found by name.
type folderFlags struct {
	ModelsDir []string `name:"models" env:"WAGGLE_MODELS" type:"path" help:"Folder with models to find by name, or an installation of A1111 or ComfyUI; repeatable."`
}

// shelf is what is found by name: in the folders that were named, and in our own.
func (f folderFlags) shelf() *models.Shelf {
	dirs := slices.Clone(f.ModelsDir)
	if own, err := ownModels(); err == nil {
		dirs = append(dirs, own)
	}
	return models.NewShelf(dirs...)
}

type modelsListCommand struct {
	folderFlags `embed:""`
	Kind        models.Kind `enum:",${kinds}" default:"" help:"Only this kind: ${kinds}."`
	JSON        bool        `name:"json" help:"Print JSON."`
}

// Run lists the models there are.
func (c *modelsListCommand) Run() error {
	list := c.shelf().List(c.Kind)
	if c.JSON {
		return json.NewEncoder(os.Stdout).Encode(list)
	}
	for _, e := range list {
		fmt.Printf("%-32s %-10s %-8s %10.1f MB  %s\n", e.Name, e.Kind, e.Form, float64(e.Bytes)/1e6, e.Path)
	}
	return nil
}

// kindNames lists the kinds of files, for flags.
func kindNames() string {
	var names []string
	for _, k := range models.Kinds() {
		names = append(names, string(k))
	}
	return strings.Join(names, ",")
}
