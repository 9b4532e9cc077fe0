package weights

import (
	"cmp"
	"errors"
	"fmt"

	"waggle/internal/pickle"
)

// torchStorage is a stretch of numbers that tensors are views of.
type torchStorage struct {
	dtype DType  // 0 when only the views know
	size  uint64 // bytes, as claimed until data is there
	data  []byte
}

// torchView is a tensor as a checkpoint describes it: element (i, j, …) is
// number offset + i·stride[0] + j·stride[1] + … of its storage.
type torchView struct {
	storage       *torchStorage
	dtype         DType
	offset        int
	shape, stride []int
}

// torchClasses are the storage classes and, by name, the types of elements.
var torchClasses = map[string]DType{
	"torch.DoubleStorage": F64, "torch.FloatStorage": F32, "torch.HalfStorage": F16, "torch.BFloat16Storage": BF16,
	"torch.LongStorage": I64, "torch.IntStorage": I32, "torch.ShortStorage": I16, "torch.CharStorage": I8,
	"torch.ByteStorage": U8, "torch.BoolStorage": Bool,
	"torch.storage.UntypedStorage": 0, "torch.UntypedStorage": 0, "torch.storage._UntypedStorage": 0,
}

// torchDTypes are the types that a tensor over untyped storage names.
var torchDTypes = map[string]DType{
	"torch.float64": F64, "torch.float32": F32, "torch.float16": F16, "torch.bfloat16": BF16,
	"torch.float8_e4m3fn": F8E4M3, "torch.float8_e5m2": F8E5M2,
	"torch.int64": I64, "torch.int32": I32, "torch.int16": I16, "torch.int8": I8,
	"torch.uint64": U64, "torch.uint32": U32, "torch.uint16": U16, "torch.uint8": U8, "torch.bool": Bool,
}

// torchInert may be named, because checkpoints of training programs do, and do
// nothing here: what is made of them holds no weights, ParameterDict apart.
var torchInert = []string{
	"pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
	"pytorch_lightning.callbacks.early_stopping.EarlyStopping",
	"pytorch_lightning.utilities.parsing.AttributeDict",
	"numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.dtype", "numpy.ndarray",
	"numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct", "_codecs.encode",
	"builtins.set", "__builtin__.set", "builtins.dict", "__builtin__.dict",
	"torch.device", "torch.Tensor", "torch.nn.parameter.Parameter", parameterDict,
}

// parameterDict is the dictionary in which old textual inversions keep their vectors.
const parameterDict = "torch.nn.modules.container.ParameterDict"

// torchGlobals is everything that a checkpoint may name.
var torchGlobals = func() map[string]pickle.Func {
	globals := map[string]pickle.Func{
		"torch._utils._rebuild_tensor":               rebuildTensor,
		"torch._utils._rebuild_tensor_v2":            rebuildTensor,
		"torch._utils._rebuild_tensor_v3":            rebuildTyped,
		"torch._utils._rebuild_parameter":            first,
		"torch._utils._rebuild_parameter_with_state": first,
		"torch._tensor._rebuild_from_type_v2":        rebuildFromType,
		"torch.Size":                                 first,
		"collections.OrderedDict":                    newDict,
		"collections.defaultdict":                    func(pickle.Tuple) (any, error) { return &pickle.Dict{}, nil },
		"collections.Counter":                        newDict,
	}
	for _, name := range torchInert {
		globals[name] = nil
	}
	for name := range torchClasses {
		globals[name] = nil
	}
	for name := range torchDTypes {
		globals[name] = nil
	}
	return globals
}()

// first is for functions that wrap the tensor they are given.
func first(args pickle.Tuple) (any, error) {
	if len(args) == 0 {
		return nil, errors.New("needs an argument")
	}
	return args[0], nil
}

// newDict makes a dictionary, of another or of a list of pairs when given one.
func newDict(args pickle.Tuple) (any, error) {
	d := &pickle.Dict{}
	if len(args) == 0 {
		return d, nil
	}
	switch from := args[0].(type) {
	case *pickle.Dict:
		d.Entries = append(d.Entries, from.Entries...)
	case *pickle.List:
		for _, item := range from.Items {
			key, value, ok := pair(item)
			if !ok {
				return nil, errors.New("needs a list of pairs")
			}
			d.Entries = append(d.Entries, pickle.Entry{Key: key, Value: value})
		}
	}
	return d, nil
}

func pair(v any) (key, value any, ok bool) {
	items, ok := v.(pickle.Tuple)
	if list, is := v.(*pickle.List); is {
		items, ok = list.Items, true
	}
	if !ok || len(items) != 2 {
		return nil, nil, false
	}
	return items[0], items[1], true
}

// rebuildTensor: (storage, offset, shape, stride, …) with the storage's type.
func rebuildTensor(args pickle.Tuple) (any, error) {
	if len(args) < 4 {
		return nil, errors.New("needs storage, offset, shape and stride")
	}
	storage, ok := args[0].(*torchStorage)
	if !ok {
		return nil, fmt.Errorf("has %T for a storage", args[0])
	}
	v := &torchView{storage: storage, dtype: storage.dtype}
	var err1, err2, err3 error
	v.offset, err1 = natural(args[1])
	v.shape, err2 = naturals(args[2])
	v.stride, err3 = naturals(args[3])
	return v, cmp.Or(err1, err2, err3)
}

// rebuildTyped: as rebuildTensor, and the type as the seventh argument.
func rebuildTyped(args pickle.Tuple) (any, error) {
	if len(args) < 7 {
		return nil, errors.New("needs seven arguments")
	}
	g, _ := args[6].(*pickle.Global)
	if g == nil || torchDTypes[g.Name] == 0 {
		return nil, fmt.Errorf("has %T for the type of the elements", args[6])
	}
	v, err := rebuildTensor(args)
	if err != nil {
		return nil, err
	}
	v.(*torchView).dtype = torchDTypes[g.Name]
	return v, nil
}

// rebuildFromType: (function, class, its arguments, state); the function is one
// that the file could name, so one of ours.
func rebuildFromType(args pickle.Tuple) (any, error) {
	if len(args) < 3 {
		return nil, errors.New("needs a function, a class and arguments")
	}
	g, ok1 := args[0].(*pickle.Global)
	inner, ok2 := args[2].(pickle.Tuple)
	if !ok1 || !ok2 || g.Name == "torch._tensor._rebuild_from_type_v2" {
		return nil, errors.New("needs a function, a class and arguments")
	}
	return g.Call(inner)
}

// natural is an integer that can be a size or an offset.
func natural(v any) (int, error) {
	n, ok := v.(int64)
	if !ok || n < 0 || int64(int(n)) != n {
		return 0, fmt.Errorf("has %v for a size", brief(v))
	}
	return int(n), nil
}

// rankLimit is the most dimensions a tensor of a checkpoint may have; torch's own is 64.
const rankLimit = 64

func naturals(v any) ([]int, error) {
	items, ok := v.(pickle.Tuple)
	if list, is := v.(*pickle.List); is {
		items, ok = list.Items, true
	}
	if !ok || len(items) > rankLimit {
		return nil, fmt.Errorf("has %s for a shape", brief(v))
	}
	out := make([]int, len(items))
	for i, item := range items {
		n, err := natural(item)
		if err != nil {
			return nil, err
		}
		out[i] = n
	}
	return out, nil
}

// brief shows a foreign value in an error: a number as it is, else its type.
func brief(v any) string {
	if n, ok := v.(int64); ok {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%T", v)
}
