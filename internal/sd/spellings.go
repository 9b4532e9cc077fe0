package sd

import (
	"slices"
	"strings"
	"sync"

	"waggle/internal/models"
	"waggle/internal/tokenizer"
)

// spellings are the names of embeddings as tokens, kept from prompt to prompt: there may be thousands. It may be used
// concurrently.
type spellings struct {
	mu    sync.Mutex
	names []models.Entry // those that were spelled
	known map[*tokenizer.Tokenizer]spelled
}

// spelled are names by the token that they begin with, the longest of each first.
type spelled map[int32][]spelling

type spelling struct {
	ids   []int32
	entry models.Entry
}

// of spells the names of entries, unless that was done last. Without a memory it is done every time.
func (s *spellings) of(t *tokenizer.Tokenizer, entries []models.Entry) spelled {
	if s == nil {
		return spell(t, entries)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Equal(s.names, entries) {
		s.names, s.known = entries, nil
	}
	if s.known == nil {
		s.known = map[*tokenizer.Tokenizer]spelled{}
	}
	if s.known[t] == nil {
		s.known[t] = spell(t, entries)
	}
	return s.known[t]
}

func spell(t *tokenizer.Tokenizer, entries []models.Entry) spelled {
	names := spelled{}
	for _, e := range entries {
		if ids := t.Encode(e.Name[strings.LastIndexByte(e.Name, '/')+1:]); len(ids) > 0 {
			names[ids[0]] = append(names[ids[0]], spelling{ids, e})
		}
	}
	for _, list := range names {
		slices.SortStableFunc(list, func(a, b spelling) int { return len(b.ids) - len(a.ids) })
	}
	return names
}

// find is the longest name that the tokens begin with.
func (s spelled) find(ids []int32) (found spelling, ok bool) {
	if len(ids) == 0 {
		return found, false
	}
	list := s[ids[0]]
	i := slices.IndexFunc(list, func(n spelling) bool { return len(n.ids) <= len(ids) && slices.Equal(n.ids, ids[:len(n.ids)]) })
	if i < 0 {
		return found, false
	}
	return list[i], true
}
