package models

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
)

// What a caller can decide on, by errors.Is.
var (
	ErrNotFound = errors.New("model not found")
	ErrInvalid  = errors.New("model invalid")
)

// NotFoundError is an ErrNotFound with the names that may have been meant.
type NotFoundError struct {
	Kind        Kind
	Name        string
	Suggestions []string // nearest first, a few at most
}

// Error names what is missing and what is there instead.
func (e *NotFoundError) Error() string {
	known := cmp.Or(strings.Join(e.Suggestions, ", "), "none")
	return fmt.Sprintf("no %s %q; known: %s", e.Kind.noun(), e.Name, known)
}

// Is makes errors.Is(err, ErrNotFound) hold.
func (e *NotFoundError) Is(target error) bool { return target == ErrNotFound }

// AmbiguousError is an ErrNotFound: the name may mean several.
type AmbiguousError struct {
	Kind       Kind
	Name       string
	Candidates []string
}

// Error names a few of those that may be meant.
func (e *AmbiguousError) Error() string {
	shown := e.Candidates[:min(len(e.Candidates), suggestions)]
	more := ""
	if n := len(e.Candidates) - len(shown); n > 0 {
		more = fmt.Sprintf(" and %d more", n)
	}
	return fmt.Sprintf("which %s is %q? There are %s%s: write its whole name", e.Kind.noun(), e.Name, strings.Join(shown, ", "), more)
}

// Is makes errors.Is(err, ErrNotFound) hold.
func (e *AmbiguousError) Is(target error) bool { return target == ErrNotFound }

// InvalidError is an ErrInvalid: the model is there and cannot be used.
type InvalidError struct {
	Model string
	Err   error // where, what, and what to do
}

// Error is one line.
func (e *InvalidError) Error() string { return fmt.Sprintf("model %q: %v", e.Model, e.Err) }

// Unwrap gives the cause.
func (e *InvalidError) Unwrap() error { return e.Err }

// Is makes errors.Is(err, ErrInvalid) hold.
func (e *InvalidError) Is(target error) bool { return target == ErrInvalid }
