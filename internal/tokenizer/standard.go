package tokenizer

import (
	"bytes"
	"compress/gzip"
	_ "embed"
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
	unpacked, err := gzip.NewReader(bytes.NewReader(clipMerges))
	if err != nil {
		return nil, err
	}
	merges, err := io.ReadAll(io.LimitReader(unpacked, maxFileBytes))
	if err != nil {
		return nil, err
	}
	return fromMerges(merges)
}
