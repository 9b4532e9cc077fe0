package weights

import (
	"encoding/binary"
	"errors"
	"fmt"

	"waggle/internal/pickle"
)

// torchMagic is the number that a checkpoint of the old form begins with,
// 0x1950a86a20f9469cfc6c, as it lies in a pickle.
const torchMagic = pickle.Long("\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19")

const torchProtocol = int64(1001)

// parseTorchLegacy reads what torch.save wrote before it wrote zip archives:
// five pickles (magic number, protocol, facts of the system, the value, the
// list of storage keys), then for each key the number of elements and these.
func parseTorchLegacy(name string, data []byte) (*File, error) {
	c := &torchCheckpoint{storages: map[string]*torchStorage{}}
	root, rest, err := c.readLegacy(data)
	if err != nil {
		return nil, &FormatError{File: name, Reason: err.Error()}
	}
	if err := c.fillLegacy(rest); err != nil {
		return nil, &FormatError{File: name, Reason: err.Error()}
	}
	return torchFile(name, root, len(data))
}

// readLegacy reads the first four pickles and gives back the value.
func (c *torchCheckpoint) readLegacy(data []byte) (root any, rest []byte, err error) {
	magic, rest, err := pickle.Read(data, c.rules())
	if err != nil {
		return nil, nil, err
	}
	if magic != torchMagic {
		return nil, nil, errors.New("is a pickle, but not one that torch.save wrote")
	}
	for _, check := range []func(v any) error{isProtocol, littleEndian} {
		var v any
		if v, rest, err = pickle.Read(rest, pickle.Rules{}); err != nil {
			return nil, nil, err
		}
		if err := check(v); err != nil {
			return nil, nil, err
		}
	}
	return pickle.Read(rest, c.rules())
}

func isProtocol(v any) error {
	if v != torchProtocol {
		return fmt.Errorf("has protocol %s of torch.save, need %d", brief(v), torchProtocol)
	}
	return nil
}

func littleEndian(v any) error {
	d, ok := v.(*pickle.Dict)
	if !ok {
		return errors.New("has no description of the system that wrote it")
	}
	if little, ok := d.Get("little_endian"); ok && little != true {
		return errBigEndian
	}
	return nil
}

// fillLegacy reads the keys, and behind them the storages.
func (c *torchCheckpoint) fillLegacy(data []byte) error {
	v, rest, err := pickle.Read(data, pickle.Rules{})
	if err != nil {
		return err
	}
	keys, ok := v.(*pickle.List)
	if !ok {
		return errors.New("has no list of storages")
	}
	for _, key := range keys.Items {
		if rest, err = c.fillNext(key, rest); err != nil {
			return err
		}
	}
	for key, s := range c.storages {
		if s.data == nil {
			return fmt.Errorf("storage %q is not in the file", clipName(key))
		}
	}
	return nil
}

// fillNext takes the storage of a key off the data.
func (c *torchCheckpoint) fillNext(key any, data []byte) (rest []byte, err error) {
	text, _ := key.(string)
	s := c.storages[text]
	switch {
	case s == nil || s.data != nil:
		return nil, fmt.Errorf("lists a storage %q that no tensor has, or twice", clipName(text))
	case len(data) < lengthBytes:
		return nil, errors.New("ends before its storages do; fetch it again")
	}
	count, data := binary.LittleEndian.Uint64(data), data[lengthBytes:]
	if unit := uint64(max(s.dtype.Size(), 1)); s.size%unit != 0 || count != s.size/unit {
		return nil, fmt.Errorf("storage %q has %d elements, its tensors say %d bytes", clipName(text), count, s.size)
	}
	if s.size > uint64(len(data)) {
		return nil, fmt.Errorf("storage %q has %d bytes, the file ends after %d of them; fetch it again", clipName(text), s.size, len(data))
	}
	s.data = data[:s.size:s.size]
	return data[s.size:], nil
}
