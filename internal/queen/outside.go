package queen

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"strings"
	"time"

	"waggle/internal/sse"
)

// Bounds of others' answers, in bytes.
const (
	answerLimit       = 64 << 10 // of one that is read as a whole
	answerHeaderLimit = 64 << 10
)

// dialError is a connection that did not come about.
type dialError struct{ error }

func (e dialError) Unwrap() error { return e.error }

// newClient returns a client for hives and workers: it goes where it was told
// and nowhere else, and asks for no compression, which would hold events back.
func newClient(t timing, trust *tls.Config) *http.Client {
	d := dialer{net.Dialer{Timeout: t.connect, KeepAlive: 15 * time.Second}, trust}
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext: d.plain, DialTLSContext: d.secure,
			DisableKeepAlives: true, DisableCompression: true,
			ResponseHeaderTimeout: t.answer, MaxResponseHeaderBytes: answerHeaderLimit,
		},
	}
}

// request asks for an event stream.
type request struct {
	url   string
	token string
	after string        // id of the event behind which it shall begin; empty for all
	quiet time.Duration // silence after which it is given up
	limit int           // bytes of an event
}

// openStream gets an event stream. It ends with ctx, when close is called, and
// when no byte comes for too long.
func (q *Queen) openStream(ctx context.Context, ask request) (events *sse.Reader, close func(), err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, ask.url, nil)
	if err != nil {
		cancel(nil)
		return nil, nil, err
	}
	r.Header.Set("Accept", "text/event-stream")
	bearer(r, ask.token)
	if ask.after != "" {
		r.Header.Set("Last-Event-ID", ask.after)
	}
	response, err := q.http.Do(r)
	if err != nil {
		cancel(nil)
		return nil, nil, err
	}
	if err := wantStream(response); err != nil {
		response.Body.Close()
		cancel(nil)
		return nil, nil, err
	}
	silence := time.AfterFunc(ask.quiet, func() { cancel(fmt.Errorf("not a word for %v", ask.quiet)) })
	body := &heard{response.Body, ctx, silence, ask.quiet}
	return sse.NewReader(body, ask.limit), func() { silence.Stop(); cancel(nil); response.Body.Close() }, nil
}

func bearer(r *http.Request, token string) {
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
}

// statusError is an answer that is not a success.
type statusError struct {
	status int
	body   string
}

func (e statusError) Error() string { return fmt.Sprintf("%d: %s", e.status, e.body) }

func wantStream(r *http.Response) error {
	if r.StatusCode/100 != 2 {
		return statusError{r.StatusCode, someOf(r.Body)}
	}
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "text/event-stream" {
		return fmt.Errorf("the answer is %q, no event stream", plain(r.Header.Get("Content-Type"), 100))
	}
	return nil
}

// someOf is the beginning of a stranger's answer, as one line.
func someOf(r io.Reader) string {
	b, _ := io.ReadAll(io.LimitReader(r, 2048))
	return strings.TrimSpace(plain(string(b), 1000))
}

// heard puts off the end of a silent stream with every byte.
type heard struct {
	io.Reader
	ctx     context.Context
	silence *time.Timer
	limit   time.Duration
}

func (h *heard) Read(p []byte) (int, error) {
	n, err := h.Reader.Read(p)
	if n > 0 {
		h.silence.Reset(h.limit)
	}
	if cause := context.Cause(h.ctx); err != nil && cause != nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	return n, err
}
