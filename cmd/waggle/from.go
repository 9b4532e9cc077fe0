package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"waggle/internal/job"
	"waggle/internal/models"
	"waggle/internal/picture"
)

// fromFlag makes a picture again from what its file says of it.
type fromFlag struct {
	From string `placeholder:"FILE" type:"path" help:"Make the picture of this file again, by what it says of how it was made: a PNG of this program, of A1111 or ComfyUI, a JPEG or WebP of A1111. Other flags and a prompt go before it."`

	recipe picture.Recipe       // of the file
	extra  func(r *job.Request) // what it says that has no flag
	said   []string             // what to tell people
}

// longestFile is what a picture's file may have.
const longestFile = 256 << 20

// take puts what the file says into the flags that were not given.
func (f *fromFlag) take(c *generateCommand) error {
	file, err := readLimited(f.From, longestFile)
	if err == nil {
		f.recipe, err = picture.RecipeOf(file)
	}
	if err != nil {
		return fmt.Errorf("--from %s: %w", f.From, err)
	}
	r := f.recipe
	f.said = append([]string{fmt.Sprintf("%s says, as %s does: %s", f.From, r.Source, summary(r.Parameters))}, r.Notes...)
	f.takeTexts(c)
	f.takeNumbers(c)
	return f.takeExtra(c)
}

// summary is what was taken, without the prompts.
func summary(p picture.Parameters) string {
	var parts []string
	for _, part := range []struct{ name, value string }{
		{"model", p.Model}, {"sampler", p.Sampler}, {"schedule", p.Schedule}, {"steps", number(float64(p.Steps))},
		{"guidance", number(p.Guidance)}, {"size", fmt.Sprintf("%d×%d", p.Width, p.Height)}, {"seed", strconv.FormatUint(p.Seed, 10)},
	} {
		if part.value != "" && part.value != "0×0" {
			parts = append(parts, part.name+" "+plainText(part.value))
		}
	}
	return strings.Join(parts, ", ")
}

// fromLine is what the file says, for programs.
type fromLine struct {
	Type     string   `json:"type"` // from
	File     string   `json:"file"`
	Source   string   `json:"source"` // the program that made it
	Prompt   string   `json:"prompt"`
	Negative string   `json:"negative_prompt"`
	Model    string   `json:"model,omitempty"`
	Sampler  string   `json:"sampler,omitempty"`
	Schedule string   `json:"schedule,omitempty"`
	Steps    int      `json:"steps,omitempty"`
	Guidance float64  `json:"guidance_scale"`
	Seed     uint64   `json:"seed"`
	Width    int      `json:"width,omitempty"`
	Height   int      `json:"height,omitempty"`
	Notes    []string `json:"notes,omitempty"` // what was not followed, or otherwise
}

func (f *fromFlag) took() fromLine {
	r := f.recipe
	return fromLine{"from", f.From, fmt.Sprint(r.Source), r.Prompt, r.Negative, r.Model, r.Sampler, r.Schedule, r.Steps, r.Guidance, r.Seed, r.Width, r.Height, f.said[1:]}
}

// number is empty for 0, which no file means.
func number(v float64) string {
	if v == 0 {
		return ""
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}

func (f *fromFlag) takeTexts(c *generateCommand) {
	r := f.recipe
	if !c.given["prompt"] {
		c.Prompt = r.Prompt
	}
	for flag, text := range map[string]struct {
		to    *string
		value string
	}{"negative": {&c.Negative, r.Negative}, "sampler": {&c.Sampler, r.Sampler}, "schedule": {&c.Schedule, r.Schedule}} {
		if !c.given[flag] {
			*text.to = text.value
		}
	}
	if strings.EqualFold(c.Schedule, "automatic") {
		c.Schedule = ""
	}
}

func (f *fromFlag) takeNumbers(c *generateCommand) {
	r := f.recipe
	if c.Steps == nil && r.Steps > 0 {
		c.Steps = &r.Steps
	}
	if c.Guidance == nil && (r.Guidance > 0 || r.Source == picture.FromWaggle) {
		c.Guidance = &r.Guidance
	}
	if c.Seed == nil {
		c.Seed = &r.Seed
	}
	if !c.given["size"] && r.Width > 0 {
		c.Size = fmt.Sprintf("%dx%d", r.Width, r.Height)
	}
}

// quiet are fields that say nothing of the pixels, or what another field says better.
var quiet = []string{"version", "model hash", "vae hash", "lora hashes", "ti hashes", "hashes", "template", "negative template", "rng", "user", "created date"}

// takeExtra takes the fields that not every picture has. What is not known is said.
func (f *fromFlag) takeExtra(c *generateCommand) error {
	var apply []func(*job.Request)
	var passed []string
	for _, field := range f.recipe.Extra {
		key := strings.ToLower(field.Key)
		read, known := extraFields[key]
		switch {
		case known:
			set, err := read(c, field.Value)
			if err != nil {
				f.said = append(f.said, fmt.Sprintf("%s %q is not understood (%v) and left out", plainText(field.Key), plainText(field.Value), err))
			} else if set != nil {
				apply = append(apply, set)
			}
		case !slices.Contains(quiet, key) && !f.harmless(field):
			passed = append(passed, plainText(field.Key)+": "+plainText(field.Value))
		}
	}
	if len(passed) > 0 {
		f.said = append(f.said, "not followed: "+strings.Join(passed, ", "))
	}
	f.extra = func(r *job.Request) {
		for _, set := range apply {
			set(r)
		}
	}
	return nil
}

// harmless are fields whose value changes nothing.
func (f *fromFlag) harmless(field picture.Field) bool {
	switch strings.ToLower(field.Key) {
	case "ensd", "variation seed strength", "sigma churn", "sigma tmin":
		v, err := strconv.ParseFloat(field.Value, 64)
		return err == nil && v == 0
	case "discard penultimate sigma": // as it is done here for the samplers that need it
		return strings.HasPrefix(f.recipe.Sampler, "DPM2")
	case "emphasis":
		return field.Value == "Original"
	}
	return false
}

// extraFields read fields of a picture's parameters, by their names in small letters.
var extraFields = map[string]func(c *generateCommand, value string) (func(*job.Request), error){
	"dialect": func(c *generateCommand, value string) (func(*job.Request), error) {
		if !c.given["dialect"] {
			c.Dialect = value
		}
		return nil, nil
	},
	"precision": func(c *generateCommand, value string) (func(*job.Request), error) {
		if !c.given["precision"] {
			c.Precision = value
		}
		return nil, nil
	},
	"clip skip": func(c *generateCommand, value string) (func(*job.Request), error) {
		if c.given["clip-skip"] {
			return nil, nil
		}
		n, err := strconv.Atoi(value)
		return func(r *job.Request) { r.ClipSkip = n }, err
	},
	"eta": func(c *generateCommand, value string) (func(*job.Request), error) {
		v, err := strconv.ParseFloat(value, 64)
		if c.Eta != nil {
			return nil, nil
		}
		return func(r *job.Request) { r.Eta = &v }, err
	},
	"sigmas": func(c *generateCommand, value string) (func(*job.Request), error) {
		if c.Sigmas != nil || c.given["schedule"] || c.given["steps"] {
			return nil, nil
		}
		sigmas, err := parseSigmas(strings.Fields(value))
		return func(r *job.Request) { r.Sigmas = sigmas }, err
	},
	"vae": func(c *generateCommand, value string) (func(*job.Request), error) {
		if c.given["vae"] || strings.EqualFold(value, "none") || strings.EqualFold(value, "automatic") {
			return nil, nil
		}
		return func(r *job.Request) { r.VAE = value }, nil
	},
	"prediction": func(c *generateCommand, value string) (func(*job.Request), error) {
		return takePart(c, "prediction", func() error {
			if value != "epsilon" && value != "v" {
				return errors.New("want epsilon or v")
			}
			c.Prediction = value
			return nil
		})
	},
	"zero terminal snr": func(c *generateCommand, value string) (func(*job.Request), error) {
		return takePart(c, "zsnr", func() error {
			zero, err := strconv.ParseBool(value)
			c.ZSNR = &zero
			return err
		})
	},
	"cfg rescale":     rescaleField,
	"cfg rescale φ":   rescaleField,
	"cfg rescale phi": rescaleField,
}

// fields are what a picture's metadata say of these flags.
func (f partFlags) fields() (fields []picture.Field) {
	add := func(key, value string) {
		if value != "" {
			fields = append(fields, picture.Field{Key: key, Value: value})
		}
	}
	add("VAE", fileName(f.VAE))
	for _, clip := range f.Clip {
		add("Text encoder", fileName(clip))
	}
	add("Prediction", f.Prediction)
	if f.ZSNR != nil {
		add("Zero terminal SNR", strconv.FormatBool(*f.ZSNR))
	}
	return fields
}

// takePart takes what a model was told, which only this program can do again.
func takePart(c *generateCommand, flag string, set func() error) (func(*job.Request), error) {
	switch {
	case c.given[flag]:
		return nil, nil
	case c.Server != "":
		return nil, errors.New("a server's model cannot be told")
	}
	return nil, set()
}

func rescaleField(c *generateCommand, value string) (func(*job.Request), error) {
	if c.given["cfg-rescale"] {
		return nil, nil
	}
	v, err := strconv.ParseFloat(value, 64)
	return func(r *job.Request) { r.CFGRescale = v }, err
}

func parseSigmas(texts []string) (sigmas []float64, err error) {
	for _, text := range texts {
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, fmt.Errorf("%q is no number", text)
		}
		sigmas = append(sigmas, v)
	}
	return sigmas, nil
}

// model finds the picture's model among those that are here: by its name, by its checksum, or the nearest by name. It says
// what is taken in its place.
func (f *fromFlag) model(c *generateCommand) {
	if f.recipe.Model == "" && f.hash() == "" || c.given["model"] {
		return
	}
	shelf := c.shelf()
	entry, err := shelf.Find(models.Checkpoint, f.recipe.Model)
	if err == nil {
		c.Model = entry.Name
		return
	}
	if name := f.byHash(shelf); name != "" {
		c.Model = name
		f.said = append(f.said, fmt.Sprintf("its model %s is %s here, by its checksum", plainText(f.recipe.Model), name))
		return
	}
	var missing *models.NotFoundError
	if errors.As(err, &missing) && len(missing.Suggestions) > 0 {
		c.Model = missing.Suggestions[0]
		f.said = append(f.said, fmt.Sprintf("its model %s is not here: taking %s, the nearest by name", plainText(f.recipe.Model), c.Model))
		return
	}
	f.said = append(f.said, fmt.Sprintf("its model %s is not here: taking %s; the picture will be another (--models names folders to look in)",
		plainText(f.recipe.Model), c.Model))
}

func (f *fromFlag) hash() string {
	i := slices.IndexFunc(f.recipe.Extra, func(e picture.Field) bool { return e.Key == "Model hash" })
	if i < 0 {
		return ""
	}
	return strings.ToLower(f.recipe.Extra[i].Value)
}

// byHash finds a model file by A1111's checksum: the first ten digits of a file's SHA-256, or eight of that of 64 KiB after the
// first MiB, as it was before.
func (f *fromFlag) byHash(shelf *models.Shelf) string {
	want := f.hash()
	if len(want) != 10 && len(want) != 8 {
		return ""
	}
	for _, entry := range shelf.List(models.Checkpoint) {
		if entry.Form != models.SingleFile {
			continue
		}
		if got, err := modelHash(entry.Path, len(want) == 8); err == nil && strings.HasPrefix(got, want) {
			return entry.Name
		}
	}
	return ""
}

func modelHash(path string, part bool) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close() // only read
	var from io.Reader = file
	if part {
		from = io.NewSectionReader(file, 1<<20, 1<<16)
	}
	sum := sha256.New()
	_, err = io.Copy(sum, from)
	return hex.EncodeToString(sum.Sum(nil)), err
}
