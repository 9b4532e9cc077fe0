package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"waggle/gpu"
	"waggle/internal/api"
	"waggle/internal/builtin"
	"waggle/internal/engine"
	"waggle/internal/job"
	"waggle/internal/models"
	"waggle/internal/sd"
)

const (
	catalogEvery = 10 * time.Second // how often folders are looked into
	outlinesKept = 4                // whose tokenizers stay in memory
)

// catalog knows the models of a server by their headers, without a device: its own model, the built-in one and those in the
// folders. It looks into the folders from time to time, so that models can come and go while the server runs.
type catalog struct {
	flags modelFlags
	shelf *models.Shelf
	own   string // name of the server's own model
	log   *slog.Logger

	mu       sync.Mutex
	cards    map[string]card
	outlines []outline // the ones used last, the latest at the end
}

// card is what is known of a model: what it is, or what is wrong with it.
type card struct {
	version string // another one is to be read anew
	info    job.ModelInfo
	err     error
}

type outline struct {
	name, version string
	*sd.Outline
}

// newCatalog finds the server's own model. What models are is read by run: vocabularies can take long, and a server answers
// before.
func newCatalog(flags modelFlags, log *slog.Logger) *catalog {
	c := &catalog{flags: flags, shelf: flags.shelf(), own: flags.Model, log: log, cards: map[string]card{}}
	m, err := flags.open()
	if err != nil {
		return c // the engine says why
	}
	defer m.Close()
	c.own = m.Name
	return c
}

// readOwn makes the card of the server's own model; false if it cannot be used, of which the engine says why.
func (c *catalog) readOwn() bool {
	o, err := c.outline(c.own)
	if err != nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cards[c.own] = card{info: c.modelInfo(c.own, o)}
	return true
}

func (c *catalog) modelInfo(name string, o *sd.Outline) job.ModelInfo {
	for _, f := range o.Info().Facts {
		if f.Guessed() {
			c.log.Info("a model does not say it itself", "model", name, f.Name, f.Value, "source", f.Source)
		}
	}
	info := engine.ModelInfo(o.Info())
	info.Name = name
	if name == builtin.Name {
		info.Example = builtin.ExamplePrompts[0]
	}
	return info
}

// run keeps the node's models up to date until ctx ends.
func (c *catalog) run(ctx context.Context, n *engine.Node) {
	if c.readOwn() {
		n.SetModels(c.list())
	}
	tick := time.NewTicker(catalogEvery)
	defer tick.Stop()
	for {
		if c.refresh(ctx) {
			n.SetModels(c.list())
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// refresh reads models that are new or have changed; false if there are none and none is gone.
func (c *catalog) refresh(ctx context.Context) (changed bool) {
	found := map[string]bool{c.own: true}
	for _, e := range c.shelf.List(models.Checkpoint) {
		found[e.Name] = true
		if e.Name == c.own || ctx.Err() != nil {
			continue
		}
		version := versionOf(e)
		c.mu.Lock()
		known, ok := c.cards[e.Name]
		c.mu.Unlock()
		if !ok || known.version != version {
			changed = true
			c.read(e, version)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for name := range c.cards {
		if !found[name] {
			changed = true
			delete(c.cards, name)
		}
	}
	return changed
}

// versionOf changes when a model's files do.
func versionOf(e models.Entry) string {
	info, err := os.Stat(e.Path)
	if err != nil {
		return ""
	}
	return strings.Join([]string{e.Path, info.ModTime().String(), time.Duration(e.Bytes).String()}, " ")
}

// read makes a model's card. One that is broken is left out of lists, and the log says why.
func (c *catalog) read(e models.Entry, version string) {
	o, err := describe(e)
	made := card{version: version, err: err}
	if err != nil {
		c.log.Warn("a model cannot be used", "model", e.Name, "because", err)
	} else {
		made.info = c.modelInfo(e.Name, o)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cards[e.Name] = made
}

func describe(e models.Entry) (*sd.Outline, error) {
	m, err := e.Open()
	if err != nil {
		return nil, err
	}
	defer m.Close()
	return sd.Describe(m)
}

// list is every model that can be used, as far as they were read, the server's own first; and the names of all.
func (c *catalog) list() (good []job.ModelInfo, present map[string]bool) {
	present = map[string]bool{c.own: true}
	for _, e := range c.shelf.List(models.Checkpoint) {
		present[e.Name] = true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, known := range c.cards {
		if known.err == nil {
			good = append(good, known.info)
		}
	}
	slices.SortFunc(good, func(a, b job.ModelInfo) int {
		if (a.Name == c.own) != (b.Name == c.own) {
			return map[bool]int{true: -1, false: 1}[a.Name == c.own]
		}
		return strings.Compare(a.Name, b.Name)
	})
	return good, present
}

// open opens a model by the name that clients know: the server's own, or one of its folders'. A path is no name.
func (c *catalog) open(name string) (*models.Model, error) {
	if name == c.own {
		return c.flags.open()
	}
	e, err := c.shelf.Find(models.Checkpoint, name)
	if err != nil {
		return nil, err
	}
	return e.Open()
}

// tokenize cuts a text as the named model does; as the server's own, where there is no such model.
func (c *catalog) tokenize(name, text string) (api.Tokens, error) {
	o, err := c.outline(name)
	if err != nil {
		return api.Tokens{}, kinded(err)
	}
	tokens := api.Tokens{Pieces: []string{}}
	for _, p := range o.Pieces(text, c.shelf) {
		tokens.Pieces = append(tokens.Pieces, p.Text)
	}
	tokens.Count = len(tokens.Pieces)
	return tokens, nil
}

// outline finds what cuts a model's text, or reads it again.
func (c *catalog) outline(name string) (*sd.Outline, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known, ok := c.cards[name]
	if !ok {
		name, known = c.own, c.cards[c.own]
	}
	if known.err != nil {
		return nil, known.err
	}
	for _, o := range c.outlines {
		if o.name == name && o.version == known.version {
			c.keep(o)
			return o.Outline, nil
		}
	}
	m, err := c.open(name)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	o, err := sd.Describe(m)
	if err == nil {
		c.keep(outline{name, known.version, o})
	}
	return o, err
}

// keep puts an outline at the end of those kept.
func (c *catalog) keep(o outline) {
	c.outlines = append(slices.DeleteFunc(c.outlines, func(old outline) bool { return old.name == o.name }), o)
	c.outlines = c.outlines[max(0, len(c.outlines)-outlinesKept):]
}

// kinded gives an error of a model or a device its kind on the wire.
func kinded(err error) error {
	for _, k := range []struct {
		is   error
		kind job.Kind
	}{{models.ErrNotFound, job.ModelNotFound}, {models.ErrInvalid, job.ModelInvalid}, {gpu.ErrOutOfMemory, job.OutOfMemory}} {
		if errors.Is(err, k.is) {
			return &job.Error{Kind: k.kind, Message: err.Error(), Err: err}
		}
	}
	return err
}
