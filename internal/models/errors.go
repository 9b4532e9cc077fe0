package models

import (
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
	Name        string
	Suggestions []string // nearest first, a few at most
}

// Error names the model and what is there instead.
func (e *NotFoundError) Error() string {
	return fmt.Sprintf("no model %q; known: %s", e.Name, strings.Join(e.Suggestions, ", "))
}

// Is makes errors.Is(err, ErrNotFound) hold.
func (e *NotFoundError) Is(target error) bool { return target == ErrNotFound }

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
