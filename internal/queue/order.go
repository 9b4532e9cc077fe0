package queue

import (
	"cmp"
	"fmt"
)

// place is where a job stands among its client's waiting jobs of a priority: by
// Rank, then by Part. A job that was never moved has its message's place in the
// stream as rank; one that was moved has any that is free.
type place struct {
	Rank int64 `json:"rank"`
	// Part orders jobs between two ranks: text of firstDigit to lastDigit,
	// compared byte by byte, not ending in firstDigit.
	Part string `json:"part,omitempty"`
}

const (
	firstDigit, lastDigit = '0', 'z'
	// partLimit bounds what moving jobs to one spot, again and again, adds to
	// a record. A text of this length takes more than a thousand moves.
	partLimit = 256
)

func (p place) compare(q place) int {
	return cmp.Or(cmp.Compare(p.Rank, q.Rank), cmp.Compare(p.Part, q.Part))
}

// text is the place as others see it: texts are ordered as places are.
func (p place) text() string { return fmt.Sprintf("%016x%s", uint64(p.Rank)^1<<63, p.Part) }

// between returns a place after p and before q; false if there is none left.
func (p place) between(q place) (place, bool) {
	switch {
	case p.compare(q) >= 0:
		return place{}, false
	case q.Rank-p.Rank > 1:
		return place{Rank: p.Rank + (q.Rank-p.Rank)/2}, true
	case q.Rank > p.Rank:
		q.Part = "" // whatever comes after p.Rank's parts
	}
	part := partBetween(p.Part, q.Part)
	return place{p.Rank, part}, len(part) <= partLimit
}

// partBetween returns a text after a and before b, about in the middle; an
// empty b is after every text.
func partBetween(a, b string) string {
	bounded := b != ""
	var part []byte
	for i := 0; ; i++ {
		low, high := byte(firstDigit), byte(lastDigit+1)
		if i < len(a) {
			low = a[i]
		}
		if bounded && i < len(b) {
			high = b[i]
		}
		if high > low+1 {
			return string(append(part, low+(high-low)/2))
		}
		part = append(part, low)
		bounded = bounded && low == high
	}
}
