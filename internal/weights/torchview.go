package weights

import (
	"errors"
	"fmt"
	"math"
	"sync"
)

// check says what is wrong with a view of a storage whose data is there.
func (v *torchView) check() error {
	if v.dtype == 0 {
		return errors.New("its storage has no type")
	}
	if len(v.shape) != len(v.stride) {
		return fmt.Errorf("shape %v and stride %v differ in length", v.shape, v.stride)
	}
	if _, err := sizeOf(v.dtype, v.shape); err != nil {
		return err
	}
	last, empty := v.offset, false
	for i, d := range v.shape {
		if d == 0 {
			empty = true
			continue
		}
		if v.stride[i] > 0 && d-1 > (math.MaxInt-last)/v.stride[i] {
			return fmt.Errorf("shape %v with stride %v ends beyond any storage", v.shape, v.stride)
		}
		last += (d - 1) * v.stride[i]
	}
	if have := len(v.storage.data) / v.dtype.Size(); !empty && last >= have {
		return fmt.Errorf("%s %v needs %d elements, its storage has %d", v.dtype, v.shape, last+1, have)
	}
	return nil
}

// contiguous reports whether the elements lie as a Tensor has them.
func (v *torchView) contiguous() bool {
	step := 1
	for i := len(v.shape) - 1; i >= 0; i-- {
		if v.shape[i] > 1 && v.stride[i] != step {
			return false
		}
		step *= v.shape[i]
	}
	return true
}

// bytes is the size of the tensor; the view is checked.
func (v *torchView) bytes() int {
	n, _ := sizeOf(v.dtype, v.shape)
	return n
}

// aliased is the data of a contiguous view: a piece of the storage.
func (v *torchView) aliased() []byte {
	n := v.bytes()
	if n == 0 {
		return nil
	}
	from := v.offset * v.dtype.Size()
	return v.storage.data[from : from+n : from+n]
}

// gathered is a copy of the data of any view, row-major.
func (v *torchView) gathered() []byte {
	out := make([]byte, 0, v.bytes())
	if cap(out) == 0 {
		return out
	}
	size, index := v.dtype.Size(), make([]int, len(v.shape))
	for at := v.offset; ; {
		out = append(out, v.storage.data[at*size:(at+1)*size]...)
		axis := len(index) - 1
		for ; axis >= 0; axis-- {
			index[axis]++
			at += v.stride[axis]
			if index[axis] < v.shape[axis] {
				break
			}
			at -= index[axis] * v.stride[axis]
			index[axis] = 0
		}
		if axis < 0 {
			return out
		}
	}
}

// lazyData is a tensor's data that is made when it is first asked for.
type lazyData struct {
	once sync.Once
	view *torchView
	data []byte
}

func (l *lazyData) get() []byte {
	l.once.Do(func() { l.data, l.view = l.view.gathered(), nil })
	return l.data
}
