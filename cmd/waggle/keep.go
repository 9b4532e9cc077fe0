package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/term"

	"waggle/internal/models"
	"waggle/internal/weights"
)

// ownModels is the folder where models are kept if no other is named.
func ownModels() (string, error) {
	home, err := dataHome()
	return filepath.Join(home, "waggle", "models"), err
}

// target is the folder that models are put into: the first of --models that can be written to, else our own.
func (f folderFlags) target() (string, error) {
	if len(f.ModelsDir) == 0 {
		dir, err := ownModels()
		if err == nil {
			err = os.MkdirAll(dir, 0o755)
		}
		if err != nil {
			return "", fmt.Errorf("no folder for models: %w; name one with --models", err)
		}
		return dir, nil
	}
	for _, dir := range f.ModelsDir {
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			continue
		}
		if probe, err := os.CreateTemp(dir, ".waggle-*"); err == nil {
			return dir, errors.Join(probe.Close(), os.Remove(probe.Name()))
		}
	}
	return "", fmt.Errorf("none of the folders of --models can be written to: %s", strings.Join(f.ModelsDir, ", "))
}

// opens makes sure of what a file or folder is said to be, and refuses what cannot be read.
func opens(e models.Entry, thoroughly bool) error {
	if e.Kind == models.Checkpoint {
		m, err := e.Open()
		if err != nil {
			return err
		}
		defer m.Close()
		if thoroughly {
			return m.CheckFinite()
		}
		return nil
	}
	f, err := weights.Open(e.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	if thoroughly {
		return weights.CheckFinite(f)
	}
	return nil
}

// kindOf settles what a file is: what was said, else what its tensors' names say.
func kindOf(said models.Kind, path string) (models.Kind, error) {
	if said != "" {
		return said, nil
	}
	if kind, ok := models.KindOf(path); ok {
		return kind, nil
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return models.Checkpoint, nil
	}
	f, err := weights.Open(path)
	if err != nil {
		return "", err
	}
	f.Close()
	return "", fmt.Errorf("%s: its tensors' names do not say what it is; say it with --kind", path)
}

// sumOf is a file's SHA-256.
func sumOf(ctx context.Context, path string) (string, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, whileReader{ctx, f})
	return hex.EncodeToString(sum.Sum(nil)), n, err
}

// confirm asks on the terminal; without one it says how to do without.
func confirm(question string) error {
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return errors.New("nobody is there to ask: say --yes")
	}
	fmt.Fprint(os.Stderr, question, " [y/N] ")
	answer, err := bufio.NewReader(io.LimitReader(os.Stdin, 1024)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if !slices.Contains([]string{"y", "yes"}, strings.ToLower(strings.TrimSpace(answer))) {
		return errors.New("nothing was removed")
	}
	return nil
}

// copyFile copies a file to where none is, and gives its SHA-256 and length.
func copyFile(ctx context.Context, from, to string) (string, int64, error) {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return "", 0, err
	}
	in, err := os.Open(from)
	if err != nil {
		return "", 0, err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return "", 0, err
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(out, sum), whileReader{ctx, in})
	return hex.EncodeToString(sum.Sum(nil)), n, errors.Join(err, out.Sync(), out.Close())
}

// whileReader reads until its context ends.
type whileReader struct {
	ctx context.Context
	io.Reader
}

func (r whileReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}
