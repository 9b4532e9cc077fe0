package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"waggle/internal/models"
)

type modelsRmCommand struct {
	Name        string `arg:"" help:"Its name."`
	folderFlags `embed:""`
	Kind        models.Kind `enum:",${kinds}" default:"" help:"Its kind, where several have that name."`
	Yes         bool        `short:"y" help:"Do not ask."`
	Force       bool        `help:"Also what waggle did not put there."`
}

// Run removes a model or a file of another kind.
func (c *modelsRmCommand) Run(ctx context.Context) error {
	e, err := c.find(c.Kind, c.Name)
	if err != nil {
		return err
	}
	if e.Form == models.Builtin {
		return fmt.Errorf("%s is a part of the program", e.Name)
	}
	files, err := e.AllFiles()
	if err != nil {
		return err
	}
	ledger, err := models.ReadLedger(e.Dir)
	if err != nil {
		return err
	}
	for _, file := range files {
		if _, ours := ledger.Of(e.Dir, file); !ours && !c.Force {
			return fmt.Errorf("waggle did not put %s there: remove it yourself, or say --force", file)
		}
	}
	if !c.Yes {
		if err := confirm(fmt.Sprintf("Remove %s %s, %.1f MB: %s?", e.Kind, e.Name, float64(e.Bytes)/1e6, e.Path)); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(e.Path); err != nil {
		return err
	}
	fmt.Println("removed", e.Path)
	return models.ChangeLedger(ctx, e.Dir, func(l models.Ledger) {
		for _, file := range files {
			if below, err := filepath.Rel(e.Dir, file); err == nil {
				delete(l, filepath.ToSlash(below))
			}
		}
	})
}

// find looks a name up among all kinds, or in one.
func (f folderFlags) find(kind models.Kind, name string) (models.Entry, error) {
	shelf := f.shelf()
	if kind != "" {
		return shelf.Find(kind, name)
	}
	var found []models.Entry
	var firstErr error
	for _, kind := range models.Kinds() {
		e, err := shelf.Find(kind, name)
		if err == nil {
			found = append(found, e)
		} else if firstErr == nil {
			firstErr = err
		}
	}
	switch len(found) {
	case 0:
		return models.Entry{}, firstErr
	case 1:
		return found[0], nil
	}
	return models.Entry{}, fmt.Errorf("%q is a %s and a %s: say which with --kind", name, found[0].Kind, found[1].Kind)
}
