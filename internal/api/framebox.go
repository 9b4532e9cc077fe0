package api

import (
	"slices"
	"sync"

	"waggle/internal/job"
)

// frameBox holds the newest preview of each subscription that the client has
// not taken. Latents are shared with the log; a message is made of one when the
// client is ready for it.
type frameBox struct {
	ready chan struct{} // has a token while there are previews

	mu     sync.Mutex
	newest map[*subscription]job.Preview
	order  []*subscription // whose preview waits, the longest first
}

func newFrameBox() *frameBox {
	return &frameBox{ready: make(chan struct{}, 1), newest: map[*subscription]job.Preview{}}
}

// put replaces a subscription's preview.
func (b *frameBox) put(sub *subscription, p job.Preview) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, waits := b.newest[sub]; !waits {
		b.order = append(b.order, sub)
	}
	b.newest[sub] = p
	b.signal()
}

// take removes the preview that has waited longest, if there is one.
func (b *frameBox) take() (sub *subscription, p job.Preview, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.order) == 0 {
		return nil, p, false
	}
	sub, b.order = b.order[0], b.order[1:]
	p = b.newest[sub]
	delete(b.newest, sub)
	if len(b.order) > 0 {
		b.signal()
	}
	return sub, p, true
}

// drop forgets a subscription.
func (b *frameBox) drop(sub *subscription) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.newest, sub)
	b.order = slices.DeleteFunc(b.order, func(other *subscription) bool { return other == sub })
}

func (b *frameBox) signal() {
	select {
	case b.ready <- struct{}{}:
	default:
	}
}
