package weights

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"waggle/internal/pickle"
)

// Bounds on the tree of a checkpoint. Dictionaries can hold one another many
// times over, so that the walk is bounded by its steps, not by the file.
const (
	torchDepth       = 16
	torchSteps       = 1 << 18
	torchFacts       = 256 // values kept as metadata
	torchFactLength  = 1 << 10
	torchCopiesSlack = 1 << 20 // bytes that views may need beyond the file's own
)

// torchRoots are the members under which programs put the weights, the most
// wanted first: averaged before plain where an up-scaler has both.
var torchRoots = []string{"state_dict", "params_ema", "params"}

// torchTree gathers the tensors of a checkpoint. A tensor's name is the keys
// that lead to it, joined by dots; text and numbers become metadata likewise.
type torchTree struct {
	file  *File
	views map[string]*torchView
	steps int
}

// torchFile makes a File of the value that a checkpoint holds; the storages
// have their data. length is that of the whole file.
func torchFile(name string, root any, length int) (*File, error) {
	t := &torchTree{
		file:  &File{name: name, metadata: map[string]string{}, tensors: map[string]Tensor{}, lazy: map[string]*lazyData{}},
		views: map[string]*torchView{},
	}
	if err := t.walk("", weightsOf(root), 0); err != nil {
		return nil, err
	}
	if len(t.views) == 0 {
		return nil, &FormatError{File: name, Reason: "is a pickle that holds no tensors"}
	}
	t.facts(root)
	if err := t.place(length + torchCopiesSlack); err != nil {
		return nil, err
	}
	t.file.names = slices.Sorted(maps.Keys(t.file.tensors))
	return t.file, nil
}

// weightsOf is the member of the root that holds the weights, or the root.
func weightsOf(root any) any {
	d, ok := root.(*pickle.Dict)
	if !ok {
		return root
	}
	for _, key := range torchRoots {
		if v, ok := d.Get(key); ok {
			if _, ok := v.(*pickle.Dict); ok {
				return v
			}
		}
	}
	return root
}

// walk collects the tensors under a value.
func (t *torchTree) walk(path string, v any, depth int) error {
	if t.steps++; t.steps > torchSteps || depth > torchDepth {
		return &FormatError{File: t.file.name, Reason: fmt.Sprintf("nests values more than %d deep or %d in all", torchDepth, torchSteps)}
	}
	if view, ok := v.(*torchView); ok {
		return t.add(path, view)
	}
	for key, inner := range members(v) {
		if len(path)+len(key) > nameLimit {
			return &FormatError{File: t.file.name, Tensor: clipName(under(path, clipName(key))), Reason: fmt.Sprintf("its name has more than %d bytes", nameLimit)}
		}
		if err := t.walk(under(path, key), inner, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (t *torchTree) add(name string, v *torchView) error {
	if _, twice := t.views[name]; twice {
		return &FormatError{File: t.file.name, Tensor: clipName(name), Reason: "comes twice"}
	}
	t.views[name] = v
	return nil
}

// members goes through what a value holds, with the names of the places. A
// member whose key has no name (a class, say) is left out.
func members(v any) func(yield func(string, any) bool) {
	return func(yield func(string, any) bool) {
		switch v := v.(type) {
		case *pickle.Dict:
			for _, e := range v.Entries {
				if key, ok := keyName(e.Key); ok && !yield(key, e.Value) {
					return
				}
			}
		case *pickle.List:
			indexed(v.Items, yield)
		case pickle.Tuple:
			indexed(v, yield)
		case *pickle.Object:
			if state, ok := v.State.(*pickle.Dict); ok && v.Class == parameterDict {
				if parameters, ok := state.Get("_parameters"); ok {
					members(parameters)(yield)
				}
			}
		}
	}
}

func indexed(items []any, yield func(string, any) bool) {
	for i, item := range items {
		if !yield(strconv.Itoa(i), item) {
			return
		}
	}
}

func keyName(key any) (string, bool) {
	switch key := key.(type) {
	case string:
		return key, true
	case int64:
		return strconv.FormatInt(key, 10), true
	}
	return "", false
}

func under(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// place checks the views and gives each tensor its data: a piece of the file
// or, where the elements lie in another order, a copy made when it is needed.
// All copies together may be as large as the file.
func (t *torchTree) place(copies int) error {
	for _, name := range slices.Sorted(maps.Keys(t.views)) {
		v := t.views[name]
		if err := v.check(); err != nil {
			return &FormatError{File: t.file.name, Tensor: clipName(name), Reason: err.Error()}
		}
		tensor := Tensor{Name: name, DType: v.dtype, Shape: v.shape}
		if v.contiguous() {
			tensor.Data = v.aliased()
		} else {
			if copies -= v.bytes(); copies < 0 {
				return &FormatError{File: t.file.name, Tensor: clipName(name), Reason: "views repeat more numbers than the file holds"}
			}
			t.file.lazy[name] = &lazyData{view: v}
		}
		t.file.tensors[name] = tensor
	}
	return nil
}

// facts keeps what is text or a number in the upper two levels.
func (t *torchTree) facts(root any) {
	for key, v := range members(root) {
		t.fact("", key, v)
		for inner, v := range members(v) {
			t.fact(key, inner, v)
		}
	}
}

// fact keeps one value, if it is one and there is room.
func (t *torchTree) fact(path, key string, v any) {
	if len(t.file.metadata) >= torchFacts || len(path)+len(key) > torchFactLength {
		return
	}
	switch v.(type) {
	case string, int64, float64, bool:
		if text := fmt.Sprint(v); len(text) <= torchFactLength {
			t.file.metadata[under(path, key)] = text
		}
	}
}

// clipName keeps a name of any length fit for an error.
func clipName(name string) string {
	const most = 200
	return name[:min(len(name), most)]
}
