// Package beacon tells a queen of this worker: every 30 s, and at once when what she should know has changed. Nothing waits
// for it, and nothing depends on it: a queen that is not there, refuses or hangs costs a line in the log. Whoever answers
// like a web page instead of a queen is left alone after three answers.
package beacon

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"waggle/internal/certs"
	"waggle/internal/job"
)

const (
	every     = 30 * time.Second       // a queen forgets who was silent for 90 s
	gap       = 200 * time.Millisecond // between two heartbeats, however much changes
	sendLimit = 5 * time.Second        // for one heartbeat
	lastLimit = 300 * time.Millisecond // for the one that says goodbye

	strangersLimit   = 3 // answers that are no queen's, one after the other
	answerLimitBytes = 64 << 10
)

// Config says where heartbeats go.
type Config struct {
	Queen string // her address, as CheckURL wants it
	Token string // bearer token; empty: none
	Trust *tls.Config
	Log   *slog.Logger

	transport http.RoundTripper // for tests
}

// CheckURL reports what is wrong with a queen's address.
func CheckURL(address string) error {
	u, err := url.Parse(address)
	if err == nil && u.User != nil {
		return errors.New("it must hold no user and password: what a queen wants is a token")
	}
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("want the queen's address, as http://host:7833")
	}
	return nil
}

// Beacon sends heartbeats until it is stopped. A nil Beacon does nothing.
type Beacon struct {
	config Config
	client *http.Client
	news   chan struct{} // something has changed
	stop   context.CancelFunc
	gone   chan struct{}

	mu   sync.Mutex
	node job.Node

	strangers int  // answers of late that were no queen's
	failing   bool // and somebody was told
}

// Start begins with a node as it is now.
func Start(c Config, node job.Node) *Beacon {
	if c.transport == nil {
		c.transport = &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: c.Trust, MaxIdleConns: 1, IdleConnTimeout: 2 * every}
	}
	ctx, stop := context.WithCancel(context.Background())
	b := &Beacon{config: c, node: spoken(node), stop: stop, news: make(chan struct{}, 1), gone: make(chan struct{}), client: &http.Client{
		Transport:     c.transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // the token is hers alone
	}}
	go func() {
		defer close(b.gone)
		defer b.client.CloseIdleConnections()
		b.run(ctx)
	}()
	return b
}

// spoken is what heartbeats say of a node.
func spoken(n job.Node) job.Node {
	return job.Node{ID: n.ID, ModelID: n.ModelID, Device: n.Device, Port: n.Port, Status: n.Status, Implementation: n.Implementation, Version: n.Version, TLSName: n.TLSName}
}

// Tell says how the node is now. It does not wait.
func (b *Beacon) Tell(n job.Node) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	before, now := b.node, spoken(n)
	b.node = now
	if before.Status != now.Status || before.Device != now.Device {
		select {
		case b.news <- struct{}{}:
		default:
		}
	}
}

// Stop ends the heartbeats: what was told last goes out once more. It does not wait.
func (b *Beacon) Stop() {
	if b != nil {
		b.stop()
	}
}

// Close is Stop, and waits for the end, for no longer than lastLimit.
func (b *Beacon) Close() {
	if b != nil {
		b.stop()
		<-b.gone
	}
}

// run sends until ctx ends, and then once more.
func (b *Beacon) run(ctx context.Context) {
	for ctx.Err() == nil {
		b.beat(ctx, sendLimit)
		if b.strangers >= strangersLimit {
			b.config.Log.Warn("no queen answers there: this worker does not report to her any more", "queen", b.config.Queen)
			return
		}
		if !pause(ctx, gap) {
			break
		}
		select {
		case <-time.After(every - gap):
		case <-b.news:
		case <-ctx.Done():
		}
	}
	b.beat(context.WithoutCancel(ctx), lastLimit)
}

func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// beat sends one heartbeat and notes what came of it.
func (b *Beacon) beat(ctx context.Context, limit time.Duration) {
	timed, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := b.send(timed)
	var stranger *strangerError
	switch {
	case err == nil:
		b.strangers = 0
	case errors.As(err, &stranger):
		b.strangers++
	}
	if ctx.Err() == nil {
		b.note(err)
	}
}

// note logs what has changed: of failures in a row the first.
func (b *Beacon) note(err error) {
	log, before := b.config.Log.With("queen", b.config.Queen), b.failing
	b.failing = err != nil
	switch {
	case err == nil && before:
		log.Info("the queen hears this worker again")
	case err != nil && before:
		log.Debug("report to the queen", "error", err)
	case err != nil:
		log.Warn("report to the queen; it is tried again every "+every.String(), "error", err)
	}
}

// heartbeat is the protocol's.
type heartbeat struct {
	Worker    job.Node `json:"worker"`
	Timestamp string   `json:"timestamp"`
}

// send is one heartbeat: nil if a queen took it.
func (b *Beacon) send(ctx context.Context) error {
	b.mu.Lock()
	beat := heartbeat{b.node, time.Now().UTC().Format(time.RFC3339Nano)}
	b.mu.Unlock()
	body, err := json.Marshal(beat)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(b.config.Queen, "/")+"/v1/worker-heartbeat", bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	if b.config.Token != "" {
		r.Header.Set("Authorization", "Bearer "+b.config.Token)
	}
	answer, err := b.client.Do(r)
	if err != nil {
		return certs.Explain(err)
	}
	defer answer.Body.Close()
	return judge(answer)
}

// strangerError is an answer that is no queen's.
type strangerError struct{ status int }

func (e *strangerError) Error() string {
	return fmt.Sprintf("whoever answers there (with status %d) is no queen that takes heartbeats", e.status)
}

// judge reads an answer: a queen's is a JSON object. One that is overloaded or broken may say so as it likes.
func judge(answer *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(answer.Body, answerLimitBytes))
	if err != nil {
		return err
	}
	var members map[string]json.RawMessage
	isObject := json.Unmarshal(body, &members) == nil && members != nil
	success := answer.StatusCode/100 == 2
	switch {
	case isObject && success:
		return nil
	case isObject, answer.StatusCode >= 500, answer.StatusCode == http.StatusTooManyRequests, answer.StatusCode == http.StatusRequestTimeout:
		return fmt.Errorf("the queen answered %d: %.200s", answer.StatusCode, strings.ToValidUTF8(strings.Join(strings.Fields(string(body)), " "), "?"))
	}
	return &strangerError{answer.StatusCode}
}
