package sd

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"waggle/internal/models"
	"waggle/internal/prompt"
	"waggle/internal/tokenizer"
	"waggle/internal/weights"
)

// inversion is a textual inversion, called an embedding by those who use one: rows that stand in a prompt in place of a word.
// Gal et al. 2022.
type inversion struct {
	name string
	hash string      // of its file, SHA-256, as many digits as the A1111 web UI shows
	rows [][]float32 // for each text encoder [count,hidden]
	size []int       // for each text encoder: hidden
}

// count of rows, the same for all encoders.
func (v *inversion) count() int { return len(v.rows[0]) / v.size[0] }

// row number of the inversion for text encoder i.
func (v *inversion) row(i, number, place int) row {
	return row{place, v.name, v.hash, number, v.rows[i][number*v.size[i]:][:v.size[i]]}
}

// inversions are those that a prompt may name, opened as it names them.
type inversions struct {
	shelf     *models.Shelf
	text      []TextConfig
	entries   []models.Entry // those named by their name alone
	spellings *spellings
	opened    []*inversion
	numbers   map[string]int // path → place in opened, from 1
	err       error          // of the first that could not be opened
}

// inversions of the shelf, as a dialect names them.
func (p *Pipeline) inversions(r reading) *inversions {
	known := &inversions{shelf: p.shelf, text: p.networks.textConfigs(), spellings: p.spellings, numbers: map[string]int{}}
	if r.byWord && p.shelf != nil {
		known.entries = p.shelf.List(models.Embedding)
	}
	return known
}

// reader makes tokens of a text with the inversions named in it.
func (v *inversions) reader(t *tokenizer.Tokenizer) prompt.Reader {
	r := prompt.Reader{Length: tokenizer.ChunkTokens, Comma: t.Comma(), Encode: t.Encode}
	if v.shelf != nil {
		r.Named = v.named
	}
	if len(v.entries) == 0 {
		return r
	}
	names := v.spellings.of(t, v.entries)
	r.Embedding = func(ids []int32) (number, rows, taken int) {
		name, ok := names.find(ids)
		if !ok {
			return 0, 0, 0
		}
		number, rows = v.open(name.entry)
		return number, rows, len(name.ids)
	}
	return r
}

// named finds an inversion by what follows "embedding:".
func (v *inversions) named(name string) (number, rows int) {
	e, err := v.shelf.Find(models.Embedding, name)
	if err != nil {
		v.err = errors.Join(v.err, err)
		return 0, 0
	}
	return v.open(e)
}

// open reads an inversion, once.
func (v *inversions) open(e models.Entry) (number, rows int) {
	number, ok := v.numbers[e.Path]
	if !ok {
		made, err := openInversion(e.Path, v.text)
		if err != nil {
			v.err = errors.Join(v.err, fmt.Errorf("embedding %s (%s): %w", e.Name, e.Path, err))
			return 0, 0
		}
		made.name = e.Name
		v.opened = append(v.opened, made)
		number = len(v.opened)
		v.numbers[e.Path] = number
	}
	return number, v.opened[number-1].count()
}

func (n Networks) textConfigs() (all []TextConfig) {
	for _, text := range n.text {
		all = append(all, text.config)
	}
	return all
}

// inversionLimit is far above the size in bytes of a file with 75 rows for two encoders.
const inversionLimit = 16 << 20

// openInversion reads a file of rows for these text encoders.
func openInversion(path string, text []TextConfig) (*inversion, error) {
	hash, err := fileHash(path)
	if err != nil {
		return nil, err
	}
	f, err := weights.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	v := &inversion{hash: hash}
	for i, config := range text {
		t, err := inversionTensor(f, i, len(text))
		if err != nil {
			return nil, err
		}
		width := t.Shape[len(t.Shape)-1]
		if len(t.Shape) > 2 || width != config.Hidden {
			return nil, fmt.Errorf("%s is of shape %v, but text encoder %d of the model has states of %d numbers: it is for another family of models",
				t.Name, t.Shape, i+1, config.Hidden)
		}
		rows, err := t.Float32s()
		if err != nil {
			return nil, err
		}
		v.rows, v.size = append(v.rows, rows), append(v.size, width)
	}
	return v, v.check()
}

func (v *inversion) check() error {
	for i := range v.rows {
		if n := len(v.rows[i]) / v.size[i]; n != v.count() || n < 1 || n > tokenizer.ChunkTokens {
			return fmt.Errorf("%d rows for text encoder %d and %d for the first, want as many for each, 1…%d", n, i+1, v.count(), tokenizer.ChunkTokens)
		}
		if x := sum(v.rows[i]); x-x != 0 {
			return errors.New("its rows have numbers that are not finite")
		}
	}
	return nil
}

// inversionTensor finds the rows of one of some text encoders: by the names of kohya's trainers for SDXL, of the A1111 web UI, or
// in a file that holds nothing else, as diffusers writes it.
func inversionTensor(f *weights.File, i, encoders int) (weights.Tensor, error) {
	names := []string{"emb_params", "string_to_param.*"}
	if encoders > 1 {
		names = []string{"clip_l", "clip_g"}[i : i+1]
	} else if all := f.Names(); len(all) == 1 {
		names = all
	}
	for _, name := range names {
		if t, ok := f.Tensor(name); ok && len(t.Shape) > 0 {
			return t, nil
		}
	}
	return weights.Tensor{}, fmt.Errorf("it has no rows for text encoder %d of %d (no tensor %s): it is for another family of models, or no embedding",
		i+1, encoders, strings.Join(names, " or "))
}

// fileHash is of a small file's bytes.
func fileHash(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Size() > inversionLimit {
		return "", errors.Join(err, fmt.Errorf("more than %d bytes: no embedding", inversionLimit))
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return fmt.Sprintf("%x", h.Sum(nil))[:12], nil
}
