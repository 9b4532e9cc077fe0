package models

import (
	"cmp"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Bounds on one folder of a shelf, whatever lies there.
const (
	depthLimit = 8      // folders inside one another
	entryLimit = 50_000 // files and folders that are looked at
)

// kindFolders are the folders in which A1111, Forge, ComfyUI and Waggle keep files of one kind, in lower case.
var kindFolders = map[string]Kind{
	"stable-diffusion": Checkpoint, "checkpoints": Checkpoint, "diffusers": Checkpoint,
	"lora": LoRA, "loras": LoRA, "lycoris": LoRA,
	"vae": VAE, "embeddings": Embedding,
	"unet": UNet, "diffusion_models": UNet,
	"clip": TextEncoder, "text_encoder": TextEncoder, "text_encoders": TextEncoder,
	"controlnet": ControlNet,
	"esrgan":     Upscaler, "realesrgan": Upscaler, "upscale_models": Upscaler,
	"vae_approx": TAESD, "vae-approx": TAESD,
}

// farFolders are such folders of an installation that are not beside the others.
var farFolders = map[string]Kind{"embeddings": Embedding, "extensions/sd-webui-controlnet/models": ControlNet}

// usualStems are names of weight files that say nothing: such a file goes by its folder's name.
var usualStems = []string{"diffusion_pytorch_model", "pytorch_lora_weights", "pytorch_model", "model", "learned_embeds"}

// extensions of weight files, the ones preferred first.
var extensions = []string{extension, ".ckpt", ".pt", ".pth", ".bin"}

// find is an entry that has no name yet.
type find struct {
	Entry
	short, long string // what it would be called, and what else if that is taken
}

// walker gathers what lies in a folder and those below it.
type walker struct {
	tell  *teller
	left  int // entries that may still be looked at
	finds []find
}

// spot is a folder on the walker's way.
type spot struct {
	path   string
	prefix string // of the names of what is in it, empty or ending in "/"
	kind   Kind   // of all that is in it; empty: each file is told by itself
	above  []fs.FileInfo
	skip   map[string]bool // children that are no part of it
}

// survey gathers what a folder given by --models holds. It is one of: an installation of A1111, Forge or ComfyUI, or its
// folder models; a diffusers folder; a folder of models, with or without folders for other kinds; a Hugging Face cache.
func (w *walker) survey(dir string) {
	if _, err := os.Stat(filepath.Join(dir, "model_index.json")); err == nil {
		w.model(base(dir), dir)
		return
	}
	w.left = entryLimit
	own, below := kindsIn(dir), kindsIn(filepath.Join(dir, "models"))
	switch {
	case len(below) > 0:
		w.kinds(filepath.Join(dir, "models"), below)
		w.kinds(dir, farFolders)
	case len(own) > 0:
		w.kinds(dir, own)
	}
	w.walk(plain(dir, own, len(below) > 0 || hasCheckpoints(own)))
}

// plain is a folder itself, without those of its own kinds; of an installation, without any.
func plain(dir string, own map[string]Kind, installation bool) spot {
	p := spot{path: dir, skip: map[string]bool{}}
	for name := range own {
		p.skip[name] = true
	}
	if installation {
		for _, c := range children(dir, entryLimit) {
			p.skip[c.Name()] = p.skip[c.Name()] || !c.Type().IsRegular() && !strings.HasPrefix(c.Name(), hubPrefix)
		}
	}
	return p
}

// kindsIn finds the folders in dir that are for one kind.
func kindsIn(dir string) map[string]Kind {
	found := map[string]Kind{}
	for _, c := range children(dir, entryLimit) {
		if kind, ok := kindFolders[strings.ToLower(c.Name())]; ok {
			found[c.Name()] = kind
		}
	}
	return found
}

func hasCheckpoints(kinds map[string]Kind) bool {
	return slices.Contains(slices.Collect(maps.Values(kinds)), Checkpoint)
}

// kinds gathers what is in folders of dir that are for one kind each.
func (w *walker) kinds(dir string, kinds map[string]Kind) {
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		w.walk(spot{path: filepath.Join(dir, filepath.FromSlash(name)), kind: kinds[name]})
	}
}

// walk gathers what is in a folder and, deeper, in those that are no models themselves. Links are followed, except to a
// folder that one is in already.
func (w *walker) walk(p spot) {
	here, err := os.Stat(p.path)
	if err != nil || len(p.above) >= depthLimit || slices.ContainsFunc(p.above, func(a fs.FileInfo) bool { return os.SameFile(a, here) }) {
		return
	}
	above := append(slices.Clone(p.above), here)
	list := children(p.path, w.left)
	w.left -= len(list)
	for _, c := range list {
		path := filepath.Join(p.path, c.Name())
		info, err := stat(c, path)
		switch {
		case err != nil || p.skip[c.Name()] || !ValidName(p.prefix+c.Name()):
		case info.Mode().IsRegular():
			w.file(p, path, info)
		case info.IsDir():
			w.folder(spot{path: path, prefix: p.prefix + c.Name() + "/", kind: p.kind, above: above})
		}
	}
}

// stat looks at a child of a folder, through a link.
func stat(c fs.DirEntry, path string) (fs.FileInfo, error) {
	if c.Type()&fs.ModeSymlink != 0 {
		return os.Stat(path)
	}
	return c.Info()
}

// folder takes a folder as a model, as a repository of a Hugging Face cache, or walks on in it.
func (w *walker) folder(p spot) {
	if repository, ok := strings.CutPrefix(filepath.Base(p.path), hubPrefix); ok {
		snapshot, found := newestSnapshot(p.path)
		if !found {
			return
		}
		p.path, p.prefix = snapshot, strings.Replace(repository, "--", "/", 1)+"/"
	}
	if (p.kind == "" || p.kind == Checkpoint) && w.model(strings.TrimSuffix(p.prefix, "/"), p.path) {
		return
	}
	w.walk(p)
}

// model takes a diffusers folder, if it is one.
func (w *walker) model(name, path string) bool {
	total := modelBytes(path)
	if total == 0 || !ValidName(name) {
		return false
	}
	w.finds = append(w.finds, find{Entry{Kind: Checkpoint, Form: Folder, Path: path, Bytes: total}, name, name})
	return true
}

// file takes a weight file.
func (w *walker) file(p spot, path string, info fs.FileInfo) {
	long := p.prefix + filepath.Base(path)
	if !slices.Contains(extensions, strings.ToLower(filepath.Ext(path))) {
		return
	}
	kind, short := p.kind, withoutExtension(long)
	if kind == "" {
		kind = w.kindOf(path, info)
	}
	if beside, ok := strings.CutSuffix(short, ".vae"); ok && kind == Checkpoint { // as A1111 finds a checkpoint's own
		kind, short = VAE, beside
	}
	if stem, _, _ := strings.Cut(filepath.Base(path), "."); p.prefix != "" && slices.Contains(usualStems, stem) {
		short = strings.TrimSuffix(p.prefix, "/")
	}
	if kind != "" {
		w.finds = append(w.finds, find{Entry{Kind: kind, Form: SingleFile, Path: path, Bytes: info.Size()}, short, long})
	}
}

// kindOf tells a file's kind. One that does not say is taken for a model if it is called one, so that whoever asks for it is
// told what is wrong with it.
func (w *walker) kindOf(path string, info fs.FileInfo) Kind {
	kind := w.tell.kind(path, info)
	if ext := strings.ToLower(filepath.Ext(path)); kind == "" && (ext == extension || ext == ".ckpt") {
		return Checkpoint
	}
	return kind
}

// namer gives finds their names: of two of one kind that would be called the same, the first keeps the name, and the other
// goes by its file's whole name; one that has that name too is left out.
type namer map[Kind]map[string]bool

// name names what was found in one folder: of files that differ in the format alone, the better one comes first.
func (n namer) name(finds []find) (out []Entry) {
	slices.SortStableFunc(finds, func(a, b find) int {
		return cmp.Or(cmp.Compare(a.rank(), b.rank()), cmp.Compare(a.long, b.long), cmp.Compare(a.Path, b.Path))
	})
	for _, f := range finds {
		taken := n[f.Kind]
		if taken == nil {
			taken = map[string]bool{}
			n[f.Kind] = taken
		}
		f.Name, f.file = f.short, f.long
		if taken[f.Name] {
			f.Name = f.long
		}
		if !taken[f.Name] {
			taken[f.Name], taken[f.long] = true, true
			out = append(out, f.Entry)
		}
	}
	return out
}

// rank is the place of a form among others: a folder's, then those of formats.
func (f find) rank() int {
	if f.Form == Folder {
		return -1
	}
	return slices.Index(extensions, strings.ToLower(filepath.Ext(f.Path)))
}

// children lists a folder by names, up to a limit; nothing when it cannot be read.
func children(path string, limit int) []fs.DirEntry {
	d, err := os.Open(path)
	if err != nil || limit <= 0 {
		return nil
	}
	defer d.Close()
	entries, _ := d.ReadDir(limit) // what could be read counts
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return cmp.Compare(a.Name(), b.Name()) })
	return entries
}

// hubPrefix begins the folders in which a Hugging Face cache keeps one model each: models--OWNER--NAME/snapshots/COMMIT.
const hubPrefix = "models--"

// newestSnapshot is the folder of the commit that the main branch was at when it was fetched last, else any that is there.
func newestSnapshot(repository string) (string, bool) {
	snapshots := filepath.Join(repository, "snapshots")
	main, _ := diskFolder(repository).read("refs/main", configLimit) // without it any will do
	if commit := strings.TrimSpace(string(main)); ValidName(commit) {
		path := filepath.Join(snapshots, filepath.FromSlash(commit))
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			return path, true
		}
	}
	newest := slices.MaxFunc(append(children(snapshots, entryLimit), nil), byTime)
	if newest == nil {
		return "", false
	}
	return filepath.Join(snapshots, newest.Name()), true
}

// byTime orders folders by when they were changed, nil first.
func byTime(a, b fs.DirEntry) int {
	age := func(e fs.DirEntry) int64 {
		if e == nil {
			return -1 << 62
		}
		info, err := e.Info()
		if err != nil {
			return -1<<62 + 1
		}
		return info.ModTime().UnixNano()
	}
	return cmp.Compare(age(a), age(b))
}
