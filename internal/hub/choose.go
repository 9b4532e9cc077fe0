package hub

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Choice says which of a repository's files are wanted.
type Choice struct {
	Files   []string // by their paths; none: what makes a model
	Variant string   // of the weights, such as fp16; empty: the plain ones, else fp16
}

// Chosen are files that belong together.
type Chosen struct {
	Files  []File
	Folder bool // a diffusers folder; else files that stand alone
}

// indexFile is what makes a repository a diffusers folder.
const indexFile = "model_index.json"

// Choose picks what makes a model: of a diffusers folder, of every network one form of its weights, safetensors before
// pickles; else the one weight file there is. Weights are never fetched in two forms.
func (l Listing) Choose(c Choice) (Chosen, error) {
	if len(c.Files) > 0 {
		return l.named(c.Files)
	}
	if l.has(indexFile) {
		files, err := l.diffusers(c.Variant)
		return Chosen{files, true}, err
	}
	return l.alone(c.Variant)
}

func (l Listing) has(name string) bool {
	return slices.ContainsFunc(l.Files, func(f File) bool { return f.Path == name })
}

// named takes files by their paths.
func (l Listing) named(names []string) (c Chosen, err error) {
	for _, name := range names {
		i := slices.IndexFunc(l.Files, func(f File) bool { return f.Path == name })
		if i < 0 {
			return c, fmt.Errorf("%s: file %q is %w; there are %s", l.Repository, clip(name), ErrNotFound, l.some(weightFile))
		}
		c.Files = append(c.Files, l.Files[i])
	}
	return c, nil
}

// parts are the folders of a diffusers model that are read.
var parts = []string{"unet", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler"}

// settingsForm are the files beside weights that are read.
var settingsForm = regexp.MustCompile(`^(config|scheduler_config|tokenizer_config|special_tokens_map|vocab)\.json$|^merges\.txt$`)

// diffusers picks the files of a diffusers folder.
func (l Listing) diffusers(variant string) ([]File, error) {
	var out []File
	for _, f := range l.Files {
		dir, name := path.Split(f.Path)
		if f.Path == indexFile || slices.Contains(parts, strings.TrimSuffix(dir, "/")) && settingsForm.MatchString(name) {
			out = append(out, f)
		}
	}
	found := false
	for _, part := range parts {
		files, exact := l.weights(part, variant)
		found = found || exact && part == "unet"
		out = append(out, files...)
	}
	if variant != "" && !found {
		return nil, fmt.Errorf("%s: there is no variant %q of its UNet; there are %s", l.Repository, clip(variant), l.some(weightFile))
	}
	return out, nil
}

// form is one form of a network's weights: a file, or shards with their index.
type form struct {
	variant, extension string
}

// Names of weight files, with what they say: the variant, the extension.
var (
	weightForm = regexp.MustCompile(`^(?:diffusion_pytorch_model|pytorch_model|model)(?:\.([a-zA-Z0-9_]+))?(?:-\d{5}-of-\d{5})?\.(safetensors|bin)$`)
	shardsForm = regexp.MustCompile(`^(?:diffusion_pytorch_model|pytorch_model|model)\.(safetensors|bin)\.index(?:\.([a-zA-Z0-9_]+))?\.json$`)
)

func formOf(name string) (form, bool) {
	if m := weightForm.FindStringSubmatch(name); m != nil {
		return form{m[1], m[2]}, true
	}
	if m := shardsForm.FindStringSubmatch(name); m != nil {
		return form{m[2], m[1]}, true
	}
	return form{}, false
}

// weights are the files of one form of a part's weights; exact where it is the variant that was asked for.
func (l Listing) weights(part, variant string) (files []File, exact bool) {
	forms := map[form][]File{}
	for _, f := range l.Files {
		if of, ok := formOf(path.Base(f.Path)); ok && path.Dir(f.Path) == part {
			forms[of] = append(forms[of], f)
		}
	}
	for _, v := range slices.Compact([]string{variant, "", "fp16"}) {
		for _, extension := range []string{"safetensors", "bin"} {
			if files := forms[form{v, extension}]; files != nil {
				return files, v == variant
			}
		}
	}
	for _, of := range slices.SortedFunc(maps.Keys(forms), func(a, b form) int { return strings.Compare(a.variant, b.variant) }) {
		return forms[of], false
	}
	return nil, false
}

// alone picks the one weight file of a repository that is no diffusers folder, with its configuration.
func (l Listing) alone(variant string) (Chosen, error) {
	fits := func(name string) bool {
		return weightFile(name) && !strings.Contains(name, "/") && (variant == "" || strings.Contains(name, variant))
	}
	var found []File
	for _, extension := range []string{".safetensors", ".ckpt", ".bin", ".pt", ".pth"} {
		for _, f := range l.Files {
			if fits(f.Path) && path.Ext(f.Path) == extension {
				found = append(found, f)
			}
		}
		if len(found) > 0 {
			break
		}
	}
	if len(found) != 1 {
		return Chosen{}, fmt.Errorf("%s holds no diffusers folder: name one of its files with --file: %s", l.Repository, l.some(weightFile))
	}
	for _, f := range l.Files {
		if f.Path == "config.json" {
			found = append(found, f)
		}
	}
	return Chosen{Files: found}, nil
}

func weightFile(name string) bool {
	return slices.Contains([]string{".safetensors", ".ckpt", ".bin", ".pt", ".pth"}, path.Ext(name))
}

// some lists a few of the files.
func (l Listing) some(is func(string) bool) string {
	const few = 12
	var names []string
	for _, f := range l.Files {
		if is(f.Path) {
			names = append(names, clip(f.Path))
		}
	}
	switch {
	case len(names) == 0:
		return "no weight files"
	case len(names) > few:
		return strings.Join(names[:few], ", ") + fmt.Sprintf(" and %d more", len(names)-few)
	}
	return strings.Join(names, ", ")
}
