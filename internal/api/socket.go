package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"waggle/internal/door"
	"waggle/internal/job"
	"waggle/internal/queue"
	"waggle/internal/stream"
)

const (
	// socketProtocol is the subprotocol the server names when a client offers
	// it, as one must that sends its token in another.
	socketProtocol     = "waggle.v1"
	pingEvery          = 25 * time.Second
	pongTimeout        = 60 * time.Second
	socketWriteTimeout = 10 * time.Second
	subscriptionsLimit = 256
	chunkBytes         = 64 << 10 // of a message, which must be taken within a write timeout
)

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
// preview of each job. A client that takes nothing for a write timeout is let
// go; so is one that answers no ping.
type socket struct {
	server *Server
	client string
	conn   *websocket.Conn
	text   chan [][]byte // a message, in parts
	frames *frameBox
	work   sync.WaitGroup // the subscriptions

	mu   sync.Mutex
	subs map[job.ID]*subscription
}

// socket is GET /v1/ws.
func (s *Server) socket(w http.ResponseWriter, r *http.Request) {
	client := s.door.ClientOf(r)
	leave, ok := s.enter(w, client)
	if !ok {
		return
	}
	defer leave()
	upgrader := websocket.Upgrader{
		HandshakeTimeout: socketWriteTimeout,
		Subprotocols:     []string{socketProtocol},
		CheckOrigin:      func(*http.Request) bool { return true }, // guard has checked it
	}
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return // Upgrade has answered
	}
	k := &socket{server: s, client: client, conn: conn, text: make(chan [][]byte), frames: newFrameBox(), subs: map[job.ID]*subscription{}}
	k.run()
}

// enter counts a socket, or answers that there are too many or the server closes.
func (s *Server) enter(w http.ResponseWriter, client string) (leave func(), ok bool) {
	free, ok := s.sockets.Take(w, client)
	if !ok {
		return nil, false
	}
	s.running.Add(1)
	leave = func() {
		s.running.Done()
		free()
	}
	if s.closing() {
		leave()
		s.fail(w, queue.ErrClosed)
		return nil, false
	}
	return leave, true
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
		kind, r, err := k.conn.NextReader()
		if err != nil {
			return
		}
		if kind != websocket.TextMessage { // the next reader skips it
			k.say(ctx, reply{Type: "error", Message: "commands are text messages", Status: http.StatusBadRequest})
			continue
		}
		if !k.take(ctx, r) {
			return
		}
	}
}

// take reads a command and carries it out; false if the connection has failed.
func (k *socket) take(ctx context.Context, r io.Reader) bool {
	if k.conn.SetReadDeadline(time.Now().Add(k.server.door.BodyTime)) != nil {
		return false
	}
	message, release, err := k.server.door.Read(r)
	defer release()
	switch {
	case errors.As(err, &door.Problem{}):
		k.refuse(ctx, nil, err)
	case err != nil:
		return false
	default:
		k.obey(ctx, message)
	}
	return true
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
			err = k.send(websocket.TextMessage, text...)
		case <-k.frames.ready:
			err = k.sendPreview(ctx)
		case <-ping.C:
			err = k.conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(socketWriteTimeout))
		case <-ctx.Done():
			k.goodbye()
			return
		}
		if err != nil {
			return
		}
	}
}

// send writes one message of several parts.
func (k *socket) send(kind int, parts ...[]byte) error {
	w, err := k.conn.NextWriter(kind)
	if err != nil {
		return err
	}
	for _, part := range parts {
		for chunk := range slices.Chunk(part, chunkBytes) {
			if err := k.conn.SetWriteDeadline(time.Now().Add(socketWriteTimeout)); err != nil {
				return err
			}
			if _, err := w.Write(chunk); err != nil {
				return err
			}
		}
	}
	return w.Close()
}

// sendPreview sends the preview that has waited longest. One that cannot be
// drawn is left out.
func (k *socket) sendPreview(ctx context.Context) error {
	sub, p, ok := k.frames.take()
	if !ok {
		return nil
	}
	frame, err := sub.frame(ctx, p)
	if err != nil {
		k.server.Log.Debug("preview left out", "job", sub.id, "step", p.Step, "error", err)
		return nil
	}
	err = k.send(websocket.BinaryMessage, frame)
	if err == nil {
		k.server.jobs.PreviewBytes.Add(int64(len(frame)))
	}
	return err
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
	k.hand(ctx, text)
}

// sayEvent hands an event to the writer, whose bytes other readers share.
func (k *socket) sayEvent(ctx context.Context, id job.ID, w stream.Wired) {
	k.hand(ctx, fmt.Appendf(nil, `{"type":"event","job":%q,"id":%d,"event":`, id, w.Number), w.Data, []byte("}"))
}

func (k *socket) hand(ctx context.Context, parts ...[]byte) {
	select {
	case k.text <- parts:
	case <-ctx.Done():
	}
}
