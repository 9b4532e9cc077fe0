package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"waggle/internal/models"
)

type modelsAddCommand struct {
	Path        string `arg:"" help:"A file or a diffusers folder, or the name of one that is found already."`
	folderFlags `embed:""`
	Kind        models.Kind `enum:",${kinds}" default:"" help:"What it is, where that cannot be told: ${kinds}."`
	Name        string      `help:"What it shall be called (default: as it is)."`
	Link        bool        `help:"Link to it where it lies, do not copy."`
}

// Run puts a file or folder where it is found by name.
func (c *modelsAddCommand) Run(ctx context.Context) error {
	dir, err := c.target()
	if err != nil {
		return err
	}
	e, err := c.source()
	if err != nil {
		return err
	}
	if err := opens(e, false); err != nil {
		return err
	}
	name := e.Name
	if c.Name != "" {
		name = c.Name
	}
	if !models.ValidName(name) {
		return fmt.Errorf("%q cannot be a name; say another with --name", name)
	}
	to := filepath.Join(models.HomeOf(dir, e.Kind), filepath.FromSlash(name))
	if e.Form == models.SingleFile {
		to += filepath.Ext(e.Path)
	}
	if _, err := os.Lstat(to); err == nil {
		return fmt.Errorf("%s is there already: remove it first (waggle models rm), or say another --name", to)
	}
	records, err := c.put(ctx, e, dir, to)
	if err != nil {
		return err
	}
	if err := models.ChangeLedger(ctx, dir, func(l models.Ledger) { maps.Copy(l, records) }); err != nil {
		return err
	}
	fmt.Printf("%s %s: %s\n", e.Kind, name, to)
	return nil
}

// source is what shall be added: a path, or a name.
func (c *modelsAddCommand) source() (models.Entry, error) {
	info, err := os.Stat(c.Path)
	if err != nil {
		return c.find(c.Kind, c.Path)
	}
	path, err := filepath.Abs(c.Path)
	if err != nil {
		return models.Entry{}, err
	}
	e := models.Entry{Name: filepath.Base(path), Path: path, Form: models.Folder}
	if info.Mode().IsRegular() {
		e.Form, e.Bytes = models.SingleFile, info.Size()
		e.Name = strings.TrimSuffix(e.Name, filepath.Ext(e.Name))
		if !models.IsWeights(path) {
			return e, fmt.Errorf("%s: is no weight file by its name", path)
		}
	}
	e.Kind, err = kindOf(c.Kind, path)
	return e, err
}

// put copies or links, and tells what was put.
func (c *modelsAddCommand) put(ctx context.Context, e models.Entry, dir, to string) (models.Ledger, error) {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return nil, err
	}
	files, err := e.AllFiles()
	if err != nil {
		return nil, err
	}
	// A copy comes under another name, so that nobody finds half of it.
	next := filepath.Join(filepath.Dir(to), ".adding-"+filepath.Base(to))
	if err := os.RemoveAll(next); err != nil {
		return nil, err
	}
	records := models.Ledger{}
	for _, file := range files {
		below, err := filepath.Rel(e.Path, file)
		if err != nil {
			return nil, err
		}
		record := models.Record{Source: file, Link: c.Link}
		if c.Link {
			record.SHA256, record.Bytes, err = sumOf(ctx, file)
		} else {
			record.SHA256, record.Bytes, err = copyFile(ctx, file, filepath.Join(next, below))
		}
		if err != nil {
			return nil, errors.Join(err, os.RemoveAll(next))
		}
		if err := records.Put(dir, filepath.Join(to, below), record); err != nil {
			return nil, err
		}
	}
	if c.Link {
		return records, os.Symlink(e.Path, to)
	}
	return records, os.Rename(next, to)
}
