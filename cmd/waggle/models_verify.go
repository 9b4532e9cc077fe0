package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	"waggle/internal/models"
)

type modelsVerifyCommand struct {
	Name        string `arg:"" optional:"" help:"Its name; without one, all."`
	folderFlags `embed:""`
	Kind        models.Kind `enum:",${kinds}" default:"" help:"Only this kind."`
	JSON        bool        `name:"json" help:"Print one JSON object a file."`
}

// verdict is what was found of one file.
type verdict struct {
	Name     string      `json:"name"`
	Kind     models.Kind `json:"kind"`
	Path     string      `json:"path,omitempty"`
	SHA256   string      `json:"sha256,omitempty"`
	Recorded bool        `json:"recorded"` // it was known what the file shall be
	Fault    string      `json:"fault,omitempty"`
}

// Run checks files; it fails if one is not right.
func (c *modelsVerifyCommand) Run(ctx context.Context) error {
	entries := c.shelf().List(c.Kind)
	if c.Name != "" {
		e, err := c.find(c.Kind, c.Name)
		if err != nil {
			return err
		}
		entries = []models.Entry{e}
	}
	bad := 0
	for _, e := range entries {
		for _, v := range verify(ctx, e) {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if v.Fault != "" {
				bad++
			}
			c.print(v)
		}
	}
	if bad > 0 {
		return fmt.Errorf("%d of what was checked is not right", bad)
	}
	return nil
}

func (c *modelsVerifyCommand) print(v verdict) {
	switch {
	case c.JSON:
		json.NewEncoder(os.Stdout).Encode(v)
	case v.Fault != "":
		fmt.Printf("BAD  %s %s: %s\n", v.Kind, v.Name, oneLine(v.Fault))
	case v.Recorded:
		fmt.Printf("ok   %s %s  %s  as recorded\n", v.Kind, v.Name, v.SHA256)
	default:
		fmt.Printf("ok   %s %s  %s\n", v.Kind, v.Name, v.SHA256)
	}
}

// verify checks an entry: as a whole, then each of its files.
func verify(ctx context.Context, e models.Entry) (out []verdict) {
	whole := verdict{Name: e.Name, Kind: e.Kind, Path: e.Path}
	if err := opens(e, true); err != nil {
		whole.Fault = err.Error()
	}
	files, err := e.Files()
	if err != nil {
		whole.Fault = err.Error()
	}
	ledger, err := models.ReadLedger(e.Dir)
	if err != nil {
		whole.Fault = err.Error()
	}
	for _, file := range files {
		v := whole
		if v.Path = file; e.Form == models.Folder {
			v.Name = e.Name + "/" + filepath.Base(filepath.Dir(file)) + "/" + filepath.Base(file)
		}
		out = append(out, v.compare(ctx, ledger, e.Dir))
	}
	if len(out) == 0 {
		out = append(out, whole)
	}
	return out
}

// compare sums a file up and compares with what is known of it.
func (v verdict) compare(ctx context.Context, ledger models.Ledger, dir string) verdict {
	sum, size, err := sumOf(ctx, v.Path)
	if err != nil {
		v.Fault = err.Error()
		return v
	}
	v.SHA256 = sum
	want, known := ledger.Of(dir, v.Path)
	if blob, ok := blobOf(v.Path); ok && !known {
		want, known = models.Record{SHA256: blob, Bytes: size}, true
	}
	v.Recorded = known
	if known && want.SHA256 != sum {
		v.Fault = fmt.Sprintf("%s: has %d bytes of SHA-256 %s, was %d bytes of %s", v.Path, size, sum, want.Bytes, want.SHA256)
	}
	return v
}

var blobForm = regexp.MustCompile(`^[0-9a-f]{64}$`)

// blobOf is the SHA-256 that a file of a Hugging Face cache is called by: snapshots are links to it.
func blobOf(path string) (string, bool) {
	to, err := os.Readlink(path)
	name := filepath.Base(to)
	return name, err == nil && filepath.Base(filepath.Dir(to)) == "blobs" && blobForm.MatchString(name)
}
