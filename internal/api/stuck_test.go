package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"waggle/internal/events"
	"waggle/internal/job"
	"waggle/internal/queue"
	"waggle/internal/sse"
	"waggle/internal/store"
	"waggle/internal/stream"
)

// Readers that do not read, in fake time and over pipes, which buffer nothing:
// whoever waits for such a reader is seen to wait, as the clock moves on.

// pipes is a listener whose connections are pipes.
type pipes struct {
	waiting chan net.Conn
	closed  chan struct{}
	once    sync.Once
	dialled atomic.Int32
}

// pipe is a connection from an address of its own.
type pipe struct {
	net.Conn
	from net.Addr
}

func (p pipe) RemoteAddr() net.Addr { return p.from }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.waiting:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }

func (p *pipes) dial() net.Conn {
	ours, theirs := net.Pipe()
	n := p.dialled.Add(1)
	p.waiting <- pipe{theirs, &net.TCPAddr{IP: net.IPv4(192, 0, byte(n>>8), byte(n)), Port: 1}}
	return ours
}

// shelf is a store in memory.
type shelf struct{ sync.Map }

func (s *shelf) Put(_ context.Context, id job.ID, i int, png []byte) error {
	s.Store(fmt.Sprint(id, i), png)
	return nil
}

func (s *shelf) Get(_ context.Context, id job.ID, i int) ([]byte, error) {
	png, ok := s.Load(fmt.Sprint(id, i))
	if !ok {
		return nil, store.ErrNotFound
	}
	return png.([]byte), nil
}

func (s *shelf) Remove(context.Context, job.ID) error { return nil }
func (s *shelf) Close() error                         { return nil }

// quiet is a server in fake time.
type quiet struct {
	*testing.T
	server *Server
	queue  *queue.Memory
	log    *events.Memory
	shelf  *shelf
	pipes  *pipes
	ended  chan error
	cancel context.CancelFunc
}

func startQuiet(t *testing.T) *quiet {
	q := &quiet{T: t, queue: queue.NewMemory(queue.Options{}), log: events.NewMemory(0), shelf: &shelf{}, ended: make(chan error, 1),
		pipes: &pipes{waiting: make(chan net.Conn), closed: make(chan struct{})}}
	q.server = New(Config{Queue: q.queue, Events: q.log, Store: q.shelf, NodeID: testNode})
	if err := q.queue.PutNode(t.Context(), job.Node{ID: testNode, Status: job.Ready, Models: []job.ModelInfo{{Name: "tiny", Preview: job.LatentRGB{Factors: [][3]float32{{1}}, Downscale: 8}}}}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	q.cancel = cancel
	go func() { q.ended <- q.server.Serve(ctx, q.pipes) }()
	return q
}

// stop ends the server and all it has opened.
func (q *quiet) stop() {
	q.cancel()
	if err := <-q.ended; err != nil {
		q.Error(err)
	}
	q.queue.Close()
	q.log.Close()
}

// begin submits a job and takes it.
func (q *quiet) begin(id job.ID) queue.Lease {
	q.Helper()
	r := job.NewRequest(job.Generation, "tiny", "p")
	r.ID = id
	if _, err := q.queue.Submit(q.Context(), r); err != nil {
		q.Fatal(err)
	}
	l, err := q.queue.Next(q.Context(), queue.Consumer{Node: testNode})
	if err != nil {
		q.Fatal(err)
	}
	return l
}

// step reports a step with a latent of side × side.
func (q *quiet) step(id job.ID, step, total, side int) {
	q.Helper()
	p := job.Preview{Step: step, Total: total, Latent: job.NewLatent(1, side, side, make([]float32, side*side))}
	if err := errors.Join(q.log.ShowPreview(q.Context(), id, p), q.log.Publish(q.Context(), id, job.StepEvent(step, total))); err != nil {
		q.Fatal(err)
	}
}

// finish ends a job with a picture of so many bytes.
func (q *quiet) finish(l queue.Lease, size int) {
	q.Helper()
	q.shelf.Put(q.Context(), l.Record().ID, 0, make([]byte, size))
	r, err := l.Finish(q.Context(), job.Complete, job.Outcome{Pictures: []job.Picture{{}}})
	if err != nil {
		q.Fatal(err)
	}
	last, _ := r.EndEvent()
	if err := q.log.Publish(q.Context(), r.ID, last); err != nil {
		q.Fatal(err)
	}
}

// ask opens a stream without reading any of it.
func (q *quiet) ask(id job.ID) net.Conn {
	c := q.pipes.dial()
	fmt.Fprintf(c, "GET /v1/jobs/%s/stream HTTP/1.1\r\nHost: localhost\r\n\r\n", id)
	return c
}

func (q *quiet) socket(ids ...job.ID) *websocket.Conn {
	q.Helper()
	dialer := websocket.Dialer{NetDialContext: func(context.Context, string, string) (net.Conn, error) { return q.pipes.dial(), nil }}
	conn, _, err := dialer.Dial("ws://localhost/v1/ws", nil)
	if err != nil {
		q.Fatal(err)
	}
	for _, id := range ids {
		if err := conn.WriteJSON(map[string]any{"type": "subscribe", "job": id}); err != nil {
			q.Fatal(err)
		}
	}
	return conn
}

// deafSocket is subscribed to jobs, and does not listen after it has heard so.
func (q *quiet) deafSocket(ids ...job.ID) *websocket.Conn {
	q.Helper()
	c := q.socket()
	for _, id := range ids {
		if err := c.WriteJSON(map[string]any{"type": "subscribe", "job": id}); err != nil {
			q.Fatal(err)
		}
		for answered := false; !answered; {
			var m reply
			if err := c.ReadJSON(&m); err != nil {
				q.Fatal(err)
			}
			answered = m.Type == "ok" && m.Job == id
		}
	}
	synctest.Wait()
	return c
}

// readStream counts the events of a stream up to its end.
func readStream(c net.Conn) (numbers []int, err error) {
	defer c.Close()
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var n int
		if _, err := fmt.Sscanf(lines.Text(), "id: %d", &n); err == nil {
			numbers = append(numbers, n)
		}
		if lines.Text() == "data: [DONE]" {
			return numbers, nil
		}
	}
	return numbers, errors.Join(lines.Err(), io.ErrUnexpectedEOF)
}

// readSocket counts the events of a job up to its end.
func readSocket(c *websocket.Conn) (numbers []int, err error) {
	defer c.Close()
	for {
		var m struct {
			Type  string
			ID    int
			Event struct{ Type job.EventType }
		}
		kind, r, err := c.NextReader()
		if err != nil {
			return numbers, err
		}
		if kind == websocket.BinaryMessage {
			continue
		}
		if err := json.NewDecoder(r).Decode(&m); err != nil {
			return numbers, err
		}
		if m.Type == "event" {
			numbers = append(numbers, m.ID)
		}
		if m.Event.Type == job.CompleteEvent {
			return numbers, nil
		}
	}
}

// Test500Watchers: so many hear of every event while two others read nothing at
// all, and none of it takes any time: nobody waits for the two. They are let go
// when the time of a write is over.
func Test500Watchers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := startQuiet(t)
		defer q.stop()
		lease := q.begin("a")
		stuckStream, stuckSocket := q.ask("a"), q.deafSocket("a")
		defer stuckStream.Close()
		defer stuckSocket.Close()

		const watchers, total = 500, 30
		ended := q.watch("a", watchers, total+1)
		synctest.Wait()
		began := time.Now()
		for s := 1; s <= total; s++ {
			q.step("a", s, total, 16)
			synctest.Wait() // all have it
		}
		q.finish(lease, 1000)
		synctest.Wait()
		if took := time.Since(began); took != 0 || ended.Load() != watchers {
			t.Errorf("%d of %d watchers are done after %v", ended.Load(), watchers, took)
		}
		q.letGo(stuckStream, stuckSocket)
	})
}

// watch starts watchers of a job, half on streams and half on sockets, each of
// which must hear so many events; it returns how many have come to the end.
func (q *quiet) watch(id job.ID, watchers, events int) *atomic.Int64 {
	var ended atomic.Int64
	want := make([]int, events)
	for i := range want {
		want[i] = i + 1
	}
	for i := range watchers {
		go func() {
			var got []int
			var err error
			if i%2 == 0 {
				got, err = readStream(q.ask(id))
			} else {
				got, err = readSocket(q.socket(id))
			}
			if err != nil || !slices.Equal(got, want) {
				q.Errorf("watcher %d heard %v, %v", i, got, err)
			}
			ended.Add(1)
		}()
	}
	return &ended
}

// letGo checks that readers that have been deaf since now are dropped in time.
func (q *quiet) letGo(stream net.Conn, socket *websocket.Conn) {
	q.Helper()
	if n := q.server.sockets.Taken(); n != 1 {
		q.Errorf("%d sockets are open, want the stuck one alone", n)
	}
	time.Sleep(socketWriteTimeout)
	synctest.Wait()
	if n := q.server.sockets.Taken(); n != 0 {
		q.Errorf("the stuck socket is still open after %v", socketWriteTimeout)
	}
	if _, err := socket.NetConn().Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		q.Errorf("the stuck socket reads %v", err)
	}
	time.Sleep(sse.WriteTimeout - socketWriteTimeout)
	synctest.Wait()
	if _, err := stream.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		q.Errorf("the stuck stream reads %v", err)
	}
}

// TestSilentSocket: a client that is only silent, and answers no ping, is let go.
func TestSilentSocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := startQuiet(t)
		defer q.stop()
		c := q.socket()
		defer c.Close()
		pings := 0
		c.SetPingHandler(func(string) error { pings++; return nil }) // no pong
		began := time.Now()
		_, _, err := c.ReadMessage()
		if took := time.Since(began); err == nil || took != pongTimeout || pings != 2 {
			t.Errorf("ended after %v and %d pings: %v", took, pings, err)
		}
	})
}

// TestStuckSocketMemory: what a client does not take is not kept for it: of
// each job the newest latent, whatever else was shown; of pictures those that
// any readers share.
func TestStuckSocketMemory(t *testing.T) {
	const jobs, total, side = 40, 60, 256 // latents of 128 KiB
	const latent, picture = 2 * side * side, 4 << 20
	const kept = 8 // latents of each job in the log, as long as it has readers
	synctest.Test(t, func(t *testing.T) {
		q := startQuiet(t)
		defer q.stop()
		var leases []queue.Lease
		var ids []job.ID
		for i := range jobs {
			ids = append(ids, job.ID(fmt.Sprint("j", i)))
			leases = append(leases, q.begin(ids[i]))
		}
		c := q.deafSocket(ids...)
		defer c.Close()
		before := heap()
		for s := 1; s <= total; s++ {
			for _, id := range ids {
				q.step(id, s, total, side)
			}
		}
		for _, l := range leases {
			q.finish(l, picture)
		}
		synctest.Wait()
		for _, id := range ids {
			q.log.Forget(t.Context(), id)
			q.shelf.Delete(fmt.Sprint(id, 0))
		}
		if grown := heap() - before; grown > jobs*(kept+1)*latent+2*stream.WiredLimitBytes {
			t.Errorf("a client that reads nothing holds %d MiB of %d MiB that it was shown", grown>>20, jobs*(total*latent+picture)>>20)
		}
	})
}

// heap is how many bytes are reachable.
func heap() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}
