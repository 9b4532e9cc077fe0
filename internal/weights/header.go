package weights

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"
)

// metadataKey is the one header member that is not a tensor.
const metadataKey = "__metadata__"

// entry is what the header says of one tensor; nothing is checked against the
// data yet.
type entry struct {
	name       string
	dtype      DType
	shape      []int
	begin, end uint64 // bytes from the end of the header
}

// header is the parsed header of a file.
type header struct {
	entries  []entry
	metadata map[string]string
}

// inFile turns a header error into one that names the file.
func inFile(file string, err error) error {
	var of *tensorError
	if errors.As(err, &of) {
		return &FormatError{File: file, Tensor: of.name, Reason: "header: " + of.err.Error()}
	}
	return &FormatError{File: file, Reason: "header: " + err.Error()}
}

// tensorError is an error in the entry of one tensor.
type tensorError struct {
	name string
	err  error
}

func (e *tensorError) Error() string { return fmt.Sprintf("tensor %q: %v", e.name, e.err) }

// parseHeader reads the JSON token by token: memory grows with the bytes that
// are there, nesting is never followed deeper than the format has it, and a
// key that comes twice is seen.
func parseHeader(data []byte) (*header, error) {
	if len(data) == 0 || data[0] != '{' {
		return nil, errors.New("does not begin with '{'")
	}
	if !utf8.Valid(data) {
		return nil, errors.New("is not valid UTF-8")
	}
	s := scanner{json.NewDecoder(bytes.NewReader(data))}
	s.UseNumber()
	h := &header{metadata: map[string]string{}}
	if err := s.object(h.member(s)); err != nil {
		return nil, err
	}
	if _, err := s.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("has something after the closing '}'")
	}
	return h, nil
}

// member reads one member of the top-level object.
func (h *header) member(s scanner) func(string) error {
	return func(key string) error {
		if key == metadataKey {
			return s.object(func(k string) (err error) {
				h.metadata[k], err = s.text("metadata " + quote(k))
				return err
			})
		}
		if len(key) > nameLimit {
			return fmt.Errorf("a tensor's name has %d bytes, the limit is %d", len(key), nameLimit)
		}
		e, err := s.entry(key)
		if err != nil {
			return &tensorError{key, err}
		}
		h.entries = append(h.entries, e)
		return nil
	}
}

// scanner reads the few JSON forms a header has.
type scanner struct{ *json.Decoder }

// object reads an object and calls member for each key, which reads the value.
func (s scanner) object(member func(key string) error) error {
	if err := s.delim('{', "an object"); err != nil {
		return err
	}
	seen := map[string]bool{}
	for s.More() {
		key, err := s.text("a key")
		if err != nil {
			return err
		}
		if seen[key] {
			return fmt.Errorf("key %s comes twice", quote(key))
		}
		seen[key] = true
		if err := member(key); err != nil {
			return err
		}
	}
	return s.delim('}', "the end of an object")
}

// entry reads {"dtype": …, "shape": […], "data_offsets": [begin, end]}.
func (s scanner) entry(name string) (entry, error) {
	e := entry{name: name}
	offsets, members := []uint64(nil), 0
	err := s.object(func(key string) (err error) {
		members++
		switch key {
		case "dtype":
			e.dtype, err = s.dtype()
		case "shape":
			e.shape, err = s.shape()
		case "data_offsets":
			offsets, err = s.numbers(key)
		default:
			err = fmt.Errorf("unknown member %s", quote(key))
		}
		return err
	})
	if err != nil {
		return e, err
	}
	if members != 3 {
		return e, errors.New("needs dtype, shape and data_offsets")
	}
	if len(offsets) != 2 {
		return e, fmt.Errorf("data_offsets has %d numbers, needs 2", len(offsets))
	}
	e.begin, e.end = offsets[0], offsets[1]
	return e, nil
}

func (s scanner) dtype() (DType, error) {
	name, err := s.text("dtype")
	if err != nil {
		return 0, err
	}
	d, ok := parseDType(name)
	if !ok {
		return 0, fmt.Errorf("dtype %s is not one we read", quote(name))
	}
	return d, nil
}

func (s scanner) shape() ([]int, error) {
	dims, err := s.numbers("shape")
	if err != nil {
		return nil, err
	}
	shape := make([]int, len(dims))
	for i, d := range dims {
		if shape[i] = int(d); shape[i] < 0 || uint64(shape[i]) != d {
			return nil, fmt.Errorf("shape: dimension %d is too large", d)
		}
	}
	return shape, nil
}

// numbers reads an array of whole numbers, none negative.
func (s scanner) numbers(what string) ([]uint64, error) {
	if err := s.delim('[', what+" as an array"); err != nil {
		return nil, err
	}
	var out []uint64
	for s.More() {
		token, err := s.next()
		if err != nil {
			return nil, err
		}
		number, ok := token.(json.Number)
		if !ok {
			return nil, fmt.Errorf("%s: %s is not a number", what, describe(token))
		}
		n, err := strconv.ParseUint(number.String(), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%s: %s is not a whole number from 0 to 2^64-1", what, clip(number.String()))
		}
		out = append(out, n)
	}
	return out, s.delim(']', "the end of "+what)
}

func (s scanner) text(what string) (string, error) {
	token, err := s.next()
	if err != nil {
		return "", err
	}
	text, ok := token.(string)
	if !ok {
		return "", fmt.Errorf("%s must be a string, is %s", what, describe(token))
	}
	return text, nil
}

func (s scanner) delim(want json.Delim, what string) error {
	token, err := s.next()
	if err != nil {
		return err
	}
	if token != want {
		return fmt.Errorf("expected %s, found %s", what, describe(token))
	}
	return nil
}

// next reads a token, with the place of a fault in its error.
func (s scanner) next() (json.Token, error) {
	token, err := s.Token()
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, errors.New("ends in the middle")
	}
	if err != nil {
		return nil, fmt.Errorf("is not JSON at byte %d: %w", s.InputOffset(), err)
	}
	return token, nil
}

// describe names a token for an error, whatever its length.
func describe(token json.Token) string {
	switch t := token.(type) {
	case string:
		return quote(t)
	case json.Delim:
		return quote(t.String())
	case nil:
		return "null"
	default:
		return clip(fmt.Sprint(t))
	}
}

func quote(s string) string { return strconv.Quote(clip(s)) }

// clip keeps errors readable when a file holds megabytes where a word belongs.
func clip(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
