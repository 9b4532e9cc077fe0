package weights

import (
	"encoding/json"
	"fmt"
	"io"
)

// Write writes a safetensors file with the tensors in the order given, as they
// are, which Parse accepts.
func Write(w io.Writer, tensors []Tensor, metadata map[string]string) error {
	return Encode(w, tensors, Encoding{Metadata: metadata})
}

// written is a tensor's header entry as JSON.
type written struct {
	DType   string    `json:"dtype"`
	Shape   []int     `json:"shape"`
	Offsets [2]uint64 `json:"data_offsets"`
}

// encodeHeader makes the header, padded with spaces so that the data begins at
// a multiple of 8 bytes.
func encodeHeader(entries []entry, metadata map[string]string) ([]byte, error) {
	members := map[string]any{}
	if len(metadata) > 0 {
		members[metadataKey] = metadata
	}
	for _, e := range entries {
		if _, twice := members[e.name]; twice || e.name == metadataKey {
			return nil, fmt.Errorf("tensor %q: the name is taken", e.name)
		}
		shape := append([]int{}, e.shape...) // never null
		members[e.name] = written{e.dtype.String(), shape, [2]uint64{e.begin, e.end}}
	}
	header, err := json.Marshal(members)
	if err != nil {
		return nil, fmt.Errorf("encode the header: %w", err)
	}
	for len(header)%8 != 0 {
		header = append(header, ' ')
	}
	return header, nil
}
