package weights

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
)

// Write writes a safetensors file with the tensors in the order given, which
// Parse accepts. The header is padded with spaces so that the data begins at a
// multiple of 8 bytes.
func Write(w io.Writer, tensors []Tensor, metadata map[string]string) error {
	header, err := encodeHeader(tensors, metadata)
	if err != nil {
		return err
	}
	if _, err := w.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(header)))); err != nil {
		return err
	}
	if _, err := w.Write(header); err != nil {
		return err
	}
	for _, t := range tensors {
		if _, err := w.Write(t.Data); err != nil {
			return fmt.Errorf("write tensor %q: %w", t.Name, err)
		}
	}
	return nil
}

// written is a tensor's header entry as JSON.
type written struct {
	DType   string `json:"dtype"`
	Shape   []int  `json:"shape"`
	Offsets [2]int `json:"data_offsets"`
}

func encodeHeader(tensors []Tensor, metadata map[string]string) ([]byte, error) {
	members := map[string]any{}
	if len(metadata) > 0 {
		members[metadataKey] = metadata
	}
	offset := 0
	for _, t := range tensors {
		if err := t.check(); err != nil {
			return nil, err
		}
		if _, twice := members[t.Name]; twice || t.Name == metadataKey {
			return nil, fmt.Errorf("tensor %q: the name is taken", t.Name)
		}
		shape := append([]int{}, t.Shape...) // never null
		members[t.Name] = written{t.DType.String(), shape, [2]int{offset, offset + len(t.Data)}}
		offset += len(t.Data)
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
