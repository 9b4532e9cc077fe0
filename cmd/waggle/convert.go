package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"waggle/internal/models"
	"waggle/internal/sd"
	"waggle/internal/weights"
)

type convertCommand struct {
	folderFlags `embed:""`
	In          string `arg:"" help:"Model: a name, a diffusers folder, a .safetensors file or a checkpoint (.ckpt, .pt, .pth, .bin)."`
	Out         string `arg:"" type:"path" help:"Where to: NAME.safetensors for one file, any other name for a diffusers folder."`
	DType       string `name:"dtype" enum:"keep,f16,bf16,f32,fp8" default:"keep" help:"Type of the numbers: f16, bf16, f32, fp8 (e4m3, vectors f16) or keep."`
	Force       bool   `help:"Replace what is there."`
	JSON        bool   `name:"json" help:"Print JSON."`

	saidFlags `embed:""`
}

// types are the choices of --dtype.
var types = map[string]weights.DType{"keep": 0, "f16": weights.F16, "bf16": weights.BF16, "f32": weights.F32, "fp8": weights.F8E4M3}

// converted is what was written, for programs.
type converted struct {
	Path   string `json:"path"`
	Form   string `json:"form"` // file, folder
	DType  string `json:"dtype"`
	Bytes  int64  `json:"bytes"`
	Beside string `json:"beside,omitempty"` // the folder with what a single file cannot say
}

// Run writes the model.
func (c *convertCommand) Run(ctx context.Context) error {
	m, err := c.shelf().Open(c.In)
	if err != nil {
		return err
	}
	defer m.Close()
	m.Said = c.said()
	result, err := c.convert(ctx, m)
	if err != nil {
		return fmt.Errorf("convert %s: %w", m.Name, err)
	}
	if c.JSON {
		return json.NewEncoder(os.Stdout).Encode(result)
	}
	fmt.Printf("%s: %s, %.1f MB\n", result.Path, result.Form, float64(result.Bytes)/1e6)
	if result.Beside != "" {
		fmt.Printf("%s: what the file cannot say itself; keep the two together\n", result.Beside)
	}
	return nil
}

func (c *convertCommand) convert(ctx context.Context, m *models.Model) (converted, error) {
	e, err := sd.ExportOf(m)
	if err != nil {
		return converted{}, err
	}
	s := models.Save{Files: e.Files, Encoding: weights.Encoding{DType: types[c.DType], Metadata: e.Metadata},
		OpenCLIP: e.OpenCLIP, Replace: c.Force}
	r := converted{Path: c.Out, Form: "folder", DType: c.DType, Bytes: m.Bytes(s.Encoding)}
	save := m.SaveFolder
	switch ext := strings.ToLower(filepath.Ext(c.Out)); ext {
	case ".safetensors":
		r.Form, save = "file", m.SaveFile
		if e.Alone {
			s.Files = nil
		} else {
			r.Beside = strings.TrimSuffix(c.Out, filepath.Ext(c.Out))
		}
	case ".ckpt", ".pt", ".pth", ".bin":
		return r, fmt.Errorf("%s files are read, not written; name a .safetensors file or a folder", ext)
	}
	if same, _ := samePath(m.Path, c.Out); same {
		return r, errors.New("cannot write a model over itself; give it another name")
	}
	bar := newByteBar(r.Bytes, c.JSON)
	s.Encoding.Wrote = bar.add
	s.Encoding.Interrupted = ctx.Err
	err = save(c.Out, s)
	bar.close()
	return r, err
}

// samePath reports whether two names are of one file or folder.
func samePath(a, b string) (bool, error) {
	one, err := os.Stat(a)
	if err != nil {
		return false, err
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(one, other), err
}

// byteBar shows how much is written: a bar on a terminal, else nothing.
type byteBar struct {
	bars *mpb.Progress
	bar  *mpb.Bar
}

func newByteBar(total int64, quiet bool) *byteBar {
	_, rows, err := term.GetSize(int(os.Stderr.Fd()))
	if quiet || err != nil || rows < 2 {
		return &byteBar{}
	}
	bars := mpb.New(mpb.WithOutput(os.Stderr), mpb.WithWidth(40), mpb.WithRefreshRate(100*time.Millisecond))
	return &byteBar{bars, bars.AddBar(total, mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(decor.CountersKibiByte("% .1f / % .1f")), mpb.AppendDecorators(decor.Percentage()))}
}

func (b *byteBar) add(bytes int) {
	if b.bar != nil {
		b.bar.IncrBy(bytes)
	}
}

// close takes the bar away, whole or not.
func (b *byteBar) close() {
	if b.bar != nil {
		b.bar.Abort(true)
		b.bars.Wait()
	}
}
