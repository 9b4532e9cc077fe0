package hub

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
)

// sums adds up what comes: its length, its SHA-256 and, for small files of a repository, the name that git gives it.
type sums struct {
	count  int64
	sha256 hash.Hash
	git    hash.Hash // nil: not asked for
}

func newSums(f File) *sums {
	s := &sums{sha256: sha256.New()}
	if f.GitBlob != "" {
		s.git = sha1.New()
		fmt.Fprintf(s.git, "blob %d\x00", f.Size) // Git Internals: Git Objects, Object Storage
	}
	return s
}

// Write takes the next bytes.
func (s *sums) Write(data []byte) (int, error) {
	s.count += int64(len(data))
	s.sha256.Write(data)
	if s.git != nil {
		s.git.Write(data)
	}
	return len(data), nil
}

func (s *sums) sha() string { return hex.EncodeToString(s.sha256.Sum(nil)) }

// check compares with what was promised.
func (s *sums) check(f File) error {
	if got := s.sha(); f.SHA256 != "" && got != f.SHA256 {
		return fmt.Errorf("%w: the SHA-256 of what came is %s, promised was %s", ErrDamaged, got, f.SHA256)
	}
	if s.git == nil {
		return nil
	}
	if got := hex.EncodeToString(s.git.Sum(nil)); got != f.GitBlob {
		return fmt.Errorf("%w: as a git object what came is %s, promised was %s", ErrDamaged, got, f.GitBlob)
	}
	return nil
}
