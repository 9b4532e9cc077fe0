package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"

	"waggle/internal/bus"
	"waggle/internal/hub"
	"waggle/internal/models"
)

type modelsPullCommand struct {
	Source      string `arg:"" help:"OWNER/NAME, OWNER/NAME@REVISION, or the http or https address of a file."`
	folderFlags `embed:""`
	Files       []string    `name:"file" sep:"none" help:"A file of the repository, by its path there; repeatable (default: what makes a model)."`
	Variant     string      `help:"Variant of the weights, such as fp16."`
	SHA256      string      `name:"sha256" help:"What the file at an address must be."`
	Kind        models.Kind `enum:",${kinds}" default:"" help:"What it is, where that cannot be told: ${kinds}."`
	Name        string      `help:"What it shall be called (default: as it is there)."`
	Endpoint    string      `env:"HF_ENDPOINT" default:"https://huggingface.co" help:"The hub. A token for it is taken from HF_TOKEN."`
	JSON        bool        `name:"json" help:"Print one JSON object a line."`
}

// order is what shall be fetched.
type order struct {
	hub.Chosen
	name string // of the repository; empty for an address
}

// Run fetches a model, checks it, and puts it where it is found by name.
func (c *modelsPullCommand) Run(ctx context.Context) error {
	dir, err := c.target()
	if err != nil {
		return err
	}
	told := newFetchProgress(c.JSON)
	defer told.close()
	client := &hub.Client{Endpoint: c.Endpoint, Token: os.Getenv("HF_TOKEN"), Version: version, Free: bus.Free, Progress: told.progress}
	o, err := c.order(ctx, client)
	if err != nil {
		return err
	}
	ledger, err := models.ReadLedger(dir)
	if err != nil {
		return err
	}
	if there := o.there(ledger, dir); there {
		told.done(pulled{Type: "present", Source: c.plainSource(), Folder: dir})
		return nil
	}
	incoming := filepath.Join(dir, models.NotesFolder, "incoming", o.key())
	fetched, err := client.Fetch(ctx, incoming, o.Files)
	if err != nil {
		return fmt.Errorf("%s: %w", c.plainSource(), err)
	}
	told.close()
	return c.shelve(ctx, told, o, dir, incoming, fetched)
}

// plainSource is what was asked for, without what may be secret.
func (c *modelsPullCommand) plainSource() string {
	if strings.Contains(c.Source, "://") {
		return plainAddress(c.Source)
	}
	return c.Source
}

// plainAddress is an address without user, query and fragment.
func plainAddress(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "the address"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// order finds out what shall be fetched.
func (c *modelsPullCommand) order(ctx context.Context, client *hub.Client) (order, error) {
	if strings.Contains(c.Source, "://") {
		f, err := c.address()
		return order{Chosen: hub.Chosen{Files: []hub.File{f}}}, err
	}
	if c.SHA256 != "" {
		return order{}, errors.New("--sha256 is for an address; a repository tells its own")
	}
	repository, revision, err := hub.SplitRepository(c.Source)
	if err != nil {
		return order{}, err
	}
	listing, err := client.List(ctx, repository, revision)
	if err != nil {
		return order{}, err
	}
	chosen, err := listing.Choose(hub.Choice{Files: c.Files, Variant: c.Variant})
	return order{chosen, repository}, err
}

// address is the file at an address.
func (c *modelsPullCommand) address() (hub.File, error) {
	f, err := hub.FileAt(c.Source)
	switch {
	case err != nil:
		return f, fmt.Errorf("%s %w", c.plainSource(), err)
	case len(c.Files) > 0 || c.Variant != "":
		return f, errors.New("--file and --variant are for repositories")
	case c.SHA256 != "" && (len(c.SHA256) != 64 || strings.Trim(strings.ToLower(c.SHA256), "0123456789abcdef") != ""):
		return f, errors.New("--sha256 must be 64 hexadecimal digits")
	}
	f.SHA256 = strings.ToLower(c.SHA256)
	if !models.IsWeights(f.Path) {
		if f.Path = c.Name; !models.IsWeights(f.Path) || !hub.SafePath(f.Path) {
			return f, fmt.Errorf("%s does not end in the name of a weight file: say one with --name, such as NAME.safetensors", c.plainSource())
		}
	}
	return f, nil
}

// recorded is by what the ledger knows a file: its address, of whose query only a digest is kept.
func recorded(f hub.File) string {
	plain := plainAddress(f.Address)
	if u, err := url.Parse(f.Address); err == nil && u.RawQuery != "" {
		sum := sha256.Sum256([]byte(u.RawQuery))
		plain += "?" + hex.EncodeToString(sum[:8])
	}
	return plain
}

// key is the name of the folder that an order's files come into.
func (o order) key() string {
	sum := sha256.New()
	for _, f := range o.Files {
		fmt.Fprintln(sum, f.Address)
	}
	return hex.EncodeToString(sum.Sum(nil)[:12])
}

// there reports whether everything was fetched before, and is there.
func (o order) there(ledger models.Ledger, dir string) bool {
	for _, f := range o.Files {
		paths := ledger.From(dir, recorded(f))
		if len(paths) == 0 || f.SHA256 != "" && ledger[paths[0]].SHA256 != f.SHA256 {
			return false
		}
	}
	return true
}

// shelve checks what came and moves it to where it is found.
func (c *modelsPullCommand) shelve(ctx context.Context, told *fetchProgress, o order, dir, incoming string, fetched []hub.Fetched) error {
	places, results, err := c.places(o, dir, incoming)
	if err != nil {
		return fmt.Errorf("%s came, and cannot be used: %w; it lies in %s", c.plainSource(), err, incoming)
	}
	if err := free(places, dir); err != nil {
		return fmt.Errorf("%w; what came lies in %s", err, incoming)
	}
	records := models.Ledger{}
	for _, f := range fetched {
		to := places[f.Path]
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := os.Rename(filepath.Join(incoming, filepath.FromSlash(f.Path)), to); err != nil {
			return err
		}
		if err := records.Put(dir, to, models.Record{Source: recorded(f.File), SHA256: f.SHA256, Bytes: f.Size}); err != nil {
			return err
		}
	}
	if err := models.ChangeLedger(ctx, dir, func(l models.Ledger) { maps.Copy(l, records) }); err != nil {
		return err
	}
	for _, r := range results {
		told.done(r)
	}
	return os.RemoveAll(incoming)
}

// free refuses to put two files in one place, or one where another lies that was not put there by us.
func free(places map[string]string, dir string) error {
	ledger, err := models.ReadLedger(dir)
	if err != nil {
		return err
	}
	taken := map[string]bool{}
	for _, to := range places {
		_, err := os.Lstat(to)
		if _, ours := ledger.Of(dir, to); taken[to] || err == nil && !ours {
			return fmt.Errorf("%s is there already: remove it first, or say another --name", to)
		}
		taken[to] = true
	}
	return nil
}

// places settles where each file goes, by its path in the repository, and checks that what came can be used.
func (c *modelsPullCommand) places(o order, dir, incoming string) (map[string]string, []pulled, error) {
	places := map[string]string{}
	if o.Folder {
		name := o.name
		if c.Name != "" {
			name = c.Name
		}
		e := models.Entry{Name: name, Kind: models.Checkpoint, Form: models.Folder, Path: incoming}
		if err := checkNamed(e); err != nil {
			return nil, nil, err
		}
		home := filepath.Join(models.HomeOf(dir, e.Kind), filepath.FromSlash(name))
		for _, f := range o.Files {
			places[f.Path] = filepath.Join(home, filepath.FromSlash(f.Path))
		}
		return places, []pulled{{Type: "pulled", Name: name, Kind: e.Kind, Path: home}}, nil
	}
	var results []pulled
	for _, f := range o.Files {
		if !models.IsWeights(f.Path) {
			continue
		}
		at := filepath.Join(incoming, filepath.FromSlash(f.Path))
		kind, err := kindOf(c.Kind, at)
		if err != nil {
			return nil, nil, err
		}
		name := c.nameOf(o, f.Path)
		if err := checkNamed(models.Entry{Name: name, Kind: kind, Form: models.SingleFile, Path: at}); err != nil {
			return nil, nil, err
		}
		home := models.HomeOf(dir, kind)
		places[f.Path] = filepath.Join(home, filepath.FromSlash(name)) + path.Ext(f.Path)
		results = append(results, pulled{Type: "pulled", Name: name, Kind: kind, Path: places[f.Path]})
	}
	// What is no weight file is the configuration of the one that is.
	for _, f := range o.Files {
		if places[f.Path] == "" && len(results) > 0 {
			beside := strings.TrimSuffix(results[0].Path, filepath.Ext(results[0].Path))
			if places[f.Path] = filepath.Join(beside, path.Base(f.Path)); models.IsUsualStem(results[0].Path) {
				places[f.Path] = filepath.Join(filepath.Dir(results[0].Path), path.Base(f.Path))
			}
		}
	}
	return places, results, nil
}

func checkNamed(e models.Entry) error {
	if !models.ValidName(e.Name) {
		return fmt.Errorf("%q cannot be a name; say another with --name", e.Name)
	}
	return opens(e, false)
}

// nameOf is a stand-alone file's name, without extension: its own; where that says nothing, its repository's before it.
func (c *modelsPullCommand) nameOf(o order, file string) string {
	stem := strings.TrimSuffix(path.Base(file), path.Ext(file))
	switch {
	case c.Name != "":
		return strings.TrimSuffix(c.Name, path.Ext(file))
	case models.IsUsualStem(file) && o.name != "":
		return path.Join(o.name, path.Dir(file), stem)
	}
	return stem
}

// pulled is the last line for programs.
type pulled struct {
	Type   string      `json:"type"`
	Name   string      `json:"name,omitempty"`
	Kind   models.Kind `json:"kind,omitempty"`
	Path   string      `json:"path,omitempty"`
	Source string      `json:"source,omitempty"`
	Folder string      `json:"folder,omitempty"`
}

func (p pulled) print(asJSON bool) {
	switch {
	case asJSON:
		json.NewEncoder(os.Stdout).Encode(p)
	case p.Type == "present":
		fmt.Printf("%s is there already, in %s\n", p.Source, p.Folder)
	default:
		fmt.Printf("%s %s: %s\n", p.Kind, p.Name, p.Path)
	}
}
