package models

import (
	"cmp"
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
	binExtension = ".bin" // of a torch checkpoint in a diffusers folder

	indexLimit = 16 << 20 // bytes of an index of shards
	shardLimit = 256      // files of one network
)

// openWeights opens the weights in a part's folder, of the choices that weightsName has.
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

// weightStems are what diffusers and transformers call the weights of a network,
// by the name in safetensors files: the same with torch checkpoints, but for
// text encoders.
var weightStems = map[string]string{"model": "pytorch_model"}

// weightsName chooses among the files of a part's folder. In order of
// preference: the plain file, the plain index of shards, those of the variant
// fp16, the one other variant there is; each as safetensors before any as a
// torch checkpoint.
func weightsName(f folder, dir, stem string) (string, error) {
	entries, err := fs.ReadDir(f.fsys, dir)
	if err != nil {
		return "", fmt.Errorf("%s: %w", dir, err)
	}
	var have []string
	for _, e := range entries {
		have = append(have, e.Name())
	}
	pickled := cmp.Or(weightStems[stem], stem)
	for _, form := range []struct{ stem, extension string }{{stem, extension}, {pickled, binExtension}} {
		name, err := chosen(form.stem, form.extension, have)
		if name != "" || err != nil {
			return name, inDir(dir, err)
		}
	}
	return "", fmt.Errorf("%s/%s is missing (or %s); fetch the model whole", dir, stem+extension, pickled+binExtension)
}

func inDir(dir string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", dir, err)
}

// chosen is the file to read of those with one stem and extension; empty when
// there is none.
func chosen(stem, extension string, have []string) (string, error) {
	for _, suffix := range []string{
		extension, extension + ".index.json",
		".fp16" + extension, extension + ".index.fp16.json", ".fp16" + extension + ".index.json",
	} {
		if slices.Contains(have, stem+suffix) {
			return stem + suffix, nil
		}
	}
	var variants []string
	for _, name := range have {
		if strings.HasPrefix(name, stem+".") && strings.HasSuffix(name, extension) {
			variants = append(variants, name)
		}
	}
	switch len(variants) {
	case 0:
		return "", nil
	case 1:
		return variants[0], nil
	}
	return "", fmt.Errorf("several variants (%s); keep one, or name it %s", strings.Join(variants, ", "), stem+extension)
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
		if path.Base(shard) != shard || strings.Contains(shard, `\`) || !strings.HasSuffix(shard, extension) && !strings.HasSuffix(shard, binExtension) {
			return nil, fmt.Errorf("%s: %q is not the name of a weight file beside it", place, clip(shard))
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
