package sd

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"time"
)

// hashes remembers files' hashes until they change.
type hashes map[hashedFile]string

type hashedFile struct {
	path  string
	bytes int64
	at    time.Time
}

const hashesKept = 1000

// of is the first twelve hexadecimal digits of the SHA-256 of a file: of a safetensors file without its header, so that
// metadata can change; of any other file as a whole. A1111 and its kin write "Lora hashes" so.
func (h hashes) of(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	key := hashedFile{path, info.Size(), info.ModTime()}
	if known, ok := h[key]; ok {
		return known, nil
	}
	sum := sha256.New()
	if _, err := f.Seek(headerBytes(f, info.Size()), io.SeekStart); err != nil {
		return "", err
	}
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	if len(h) >= hashesKept {
		clear(h)
	}
	h[key] = fmt.Sprintf("%x", sum.Sum(nil))[:12]
	return h[key], nil
}

// headerBytes is the length of a safetensors file's header with its own length before it; 0 for another file.
func headerBytes(f io.ReaderAt, size int64) int64 {
	start := make([]byte, 9)
	if _, err := f.ReadAt(start, 0); err != nil {
		return 0
	}
	length := binary.LittleEndian.Uint64(start)
	if !bytes.Equal(start[8:], []byte("{")) || length > uint64(size-8) {
		return 0
	}
	return 8 + int64(length)
}
