package engine

import (
	"strings"

	"waggle/internal/picture"
	"waggle/internal/sd"
)

// embeddingsOf a drawing's prompts, where it knows any.
func embeddingsOf(d Drawing) []sd.Embedding {
	if d, ok := d.(interface{ Embeddings() []sd.Embedding }); ok {
		return d.Embeddings()
	}
	return nil
}

// EmbeddingHashes is the field of a picture that tells which files they were.
func EmbeddingHashes(embeddings []sd.Embedding) []picture.Field {
	if len(embeddings) == 0 {
		return nil
	}
	var all []string
	for _, e := range embeddings {
		all = append(all, e.Name+": "+e.Hash)
	}
	return []picture.Field{{Key: "TI hashes", Value: strings.Join(all, ", ")}}
}
