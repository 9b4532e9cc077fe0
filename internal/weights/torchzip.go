package weights

import (
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"strings"

	"waggle/internal/pickle"
)

var errBigEndian = errors.New("has its numbers in big-endian order, which is not read")

// torchCheckpoint is a checkpoint being read.
type torchCheckpoint struct {
	storages map[string]*torchStorage
}

func (c *torchCheckpoint) rules() pickle.Rules {
	return pickle.Rules{Globals: torchGlobals, Load: c.load}
}

// load finds or notes the storage that a persistent id stands for:
// ("storage", class, key, location, number of elements), and in the old form
// None or the place of a view.
func (c *torchCheckpoint) load(id any) (any, error) {
	t, ok := id.(pickle.Tuple)
	if !ok || len(t) < 5 || t[0] != "storage" {
		return nil, errors.New("refers to something that is no storage")
	}
	class, _ := t[1].(*pickle.Global)
	key, ok := t[2].(string)
	if class == nil || !ok {
		return nil, errors.New("refers to a storage without class or key")
	}
	dtype, ok := torchClasses[class.Name]
	if !ok {
		return nil, fmt.Errorf("has %s for the class of a storage", class.Name)
	}
	if len(t) > 5 && t[5] != nil {
		return nil, fmt.Errorf("storage %q is a view of another, which is not read; save the file again with a newer torch", clipName(key))
	}
	count, err := natural(t[4])
	if err != nil {
		return nil, err
	}
	return c.storage(key, dtype, count)
}

func (c *torchCheckpoint) storage(key string, dtype DType, count int) (*torchStorage, error) {
	unit := max(dtype.Size(), 1)
	if count > math.MaxInt/unit {
		return nil, fmt.Errorf("storage %q claims %d elements", clipName(key), count)
	}
	s := &torchStorage{dtype: dtype, size: uint64(count * unit)}
	if known := c.storages[key]; known != nil {
		if known.dtype != s.dtype || known.size != s.size {
			return nil, fmt.Errorf("storage %q has two types or two sizes", clipName(key))
		}
		return known, nil
	}
	c.storages[key] = s
	return s, nil
}

// parseTorchZip reads what torch.save writes: a zip archive of stored entries,
// DIR/data.pkl with the value and DIR/data/KEY with each storage.
func parseTorchZip(name string, data []byte) (*File, error) {
	archive, err := readArchive(data)
	if err != nil {
		return nil, &FormatError{File: name, Reason: err.Error()}
	}
	c := &torchCheckpoint{storages: map[string]*torchStorage{}}
	root, err := c.readZip(archive)
	if err != nil {
		return nil, &FormatError{File: name, Reason: err.Error()}
	}
	return torchFile(name, root, len(data))
}

func (c *torchCheckpoint) readZip(archive map[string]archived) (any, error) {
	dir, err := torchDir(archive)
	if err != nil {
		return nil, err
	}
	if order, ok := archive[dir+"byteorder"]; ok && string(order.data) != "little" {
		return nil, errBigEndian
	}
	described := archive[dir+"data.pkl"]
	if crc32.ChecksumIEEE(described.data) != described.crc {
		return nil, errors.New("data.pkl is damaged (its checksum differs); fetch the file again")
	}
	root, _, err := pickle.Read(described.data, c.rules())
	if err != nil {
		return nil, err
	}
	for key, s := range c.storages {
		entry, ok := archive[dir+"data/"+key]
		switch {
		case !ok:
			return nil, fmt.Errorf("storage %q is not in the file (%sdata/%s)", clipName(key), clipName(dir), clipName(key))
		case uint64(len(entry.data)) != s.size:
			return nil, fmt.Errorf("storage %q has %d bytes, its tensors say %d", clipName(key), len(entry.data), s.size)
		}
		s.data = entry.data
	}
	return root, nil
}

// torchDir is the folder of the archive that everything lies in, with a slash.
func torchDir(archive map[string]archived) (string, error) {
	var dir string
	found := 0
	for name := range archive {
		if prefix, ok := strings.CutSuffix(name, "data.pkl"); ok && strings.Count(name, "/") == 1 {
			dir, found = prefix, found+1
		}
	}
	if found != 1 {
		return "", errors.New("is a zip archive, but not one that torch.save wrote: it needs one data.pkl")
	}
	if _, script := archive[dir+"constants.pkl"]; script {
		return "", errors.New("is a TorchScript program, not weights; get the model's weights, best as .safetensors")
	}
	return dir, nil
}
