package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"waggle/internal/job"
)

const (
	// socketProtocol is the subprotocol the server names when a client offers
	// it, as one must that sends its token in another.
	socketProtocol     = "waggle.v1"
	pingEvery          = 25 * time.Second
	pongTimeout        = 60 * time.Second
	socketWriteTimeout = 10 * time.Second
	subscriptionsLimit = 256
	refLimitBytes      = 256
)

// command is a text message of a client.
type command struct {
	Type    string          `json:"type"`
	Ref     json.RawMessage `json:"ref"`
	Job     job.ID          `json:"job"`
	Before  job.ID          `json:"before"` // of front
	After   uint64          `json:"after"`
	Preview string          `json:"preview"`
}

// reply is a text message of the server.
type reply struct {
	Type    string          `json:"type"`
	Ref     json.RawMessage `json:"ref,omitempty"`
	Job     job.ID          `json:"job,omitempty"`
	ID      uint64          `json:"id,omitempty"`
	Event   *job.Event      `json:"event,omitempty"`
	State   job.State       `json:"state,omitempty"`
	Record  *job.Report     `json:"record,omitempty"`
	SSEURL  string          `json:"sse_url,omitempty"`
	Message string          `json:"message,omitempty"`
	Status  int             `json:"status,omitempty"`
}

// socket is one WebSocket: many jobs on one connection. One goroutine reads
// commands, one writes; each subscription has its own, which fetch events no
// faster than the client takes them. Nothing is buffered but the newest
// preview of each job.
type socket struct {
	server *Server
	client string
	conn   *websocket.Conn
	text   chan []byte
	frames frameBox
	work   sync.WaitGroup // the subscriptions

	mu   sync.Mutex
	subs map[job.ID]*subscription
}

// socket is GET /v1/ws.
func (s *Server) socket(w http.ResponseWriter, r *http.Request) {
	if !s.enter() {
		w.Header().Set("Retry-After", retryAfterSeconds)
		http.Error(w, "Too many connections", http.StatusServiceUnavailable)
		return
	}
	defer s.leave()
	upgrader := websocket.Upgrader{
		HandshakeTimeout: socketWriteTimeout,
		Subprotocols:     []string{socketProtocol},
		CheckOrigin:      func(*http.Request) bool { return true }, // guard has checked it
	}
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return // Upgrade has answered
	}
	k := &socket{server: s, client: s.clientOf(r), conn: conn, text: make(chan []byte), frames: newFrameBox(), subs: map[job.ID]*subscription{}}
	k.run()
}

// enter counts a socket, unless there are too many or the server closes.
func (s *Server) enter() bool {
	select {
	case s.open <- struct{}{}:
	default:
		return false
	}
	s.sockets.Add(1)
	if s.closing() {
		s.leave()
		return false
	}
	return true
}

func (s *Server) leave() {
	s.sockets.Done()
	<-s.open
}

// run serves the connection until it or the server closes.
func (k *socket) run() {
	ctx, cancel := k.server.until(context.Background())
	written := make(chan struct{})
	go func() {
		defer close(written)
		defer cancel()
		k.write(ctx)
	}()
	k.read(ctx)
	cancel()
	<-written
	k.work.Wait()
}

// read takes commands until the connection fails.
func (k *socket) read(ctx context.Context) {
	k.conn.SetReadLimit(k.server.BodyLimitBytes)
	alive := func(string) error { return k.conn.SetReadDeadline(time.Now().Add(pongTimeout)) }
	k.conn.SetPongHandler(alive)
	for {
		if alive("") != nil {
			return
		}
		kind, message, err := k.conn.ReadMessage()
		if err != nil {
			return
		}
		if kind != websocket.TextMessage {
			k.say(ctx, reply{Type: "error", Message: "commands are text messages", Status: http.StatusBadRequest})
			continue
		}
		k.obey(ctx, message)
	}
}

// write sends what others hand it, and pings. It closes the connection.
func (k *socket) write(ctx context.Context) {
	defer k.conn.Close()
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	for {
		var err error
		select {
		case text := <-k.text:
			err = k.send(websocket.TextMessage, text)
		case <-k.frames.ready:
			if frame := k.frames.take(); frame != nil {
				err = k.send(websocket.BinaryMessage, frame)
			}
		case <-ping.C:
			err = k.send(websocket.PingMessage, nil)
		case <-ctx.Done():
			k.goodbye()
			return
		}
		if err != nil {
			return
		}
	}
}

func (k *socket) send(kind int, data []byte) error {
	if err := k.conn.SetWriteDeadline(time.Now().Add(socketWriteTimeout)); err != nil {
		return err
	}
	return k.conn.WriteMessage(kind, data)
}

// goodbye tells the client why the connection ends.
func (k *socket) goodbye() {
	code := websocket.CloseNormalClosure
	if k.server.closing() {
		code = websocket.CloseGoingAway
	}
	message := websocket.FormatCloseMessage(code, "")
	_ = k.conn.WriteControl(websocket.CloseMessage, message, time.Now().Add(time.Second)) // it may be gone already
}

// say hands a message to the writer; it waits for a slow client.
func (k *socket) say(ctx context.Context, r reply) {
	text, err := json.Marshal(r)
	if err != nil {
		k.server.Log.Error("encode message", "error", err)
		return
	}
	select {
	case k.text <- text:
	case <-ctx.Done():
	}
}

// obey carries out one command.
func (k *socket) obey(ctx context.Context, message []byte) {
	var c command
	if err := json.Unmarshal(message, &c); err != nil {
		k.refuse(ctx, nil, job.Errorf(job.InvalidInput, "Failed to parse the message as JSON: %w", err))
		return
	}
	if len(c.Ref) > refLimitBytes {
		c.Ref = nil
	}
	var err error
	switch answer := (reply{Type: "ok", Ref: c.Ref, Job: c.Job}); c.Type {
	case "ping":
		k.say(ctx, reply{Type: "pong", Ref: c.Ref})
	case "subscribe":
		err = k.subscribe(ctx, c, answer)
	case "unsubscribe":
		k.unsubscribe(c.Job)
		k.say(ctx, answer)
	case "submit":
		err = k.submit(ctx, message, answer)
	case "cancel":
		if err = k.server.cancel(ctx, c.Job); err == nil {
			k.say(ctx, answer)
		}
	case "pause", "resume", "front":
		var r job.Record
		if r, err = k.server.change(ctx, c.Type, c.Job, c.Before); err == nil {
			answer.State = r.State
			k.say(ctx, answer)
		}
	default:
		err = job.Errorf(job.InvalidInput, "unknown type of message %.40q", c.Type)
	}
	if err != nil {
		k.refuse(ctx, c.Ref, err)
	}
}

func (k *socket) refuse(ctx context.Context, ref json.RawMessage, err error) {
	p := k.server.problemOf(err)
	k.say(ctx, reply{Type: "error", Ref: ref, Message: strings.TrimSpace(p.message), Status: p.status})
}

func (k *socket) submit(ctx context.Context, message []byte, answer reply) error {
	record, err := k.server.submit(ctx, message, "", k.client)
	if err != nil {
		return err
	}
	answer.Job, answer.State, answer.SSEURL = record.ID, record.State, streamURL(record.ID)
	k.say(ctx, answer)
	return nil
}

// frameBox holds the newest preview of each job that the client has not taken.
type frameBox struct {
	ready chan struct{} // has a token while there are frames
	state *frameState
}

type frameState struct {
	mu     sync.Mutex
	frames map[job.ID][]byte
	order  []job.ID // whose frame waits, the longest first
}

func newFrameBox() frameBox {
	return frameBox{make(chan struct{}, 1), &frameState{frames: map[job.ID][]byte{}}}
}

// put replaces a job's frame.
func (b frameBox) put(id job.ID, frame []byte) {
	b.state.mu.Lock()
	defer b.state.mu.Unlock()
	if _, waits := b.state.frames[id]; !waits {
		b.state.order = append(b.state.order, id)
	}
	b.state.frames[id] = frame
	b.signal()
}

// take removes the frame that has waited longest; nil if there is none.
func (b frameBox) take() []byte {
	b.state.mu.Lock()
	defer b.state.mu.Unlock()
	if len(b.state.order) == 0 {
		return nil
	}
	id := b.state.order[0]
	b.state.order = b.state.order[1:]
	frame := b.state.frames[id]
	delete(b.state.frames, id)
	if len(b.state.order) > 0 {
		b.signal()
	}
	return frame
}

func (b frameBox) signal() {
	select {
	case b.ready <- struct{}{}:
	default:
	}
}
