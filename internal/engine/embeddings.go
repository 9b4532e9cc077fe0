package engine

import (
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
	var all []string
	for _, e := range embeddings {
		all = append(all, e.Name+": "+e.Hash)
	}
	return listed("TI hashes", all)
}
