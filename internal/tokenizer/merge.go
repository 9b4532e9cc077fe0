package tokenizer

import "container/heap"

// encodeWord joins the bytes of a word into tokens. n bytes take O(n log n): a word can be as long as a hostile prompt.
func (t *Tokenizer) encodeWord(word string) []int32 {
	w := t.split(word)
	for w.queue.Len() > 0 {
		next := heap.Pop(&w.queue).(candidate)
		if w.current(next) {
			w.join(t, next)
		}
	}
	return w.ids()
}

// word is a doubly linked list of symbols in arrays: joining drops the right one of two neighbours.
type word struct {
	symbols []symbol
	queue   candidates
}

type symbol struct {
	id         int32
	prev, next int32 // positions, -1 at the ends
	gone       bool
}

// candidate is a pair of neighbours that the merge table knows, as it was when found.
type candidate struct {
	merging
	at   int32 // position of the left symbol
	pair pair
}

// candidates is a heap: lowest rank first, then leftmost.
type candidates []candidate

func (c candidates) Len() int      { return len(c) }
func (c candidates) Swap(i, j int) { c[i], c[j] = c[j], c[i] }
func (c *candidates) Push(x any)   { *c = append(*c, x.(candidate)) }
func (c candidates) Less(i, j int) bool {
	if c[i].rank != c[j].rank {
		return c[i].rank < c[j].rank
	}
	return c[i].at < c[j].at
}
func (c *candidates) Pop() any {
	end := len(*c) - 1
	last := (*c)[end]
	*c = (*c)[:end]
	return last
}

func (t *Tokenizer) split(text string) *word {
	w := &word{symbols: make([]symbol, len(text))}
	end := len(text) - 1
	for i := range len(text) {
		w.symbols[i] = symbol{id: t.inside[text[i]], prev: int32(i - 1), next: int32(i + 1)}
	}
	w.symbols[end].id = t.last[text[end]]
	w.symbols[end].next = -1
	for i := range end {
		w.consider(t, int32(i))
	}
	return w
}

// consider queues the pair that begins at a position, if the merge table knows it.
func (w *word) consider(t *Tokenizer, at int32) {
	if at < 0 || w.symbols[at].next < 0 {
		return
	}
	p := pair{w.symbols[at].id, w.symbols[w.symbols[at].next].id}
	if m, ok := t.merges[p]; ok {
		heap.Push(&w.queue, candidate{merging: m, at: at, pair: p})
	}
}

// current reports whether the candidate's two symbols are still neighbours.
func (w *word) current(c candidate) bool {
	left := w.symbols[c.at]
	return !left.gone && left.next >= 0 && left.id == c.pair.left && w.symbols[left.next].id == c.pair.right
}

func (w *word) join(t *Tokenizer, c candidate) {
	left := &w.symbols[c.at]
	right := &w.symbols[left.next]
	right.gone = true
	left.id, left.next = c.id, right.next
	if left.next >= 0 {
		w.symbols[left.next].prev = c.at
	}
	w.consider(t, left.prev)
	w.consider(t, c.at)
}

func (w *word) ids() []int32 {
	var ids []int32
	for at := int32(0); at >= 0; at = w.symbols[at].next {
		ids = append(ids, w.symbols[at].id)
	}
	return ids
}
