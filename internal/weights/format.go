package weights

import "bytes"

// fileFormat is how the tensors of a file are stored.
type fileFormat int

const (
	safetensors fileFormat = iota // or none that is known
	torchZip
	torchPickle
)

// format tells the format by the first bytes, whatever the file is called. What
// a safetensors header must begin with tells its length from a signature.
func format(data []byte) fileFormat {
	switch {
	case len(data) > lengthBytes && data[lengthBytes] == '{' && plausibleLength(data):
		return safetensors
	case bytes.HasPrefix(data, []byte("PK\x03\x04")):
		return torchZip
	case len(data) > 1 && data[0] == 0x80 && data[1] >= 2 && data[1] <= 5:
		return torchPickle
	}
	return safetensors
}

// signatures are the beginnings of files that are met where a safetensors file
// is expected. They count only where the same bytes, read as the length of a
// header, make no sense.
var signatures = []struct{ prefix, reason string }{
	{"version https://git-lfs", "is a Git LFS pointer, not the file itself; run \"git lfs pull\" or fetch the file again"},
	{"GGUF", "is a GGUF file, which is not read; use a .safetensors file"},
	{"<", "is a web page, not a model; the download went wrong, fetch it again"},
}

// otherFormat says what data is when it is plainly something other than a
// safetensors file, and is empty when it may be one.
func otherFormat(data []byte) string {
	if plausibleLength(data) {
		return ""
	}
	if len(data) == 0 {
		return "is empty; fetch the file again"
	}
	for _, s := range signatures {
		if bytes.HasPrefix(data, []byte(s.prefix)) {
			return s.reason
		}
	}
	return ""
}

// plausibleLength reports whether the first 8 bytes are a header length that
// the file could hold, whatever letters they spell.
func plausibleLength(data []byte) bool {
	if len(data) < lengthBytes {
		return false
	}
	var n uint64
	for i := lengthBytes - 1; i >= 0; i-- {
		n = n<<8 | uint64(data[i])
	}
	return n <= headerLimit && n <= uint64(len(data)-lengthBytes)
}
