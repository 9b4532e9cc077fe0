package events

import (
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"waggle/internal/job"
)

// previewHeader is the length of what precedes a latent's values in a message:
// step, total, channels, height and width, each as a little-endian uint32.
const previewHeader = 5 * 4

// ShowPreview implements Log. It is kept here at once and told to others.
func (l *JetStream) ShowPreview(ctx context.Context, id job.ID, p job.Preview) error {
	if l.closed() {
		return ErrClosed
	}
	if _, err := l.last(ctx, id); err != nil {
		return err
	}
	l.keep(id, p)
	if l.options.Alone {
		return nil
	}
	if err := l.js.Conn().Publish(previewSubjects+string(id), encodePreview(p)); err != nil {
		return l.failure("show a preview of", id, err)
	}
	return nil
}

// keep takes a preview that is newer than the one before it.
func (l *JetStream) keep(id job.ID, p job.Preview) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.tailOf(id)
	if n := len(t.previews); t.ended() || n > 0 && t.previews[n-1].Step >= p.Step {
		return
	}
	t.previews = newest(append(t.previews, p), previewsKept)
	t.touched = time.Now()
	t.wake()
}

// newest keeps the last n of a list and lets go of the memory of the others.
func newest(list []job.Preview, n int) []job.Preview {
	if drop := len(list) - n; drop > 0 {
		return append([]job.Preview(nil), list[drop:]...)
	}
	return list
}

// see takes in a preview as another process, or this one, has told it.
func (l *JetStream) see(m *nats.Msg) {
	id := job.ID(strings.TrimPrefix(m.Subject, previewSubjects))
	p, err := decodePreview(m.Data)
	if err != nil || !job.ValidID(string(id)) {
		l.options.Log.Warn("a preview is left out", "job", id, "error", err)
		return
	}
	l.keep(id, p)
}

func encodePreview(p job.Preview) []byte {
	b := make([]byte, 0, previewHeader+2*len(p.Latent.Data))
	for _, v := range []int{p.Step, p.Total, p.Latent.Channels, p.Latent.Height, p.Latent.Width} {
		b = binary.LittleEndian.AppendUint32(b, uint32(v))
	}
	for _, v := range p.Latent.Data {
		b = binary.LittleEndian.AppendUint16(b, v)
	}
	return b
}

// decodePreview reads what encodePreview wrote.
func decodePreview(b []byte) (job.Preview, error) {
	if len(b) < previewHeader {
		return job.Preview{}, errors.New("the message is too short")
	}
	var v [5]int
	for i := range v {
		v[i] = int(binary.LittleEndian.Uint32(b[4*i:]))
	}
	b = b[previewHeader:]
	const sideLimit = 1 << 14
	if v[2] > sideLimit || v[3] > sideLimit || v[4] > sideLimit || 2*v[2]*v[3]*v[4] != len(b) {
		return job.Preview{}, errors.New("size and length of the latent do not agree")
	}
	p := job.Preview{Step: v[0], Total: v[1], Latent: job.Latent{Channels: v[2], Height: v[3], Width: v[4], Data: make([]uint16, len(b)/2)}}
	for i := range p.Latent.Data {
		p.Latent.Data[i] = binary.LittleEndian.Uint16(b[2*i:])
	}
	return p, nil
}

// previewWait is how long a preview of another process is waited for: what it
// shows first and then tells comes on two ways.
const previewWait = 250 * time.Millisecond

// Preview implements Log.
func (l *JetStream) Preview(ctx context.Context, id job.ID, step int) (job.Preview, bool) {
	ctx, cancel := context.WithTimeout(ctx, previewWait)
	defer cancel()
	for {
		p, changed := l.preview(id, step)
		if changed == nil || l.options.Alone || wait(ctx, l, changed) != nil {
			return p, p.Step == step
		}
	}
}

// preview returns the preview of a step, or none, with what to wait for if it
// may still come.
func (l *JetStream) preview(id job.ID, step int) (job.Preview, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.tailOf(id)
	for _, p := range t.previews {
		if p.Step == step {
			return p, nil
		}
	}
	if n := len(t.previews); t.ended() || n > 0 && t.previews[n-1].Step > step {
		return job.Preview{}, nil
	}
	return job.Preview{}, t.changed
}

// onlooker remembers the step it delivered last.
type onlooker struct {
	log  *JetStream
	id   job.ID
	step int
}

// Previews implements Log.
func (l *JetStream) Previews(ctx context.Context, id job.ID) (PreviewReader, error) {
	if l.closed() {
		return nil, ErrClosed
	}
	if _, err := l.last(ctx, id); err != nil {
		return nil, err
	}
	return &onlooker{log: l, id: id}, nil
}

// Next implements PreviewReader.
func (o *onlooker) Next(ctx context.Context) (job.Preview, error) {
	for {
		p, changed, err := o.take()
		if changed == nil {
			return p, err
		}
		if err := wait(ctx, o.log, changed); err != nil {
			return job.Preview{}, err
		}
	}
}

func (o *onlooker) take() (job.Preview, <-chan struct{}, error) {
	o.log.mu.Lock()
	defer o.log.mu.Unlock()
	t := o.log.tailOf(o.id)
	if n := len(t.previews); n > 0 && t.previews[n-1].Step > o.step {
		p := t.previews[n-1]
		o.step = p.Step
		return p, nil, nil
	}
	if t.ended() {
		return job.Preview{}, nil, ErrEnd
	}
	return job.Preview{}, t.changed, nil
}

// Close implements PreviewReader.
func (o *onlooker) Close() {}
