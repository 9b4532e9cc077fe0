package models

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"waggle/internal/weights"
)

// headerRead is how much of a file's header is read to tell its kind, in bytes: a checkpoint's has some 400 000, a LoRA's
// may begin with megabytes of notes on its training.
const headerRead = 8 << 20

// teller tells files' kinds by their tensors' names and remembers them.
type teller struct {
	mu   sync.Mutex
	told map[string]told
}

// told is the kind of a file as it was then.
type told struct {
	size int64
	time time.Time
	kind Kind
}

// kind of a weight file; empty where its names do not say, or cannot be read.
func (t *teller) kind(path string, info fs.FileInfo) Kind {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := told{size: info.Size(), time: info.ModTime()}
	if known, ok := t.told[path]; ok && known.size == now.size && known.time.Equal(now.time) {
		return known.kind
	}
	now.kind = tellKind(path)
	if t.told == nil || len(t.told) > entryLimit {
		t.told = map[string]told{}
	}
	t.told[path] = now
	return now.kind
}

// tellKind reads what of a file is needed to tell its kind.
func tellKind(path string) Kind {
	var t trait
	if strings.EqualFold(filepath.Ext(path), extension) {
		header, err := readHeader(path)
		if err != nil {
			return ""
		}
		eachKey(header, func(key string) { t = t.with(key) })
		return t.kind()
	}
	file, err := weights.Open(path)
	if err != nil {
		return ""
	}
	defer file.Close()
	for _, name := range file.Names() {
		t = t.with(name)
	}
	return t.kind()
}

// readHeader reads the beginning of a safetensors file's header, unchecked: it is for telling files apart, which must be
// quick where there are thousands.
func readHeader(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var length [8]byte
	if _, err := io.ReadFull(file, length[:]); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint64(length[:])
	header, err := io.ReadAll(io.LimitReader(file, int64(min(n, headerRead))))
	if err == nil && (len(header) == 0 || header[0] != '{') {
		err = errors.New("no header")
	}
	return header, err
}

// eachKey calls found for the keys of the outermost object of a JSON text, which may be cut or wrong: what cannot be a key
// is passed over.
func eachKey(text []byte, found func(key string)) {
	depth, begin, last := 0, -1, ""
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case begin >= 0: // in a string
			switch c {
			case '\\':
				i++
			case '"':
				if depth == 1 {
					last = unescaped(text[begin-1 : i+1])
				}
				begin = -1
			}
		case c == '"':
			begin = i + 1
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			depth--
		case c == ':' && depth == 1:
			found(last)
		}
	}
}

// unescaped is what a JSON string with its quotes stands for; itself where it is none.
func unescaped(quoted []byte) string {
	var text string
	if bytes.IndexByte(quoted, '\\') >= 0 && json.Unmarshal(quoted, &text) == nil {
		return text
	}
	return string(quoted[1 : len(quoted)-1])
}
