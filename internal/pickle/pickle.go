// Package pickle reads Python pickles as data. A pickle is a small program that
// may name any function and call it; here it may name only what the reader's
// [Rules] list, and calling one of those runs a Go function, or nothing at all.
// Everything else is an error with the name that was asked for.
//
// Protocols 2 to 5 are read, which is what torch.save writes. The stream is
// foreign input: no size in it is believed before the bytes are there, memory
// grows with the bytes read and ends at a limit, and nothing recurses.
//
// Format: Lib/pickletools.py of CPython, which defines every opcode.
package pickle

import "fmt"

// Values are nil, bool, int64, float64, string, []byte and the types below, or
// whatever a function of the [Rules] made.
type (
	// Tuple is a tuple, never changed.
	Tuple []any

	// List is a list, a set or a frozen set.
	List struct{ Items []any }

	// Dict is a dictionary in the order of its making. A key that was set twice
	// is there twice.
	Dict struct{ Entries []Entry }

	// Entry is one member of a Dict.
	Entry struct{ Key, Value any }

	// Long is an integer of more than 64 bits: two's complement, little-endian.
	Long string

	// Global is something a pickle named and the rules allow.
	Global struct {
		Name string // "collections.OrderedDict"
		make Func
	}

	// Object stands for the result of calling a global that the rules allow but
	// that does nothing here. What is put into it later is forgotten, State apart.
	Object struct {
		Class string
		Args  Tuple
		State any // what it was to be restored from; nil if nothing
	}
)

// Get finds the value of a text key, the last if there are several.
func (d *Dict) Get(key string) (any, bool) {
	for i := len(d.Entries) - 1; i >= 0; i-- {
		if d.Entries[i].Key == key {
			return d.Entries[i].Value, true
		}
	}
	return nil, false
}

// Func makes the value that calling a global results in.
type Func func(args Tuple) (any, error)

// Rules say what a pickle may do.
type Rules struct {
	// Globals are what it may name, as "module.name". Calling one calls its
	// function; where that is nil, the call results in an [Object].
	Globals map[string]Func
	// Load finds what a persistent id stands for; nil forbids them.
	Load func(id any) (any, error)
}

// Error says where in the stream it cannot be read, and why.
type Error struct {
	At  int // bytes from the beginning
	Err error
}

// Error is one line.
func (e *Error) Error() string { return fmt.Sprintf("pickle, byte %d: %v", e.At, e.Err) }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// RefusedError is the cause when a pickle names what the rules do not list.
type RefusedError struct{ Name string }

// Error names the global.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("names %s, which no weights need: nothing was run", clip(e.Name))
}

// Read reads the one value that a stream begins with, and gives back the bytes
// after it. The error is an [Error].
func Read(data []byte, rules Rules) (value any, rest []byte, err error) {
	return read(data, rules, memoryLimit)
}

// read is Read with another limit of memory, in bytes.
func read(data []byte, rules Rules, limit int) (value any, rest []byte, err error) {
	m := &machine{data: data, rules: rules, left: limit, memo: map[uint64]any{}}
	value, err = m.run()
	if err != nil {
		return nil, nil, &Error{At: m.opcode, Err: err}
	}
	return value, data[m.at:], nil
}

// clip keeps foreign text short and printable.
func clip(s string) string {
	const most = 100
	if len(s) > most {
		s = s[:most] + "…"
	}
	quoted := fmt.Sprintf("%q", s)
	return quoted[1 : len(quoted)-1]
}
