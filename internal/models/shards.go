package models

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"waggle/internal/weights"
)

const (
	indexLimit = 16 << 20 // bytes of an index of shards
	shardLimit = 256      // files of one network
)

// openWeights opens the weights in a part's folder. In order of preference:
// the plain file, the plain index of shards, a variant (fp16 and the like).
func (m *Model) openWeights(f folder, dir, stem string) (weights.Source, error) {
	name, err := weightsName(f, dir, stem)
	if err != nil {
		return nil, err
	}
	if strings.HasSuffix(name, ".json") {
		return m.openShards(f, dir, name)
	}
	return m.openFile(f, path.Join(dir, name))
}

// openFile opens one weight file and keeps it for Close.
func (m *Model) openFile(f folder, name string) (*weights.File, error) {
	file, err := f.weights(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is missing; fetch the model whole", name)
	}
	if err != nil {
		return nil, err
	}
	m.files = append(m.files, file)
	return file, nil
}

// weightsName chooses among the files of a part's folder.
func weightsName(f folder, dir, stem string) (string, error) {
	entries, err := fs.ReadDir(f.fsys, dir)
	if err != nil {
		return "", fmt.Errorf("%s: %w", dir, err)
	}
	have := map[string]bool{}
	for _, e := range entries {
		have[e.Name()] = true
	}
	for _, suffix := range []string{
		extension, extension + ".index.json",
		".fp16" + extension, extension + ".index.fp16.json", ".fp16" + extension + ".index.json",
	} {
		if have[stem+suffix] {
			return stem + suffix, nil
		}
	}
	return otherVariant(dir, stem, slices.Sorted(maps.Keys(have)))
}

// otherVariant takes the one variant there is, or says why there is none to take.
func otherVariant(dir, stem string, names []string) (string, error) {
	var variants, pickles []string
	for _, name := range names {
		switch {
		case strings.HasPrefix(name, stem+".") && strings.HasSuffix(name, extension):
			variants = append(variants, name)
		case strings.HasSuffix(name, ".bin"):
			pickles = append(pickles, name)
		}
	}
	switch {
	case len(variants) == 1:
		return variants[0], nil
	case len(variants) > 1:
		return "", fmt.Errorf("%s: several variants (%s); keep one, or name it %s", dir, strings.Join(variants, ", "), stem+extension)
	case len(pickles) > 0:
		return "", fmt.Errorf("%s: only %s is there: pickle checkpoints are not read yet, fetch %s", dir, pickles[0], stem+extension)
	}
	return "", fmt.Errorf("%s/%s is missing; fetch the model whole", dir, stem+extension)
}

// openShards opens every file an index names and joins them. An index is
// foreign: it may name files of its own folder only.
func (m *Model) openShards(f folder, dir, name string) (weights.Source, error) {
	place := path.Join(dir, name)
	data, err := f.read(place, indexLimit)
	if err != nil {
		return nil, err
	}
	var index struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, fmt.Errorf("%s: %w", place, err)
	}
	shards := slices.Compact(slices.Sorted(maps.Values(index.WeightMap)))
	if len(shards) == 0 || len(shards) > shardLimit {
		return nil, fmt.Errorf("%s: weight_map names %d files, need 1 to %d", place, len(shards), shardLimit)
	}
	files := map[string]*weights.File{}
	for _, shard := range shards {
		if path.Base(shard) != shard || strings.Contains(shard, `\`) || !strings.HasSuffix(shard, extension) {
			return nil, fmt.Errorf("%s: %q is not the name of a safetensors file beside it", place, clip(shard))
		}
		if files[shard], err = m.openFile(f, path.Join(dir, shard)); err != nil {
			return nil, err
		}
	}
	return joinShards(place, index.WeightMap, files)
}

// joinShards takes each tensor from the file that the index gives it.
func joinShards(place string, weightMap map[string]string, files map[string]*weights.File) (weights.Source, error) {
	var tensors []weights.Tensor
	for _, name := range slices.Sorted(maps.Keys(weightMap)) {
		t, ok := files[weightMap[name]].Tensor(name)
		if !ok {
			return nil, fmt.Errorf("%s: %s holds no tensor %q", place, weightMap[name], clip(name))
		}
		tensors = append(tensors, t)
	}
	return weights.NewSet(tensors)
}
