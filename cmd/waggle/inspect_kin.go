package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"waggle/internal/lora"
	"waggle/internal/models"
	"waggle/internal/weights"
)

// kin is a file that is no model but goes with one: a LoRA, an embedding, a ControlNet, an upscaler, a small decoder.
type kin struct {
	Name     string            `json:"name"`
	Path     string            `json:"path"`
	Kind     models.Kind       `json:"kind"`
	For      string            `json:"for,omitempty"`   // of a LoRA: the models that it looks made for
	Shape    string            `json:"shape,omitempty"` // of an upscaler
	Counts   models.Counts     `json:"counts"`
	Tensors  []kinTensor       `json:"tensors,omitempty"` // the first, by name
	Metadata map[string]string `json:"metadata,omitempty"`
}

type kinTensor struct {
	Name  string `json:"name"`
	Type  string `json:"type"`
	Shape []int  `json:"shape"`
}

// Bounds of what is shown of a file: both its names and its notes are foreign.
const (
	kinTensors  = 8
	kinMetadata = 20
	kinText     = 200 // bytes
)

// inspectKin looks into a file that goes with models. ok is false where the name stands for none such.
func inspectKin(shelf *models.Shelf, nameOrPath string) (k kin, ok bool, err error) {
	for _, kind := range []models.Kind{models.LoRA, models.Embedding, models.ControlNet, models.TAESD, models.Upscaler} {
		e, err := shelf.Locate(kind, nameOrPath)
		if err != nil || e.Form != models.SingleFile {
			continue
		}
		if told, _ := models.KindOf(e.Path); told != kind { // a path is located whatever it holds
			continue
		}
		k, err := readKin(e)
		return k, true, err
	}
	return kin{}, false, nil
}

func readKin(e models.Entry) (kin, error) {
	file, err := weights.Open(e.Path)
	if err != nil {
		return kin{}, err
	}
	defer file.Close()
	k := kin{Name: e.Name, Path: e.Path, Kind: e.Kind, Counts: models.CountTensors(file), Metadata: someOf(file.Metadata())}
	switch e.Kind {
	case models.LoRA:
		k.For = lora.MadeFor(file)
	case models.Upscaler:
		n, err := models.ReadESRGAN(file)
		if err != nil {
			return kin{}, fmt.Errorf("upscaler %q: %w", e.Name, err)
		}
		k.Shape = fmt.Sprintf("ESRGAN ×%d, %d blocks of %d channels, %d tensors unexpected", n.Scale, n.Blocks, n.Features, len(n.Unexpected))
	}
	for _, name := range file.Names()[:min(kinTensors, len(file.Names()))] {
		t, _ := file.Tensor(name)
		k.Tensors = append(k.Tensors, kinTensor{cut(name), t.DType.String(), t.Shape})
	}
	return k, nil
}

// someOf is the beginning of a file's notes.
func someOf(metadata map[string]string) map[string]string {
	some := map[string]string{}
	keys := slices.Sorted(maps.Keys(metadata))
	for _, key := range keys[:min(kinMetadata, len(keys))] {
		some[cut(key)] = cut(metadata[key])
	}
	return some
}

func cut(text string) string {
	if len(text) <= kinText {
		return text
	}
	return strings.ToValidUTF8(text[:kinText], "") + "…"
}

// print writes what was found, for programs or for people.
func (k kin) print(asJSON bool) error {
	if asJSON {
		return json.NewEncoder(os.Stdout).Encode(k)
	}
	return k.write(os.Stdout)
}

func (k kin) write(w io.Writer) error {
	fmt.Fprintf(w, "%s\n\n", plainText(k.Name+"  "+k.Path))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "kind\t%s\n", k.Kind)
	if k.For != "" {
		fmt.Fprintf(t, "made for\t%s\n", k.For)
	}
	if k.Shape != "" {
		fmt.Fprintf(t, "shape\t%s\n", k.Shape)
	}
	c := k.Counts
	fmt.Fprintf(t, "holds\t%d tensors, %d parameters, %.1f MB, %s\n", c.Tensors, c.Parameters, float64(c.Bytes)/1e6, strings.Join(slices.Sorted(maps.Keys(c.DTypes)), " "))
	for _, key := range slices.Sorted(maps.Keys(k.Metadata)) {
		fmt.Fprintf(t, "%s\t%s\n", plainText(key), plainText(k.Metadata[key]))
	}
	fmt.Fprint(t, "\ntensor\ttype\tshape\n")
	for _, tensor := range k.Tensors {
		fmt.Fprintf(t, "%s\t%s\t%v\n", plainText(tensor.Name), tensor.Type, tensor.Shape)
	}
	if more := c.Tensors - len(k.Tensors); more > 0 {
		fmt.Fprintf(t, "and %d more\n", more)
	}
	return t.Flush()
}
