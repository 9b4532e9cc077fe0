package weights

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
)

const (
	lengthBytes = 8           // the header's length, little-endian, comes first
	headerLimit = 100_000_000 // the format's own limit on the header
	nameLimit   = 4096        // bytes of a tensor's name; the longest in use has about 120
)

// FormatError says why a file is not one we can read.
type FormatError struct {
	File   string // as given to Open or Parse
	Tensor string // empty when the fault is not one tensor's
	Reason string // what is wrong and, where it helps, what to do
}

// Error names the file, the tensor if any, and the reason.
func (e *FormatError) Error() string {
	if e.Tensor != "" {
		return fmt.Sprintf("%s: tensor %q: %s", e.File, e.Tensor, e.Reason)
	}
	return e.File + ": " + e.Reason
}

// File is an open file of tensors: safetensors, or a checkpoint that torch.save
// wrote. Its methods may be used concurrently; no tensor of it may be used
// after Close.
type File struct {
	name     string
	tensors  map[string]Tensor
	lazy     map[string]*lazyData // of tensors whose data must be put in order first
	names    []string
	metadata map[string]string
	release  func() error
}

// Parse checks a whole file held in memory, whose content tells the format;
// name is used in errors. The tensors alias data.
//
// Of a torch checkpoint the weights are what lies under state_dict, params_ema
// or params, where there is such a member; in dictionaries within dictionaries
// a tensor's name is the keys joined by dots ("string_to_param.*").
func Parse(name string, data []byte) (*File, error) {
	parse := parseSafetensors
	switch format(data) {
	case torchZip:
		parse = parseTorchZip
	case torchPickle:
		parse = parseTorchLegacy
	}
	f, err := parse(name, data)
	if err != nil {
		return nil, err
	}
	if err := f.scale(); err != nil {
		return nil, err
	}
	return f, nil
}

// parseSafetensors reads the format of safetensors: 8 bytes header length, a JSON object {name: {dtype, shape,
// data_offsets: [begin, end]}}, then the data, which the tensors must cover
// without gap or overlap (github.com/huggingface/safetensors, README).
func parseSafetensors(name string, data []byte) (*File, error) {
	header, body, err := split(name, data)
	if err != nil {
		return nil, err
	}
	h, err := parseHeader(header)
	if err != nil {
		return nil, inFile(name, err)
	}
	f := &File{name: name, metadata: h.metadata, tensors: make(map[string]Tensor, len(h.entries))}
	if err := f.place(h.entries, body); err != nil {
		return nil, err
	}
	f.names = slices.Sorted(maps.Keys(f.tensors))
	return f, nil
}

// split cuts a file into header and tensor data.
func split(name string, data []byte) (header, body []byte, err error) {
	if reason := otherFormat(data); reason != "" {
		return nil, nil, &FormatError{File: name, Reason: reason}
	}
	if len(data) < lengthBytes {
		return nil, nil, &FormatError{File: name, Reason: fmt.Sprintf("has %d bytes, too short for a safetensors file; fetch it again", len(data))}
	}
	n, rest := binary.LittleEndian.Uint64(data), data[lengthBytes:]
	switch {
	case n > headerLimit:
		return nil, nil, &FormatError{File: name, Reason: fmt.Sprintf("header claims %d bytes, the limit is %d: not a safetensors file, or damaged", n, headerLimit)}
	case n > uint64(len(rest)):
		return nil, nil, &FormatError{File: name, Reason: fmt.Sprintf("header of %d bytes is cut at %d; fetch the file again", n, len(rest))}
	}
	return rest[:n], rest[n:], nil
}

// place gives each header entry its bytes and checks that together they cover
// the data exactly.
func (f *File) place(entries []entry, body []byte) error {
	slices.SortFunc(entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end))
	})
	var covered uint64
	for _, e := range entries {
		if reason := e.fault(covered, uint64(len(body))); reason != "" {
			return &FormatError{File: f.name, Tensor: e.name, Reason: reason}
		}
		f.tensors[e.name] = Tensor{Name: e.name, DType: e.dtype, Shape: e.shape, Data: body[e.begin:e.end:e.end]}
		covered = e.end
	}
	if extra := uint64(len(body)) - covered; extra > 0 {
		return &FormatError{File: f.name, Reason: fmt.Sprintf("%d bytes after the last tensor belong to none; fetch the file again", extra)}
	}
	return nil
}

// fault checks one entry that must begin where the one before ended.
func (e entry) fault(covered, size uint64) string {
	if e.begin > e.end {
		return fmt.Sprintf("data_offsets [%d, %d] run backwards", e.begin, e.end)
	}
	if e.end > size {
		return fmt.Sprintf("data_offsets [%d, %d] end after the file's %d data bytes; the file is cut or damaged, fetch it again", e.begin, e.end, size)
	}
	if e.begin != covered {
		return fmt.Sprintf("data begins at %d, the tensor before ends at %d: gaps and overlaps are not allowed", e.begin, covered)
	}
	want, err := sizeOf(e.dtype, e.shape)
	if err != nil {
		return err.Error()
	}
	if uint64(want) != e.end-e.begin {
		return fmt.Sprintf("%s %v needs %d bytes, data_offsets give %d", e.dtype, e.shape, want, e.end-e.begin)
	}
	return ""
}

// Names lists the tensors, sorted. The slice must not be changed.
func (f *File) Names() []string { return f.names }

// Tensor finds a tensor by the name it has in the file.
func (f *File) Tensor(name string) (Tensor, bool) {
	t, ok := f.tensors[name]
	if l := f.lazy[name]; l != nil {
		t.Data = l.get()
	}
	return t, ok
}

// Metadata is the file's free text, such as {"format": "pt"}; of a torch
// checkpoint the texts and numbers beside the weights, such as
// {"global_step": "875000"}. It is never nil and must not be changed.
func (f *File) Metadata() map[string]string { return f.metadata }

// Close gives back the mapping. A second call does nothing.
func (f *File) Close() error {
	release := f.release
	f.release, f.tensors, f.lazy, f.names = nil, nil, nil, nil
	if release == nil {
		return nil
	}
	if err := release(); err != nil {
		return fmt.Errorf("close %s: %w", f.name, err)
	}
	return nil
}
