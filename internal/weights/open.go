package weights

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
)

// Open maps a file and checks it. The file must not be shortened while it is
// open: touching a page that is gone ends the program.
func Open(path string) (*File, error) {
	size, err := regularSize(path)
	if err != nil {
		return nil, err
	}
	data, release, err := load(path, size)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	f, err := Parse(path, data)
	if err != nil {
		return nil, errors.Join(err, release())
	}
	f.release = release
	return f, nil
}

// regularSize is the length of a file, which must be one: opening a pipe would
// wait for ever.
func regularSize(path string) (int, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, fmt.Errorf("%s: no such file: %w", path, fs.ErrNotExist)
	case err != nil:
		return 0, err
	case !info.Mode().IsRegular():
		return 0, &FormatError{File: path, Reason: "is not a file"}
	case info.Size() > math.MaxInt:
		return 0, &FormatError{File: path, Reason: fmt.Sprintf("has %d bytes, too many for this machine", info.Size())}
	}
	return int(info.Size()), nil
}
