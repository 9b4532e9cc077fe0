package tokenizer

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"sync"
)

// clipMerges is the merge table of OpenAI's CLIP; see LICENSE.clip_merges.
//
//go:embed clip_merges.txt.gz
var clipMerges []byte

// Standard returns the tokenizer of OpenAI's CLIP, 49408 tokens, which SD 1.x, 2.x and SDXL use. It is built at the first call.
func Standard() *Tokenizer { return standard() }

var standard = sync.OnceValue(func() *Tokenizer {
	t, err := readStandard()
	if err != nil {
		panic(fmt.Sprintf("embedded CLIP vocabulary: %v", err)) // our own bytes: the binary itself is damaged
	}
	return t
})

func readStandard() (*Tokenizer, error) {
	merges, err := unpackStandard()
	if err != nil {
		return nil, err
	}
	return fromMerges(merges)
}

func unpackStandard() ([]byte, error) {
	unpacked, err := gzip.NewReader(bytes.NewReader(clipMerges))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(unpacked, maxFileBytes))
}

// StandardFiles are the files that New makes Standard of: vocab.json and merges.txt.
func StandardFiles() (vocab, merges []byte, err error) {
	if merges, err = unpackStandard(); err != nil {
		return nil, nil, err
	}
	if _, pairs, ok := bytes.Cut(merges, []byte("\n")); ok { // other programs know their own heading alone
		merges = append([]byte("#version: 0.2\n"), pairs...)
	}
	ids := map[string]int32{}
	for id, token := range Standard().names {
		ids[token] = int32(id)
	}
	vocab, err = json.Marshal(ids)
	return vocab, merges, err
}
