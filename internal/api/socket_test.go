package api

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"image/png"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"waggle/internal/door"
	"waggle/internal/job"
)

// wire is one end of a WebSocket in a test.
type wire struct {
	t    *testing.T
	conn *websocket.Conn
}

func (h *harness) dial(header http.Header, protocols ...string) *wire {
	h.t.Helper()
	dialer := websocket.Dialer{Subprotocols: protocols, HandshakeTimeout: 5 * time.Second}
	conn, _, err := dialer.Dial("ws"+strings.TrimPrefix(h.url, "http")+"/v1/ws", header)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { conn.Close() })
	return &wire{h.t, conn}
}

func (w *wire) send(format string, args ...any) {
	w.t.Helper()
	if err := w.conn.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, format, args...)); err != nil {
		w.t.Fatal(err)
	}
}

// next reads a message: a text decoded, or a binary one as it is.
func (w *wire) next() (reply, []byte) {
	w.t.Helper()
	w.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	kind, data, err := w.conn.ReadMessage()
	if err != nil {
		w.t.Fatal(err)
	}
	if kind == websocket.BinaryMessage {
		return reply{}, data
	}
	return decodeJSON[reply](w.t, string(data)), nil
}

// answer reads messages up to the answer with a ref.
func (w *wire) answer(ref string) reply {
	w.t.Helper()
	for {
		if r, _ := w.next(); string(r.Ref) == ref {
			return r
		}
	}
}

// job collects what comes of one job until its last event.
func (w *wire) job(id job.ID) (events, states []reply, frames [][]byte) {
	w.t.Helper()
	for {
		r, frame := w.next()
		switch {
		case frame != nil:
			frames = append(frames, frame)
		case r.Type == "state":
			states = append(states, r)
		case r.Type == "event" && r.Job == id:
			events = append(events, r)
			if r.Event.Final() {
				return events, states, frames
			}
		}
	}
}

func TestSocketJob(t *testing.T) {
	h := start(t, script{step: 15 * time.Millisecond})
	w := h.dial(nil)
	w.send(`{"type":"submit","ref":"a1",%s`, jobBody(`,"steps":20`)[1:])
	ok := w.answer(`"a1"`)
	if ok.Type != "ok" || ok.Job == "" || ok.SSEURL != job.Accept(ok.Job).SSEURL {
		t.Fatalf("submit answered %+v", ok)
	}
	w.send(`{"type":"subscribe","job":%q,"ref":7}`, ok.Job)
	if r := w.answer("7"); r.Type != "ok" || r.Job != ok.Job {
		t.Errorf("subscribe answered %+v", r)
	}
	events, states, frames := w.job(ok.Job)
	for i, e := range events {
		if e.ID != uint64(i+1) {
			t.Errorf("event %d has number %d", i+1, e.ID)
		}
	}
	if len(events) != 22 || events[21].Event.Image == "" {
		t.Errorf("%d events, want its start, 20 steps and complete with its picture", len(events))
	}
	if last := states[len(states)-1]; last.State != job.Complete || last.Record == nil || len(last.Record.Pictures) != 1 {
		t.Errorf("last state %+v", last)
	}
	if len(frames) < 5 {
		t.Errorf("%d previews of 20 steps", len(frames))
	}
	checkLatentFrame(t, frames[len(frames)-1], ok.Job)

	// A late subscription gets it all again, and only what it asks for.
	w.send(`{"type":"subscribe","job":%q,"after":20,"preview":"none"}`, ok.Job)
	if events, _, frames := w.job(ok.Job); len(events) != 2 || events[0].ID != 21 || frames != nil {
		t.Errorf("after 20: %d events, %d previews", len(events), len(frames))
	}
	w.send(`{"type":"ping","ref":{"x":1}}`)
	if r := w.answer(`{"x":1}`); r.Type != "pong" {
		t.Errorf("ping answered %+v", r)
	}
}

// checkLatentFrame reads a latent as a client would, from the layout alone.
func checkLatentFrame(t *testing.T, b []byte, id job.ID) {
	t.Helper()
	u16 := func(at int) int { return int(binary.LittleEndian.Uint16(b[at:])) }
	if b[0] != 1 || b[1] != 1 || u16(2) < 1 || u16(2) > 20 || u16(4) != 20 || b[6] != 4 || u16(8) != 32 || u16(10) != 32 {
		t.Fatalf("header % x", b[:12])
	}
	n := int(b[7])
	if string(b[12:12+n]) != string(id) {
		t.Errorf("id %q", b[12:12+n])
	}
	payload := (12 + n + 3) &^ 3
	if len(b) != payload+2*4*32*32 {
		t.Fatalf("%d bytes", len(b))
	}
	if got, want := job.Float32(uint16(u16(payload))), float32(u16(2))/20; got < want-0.001 || got > want+0.001 {
		t.Errorf("first value %g, want %g", got, want)
	}
}

func TestSocketPNG(t *testing.T) {
	h := start(t, script{step: 10 * time.Millisecond})
	w := h.dial(nil)
	id := h.submit(jobBody(""))
	w.send(`{"type":"subscribe","job":%q,"preview":"png"}`, id)
	_, _, frames := w.job(job.ID(id))
	if len(frames) == 0 {
		t.Fatal("no preview")
	}
	b := frames[0]
	m, err := png.Decode(bytes.NewReader(b[(12+int(b[7])+3)&^3:]))
	if err != nil || b[1] != 2 || m.Bounds().Dx() != 256 {
		t.Errorf("kind %d, %v", b[1], err)
	}
}

func TestSocketErrors(t *testing.T) {
	h := start(t, script{})
	w := h.dial(nil)
	for _, row := range []struct{ message, want string }{
		{`{`, "Failed to parse the message as JSON"},
		{`{"type":"dance","ref":1}`, "unknown type of message"},
		{`{"type":"subscribe","job":"nobody","ref":1}`, "Job not found"},
		{`{"type":"subscribe","job":"nobody","preview":"gif"}`, "preview must be one of"},
		{`{"type":"cancel","job":"nobody"}`, "Job not found"},
		{`{"type":"submit","operation":"make_coffee"}`, "Failed to parse operation: "},
		{`{"type":"submit",` + jobBody(`,"steps":0`)[1:], "Invalid input: steps"},
	} {
		w.send("%s", row.message)
		if r, _ := w.next(); r.Type != "error" || !strings.HasPrefix(r.Message, row.want) || r.Status < 400 {
			t.Errorf("%s: %+v", row.message, r)
		}
	}
	w.conn.WriteMessage(websocket.BinaryMessage, []byte("x"))
	if r, _ := w.next(); r.Type != "error" {
		t.Errorf("a binary command: %+v", r)
	}
}

func TestSocketCancelAndStates(t *testing.T) {
	h := start(t, script{step: 20 * time.Millisecond})
	w := h.dial(nil)
	w.send(`{"type":"subscribe","job":"*","ref":1}`)
	w.answer("1")
	id := h.submit(jobBody(`,"steps":100`))
	waitFor(t, "running", func() bool { return h.state(id) == job.Running })
	w.send(`{"type":"cancel","job":%q,"ref":2}`, id)
	ok, seen := false, map[job.State]bool{}
	for !ok || !seen[job.Cancelled] {
		r, _ := w.next()
		ok = ok || string(r.Ref) == "2" && r.Type == "ok"
		seen[r.State] = true
	}
	w.send(`{"type":"unsubscribe","job":"*","ref":3}`)
	w.answer("3")
	h.follow(h.submit(jobBody("")))
	w.send(`{"type":"ping"}`)
	for {
		r, _ := w.next()
		if r.Type == "pong" {
			break
		}
		if r.Type == "state" {
			t.Errorf("state after unsubscribing: %+v", r)
		}
	}
}

func TestSocketDoor(t *testing.T) {
	h := start(t, script{}, func(c *Config) { c.Door.Keys = []door.Key{{Secret: "abc"}} })
	address := "ws" + strings.TrimPrefix(h.url, "http") + "/v1/ws"
	armoured := base64.RawURLEncoding.EncodeToString([]byte("abc"))
	for _, row := range []struct {
		name   string
		header http.Header
		want   int
	}{
		{"no token", nil, 401},
		{"other site", http.Header{"Origin": {"https://evil.example"}, "Authorization": {"Bearer abc"}}, 403},
		{"other host", http.Header{"Host": {"evil.example"}, "Authorization": {"Bearer abc"}}, 403},
	} {
		_, response, err := websocket.DefaultDialer.Dial(address, row.header)
		if err == nil || response == nil || response.StatusCode != row.want {
			t.Errorf("%s: %v", row.name, err)
		}
	}
	w := h.dial(http.Header{"Origin": {h.url}}, "waggle.v1", "waggle.token."+armoured)
	if w.conn.Subprotocol() != "waggle.v1" {
		t.Errorf("subprotocol %q", w.conn.Subprotocol())
	}
}

// TestSocketSlowReader: a client that does not read keeps nobody waiting, loses
// previews and no event.
func TestSocketSlowReader(t *testing.T) {
	h := start(t, script{step: time.Millisecond})
	w := h.dial(nil)
	body := `,"steps":150,"width":2048,"height":2048` // latents of 512 KiB each: more than the sockets buffer
	id := h.submit(jobBody(body))
	w.send(`{"type":"subscribe","job":%q}`, id)
	waitFor(t, "the job's end", func() bool { return h.state(id) == job.Complete })
	events, _, frames := w.job(job.ID(id))
	if len(events) != 152 {
		t.Errorf("%d events, want 152", len(events))
	}
	if len(frames) > 100 {
		t.Errorf("%d of 150 previews were kept for a client that did not read", len(frames))
	}
}

func TestSocketShutdown(t *testing.T) {
	h := start(t, script{step: 10 * time.Millisecond})
	w := h.dial(nil)
	id := h.submit(jobBody(`,"steps":150`))
	w.send(`{"type":"subscribe","job":%q}`, id)
	w.next()
	h.stop()
	for {
		w.conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, data, err := w.conn.ReadMessage(); err != nil {
			if !websocket.IsCloseError(err, websocket.CloseGoingAway) {
				t.Errorf("the socket ended with %v", err)
			}
			break
		} else if json.Valid(data) && strings.Contains(string(data), `"error"`) {
			t.Errorf("a message at shutdown: %s", data)
		}
	}
}
