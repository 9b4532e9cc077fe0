package metrics

import "sync"

// names bounds the values of a label that others choose: the first ones have series of their own, the rest share one.
type names struct {
	mu    sync.Mutex
	known map[string]bool
}

const (
	namesLimit = 32
	otherName  = "other"
)

// of is the label's value for a name.
func (n *names) of(name string) string {
	name = readable(name)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.known[name] {
		return name
	}
	if len(n.known) >= namesLimit {
		return otherName
	}
	if n.known == nil {
		n.known = map[string]bool{}
	}
	n.known[name] = true
	return name
}
