package api

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// TestSocketFragments: a command in many fragments is one command.
func TestSocketFragments(t *testing.T) {
	h := start(t, script{})
	dialer := websocket.Dialer{WriteBufferSize: 16}
	conn, _, err := dialer.Dial("ws"+strings.TrimPrefix(h.url, "http")+"/v1/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	w := &wire{t, conn}
	w.send(`{"type":"submit","ref":1,%s`, jobBody(`,"id":"pieces"`)[1:])
	if r := w.answer("1"); r.Type != "ok" || r.Job != "pieces" {
		t.Errorf("answered with %+v", r)
	}
}

// TestSocketFrames: frames that are wrong end in an error or the end of that
// connection, and no other's.
func TestSocketFrames(t *testing.T) {
	h := start(t, script{}, func(c *Config) { c.BodyLimitBytes = 1 << 16 })
	bystander := h.dial(nil)
	for _, row := range []struct {
		name string
		data []byte
		code int // with which the server closes; 0: it answers with an error and goes on
	}{
		{"binary", frameBytes(0x82, "{}"), 0},
		{"not UTF-8", frameBytes(0x81, "{\"type\":\"\xff\"}"), 0},
		{"half a surrogate", frameBytes(0x81, `{"type":"\ud800"}`), 0},
		{"nested deeply", frameBytes(0x81, strings.Repeat("[", 20_000)), 0},
		{"empty", frameBytes(0x81, ""), 0},
		{"not masked", []byte{0x81, 2, '{', '}'}, websocket.CloseProtocolError},
		{"reserved bits", frameBytes(0xf1, "{}"), websocket.CloseProtocolError},
		{"unknown kind", frameBytes(0x83, "{}"), websocket.CloseProtocolError},
		{"goes on with nothing", frameBytes(0x80, "{}"), websocket.CloseProtocolError},
		{"ping in parts", frameBytes(0x09, "x"), websocket.CloseProtocolError},
		{"too large", frameBytes(0x81, strings.Repeat("x", 1<<16+1)), websocket.CloseMessageTooBig},
		{"claims to be huge", []byte{0x81, 0x80 | 127, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}, websocket.CloseMessageTooBig},
		{"too large in parts", append(frameBytes(0x01, strings.Repeat("x", 1<<15)), frameBytes(0x80, strings.Repeat("x", 1<<15+1))...), websocket.CloseMessageTooBig},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := h.dial(nil)
			if _, err := w.conn.NetConn().Write(row.data); err != nil {
				t.Fatal(err)
			}
			if row.code == 0 {
				if r, _ := w.next(); r.Type != "error" || r.Status != 400 {
					t.Errorf("answered with %+v", r)
				}
				w.send(`{"type":"ping","ref":1}`)
				w.answer("1")
				return
			}
			w.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
			if _, _, err := w.conn.ReadMessage(); !websocket.IsCloseError(err, row.code) {
				t.Errorf("ended with %v, want code %d", err, row.code)
			}
		})
	}
	half := h.dial(nil) // a frame that is never whole
	half.conn.NetConn().Write(frameBytes(0x81, "0123456789")[:9])
	half.conn.Close()
	bystander.send(`{"type":"ping","ref":1}`)
	bystander.answer("1")
}

// frameBytes is a masked frame; the mask changes nothing.
func frameBytes(first byte, payload string) []byte {
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = append(b, 0x80|126, byte(n>>8), byte(n))
	default:
		b = append(b, 0x80|127, 0, 0, 0, 0, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	return append(append(b, 0, 0, 0, 0), payload...)
}

// TestRefs: a ref is echoed whatever it is, up to a bound.
func TestRefs(t *testing.T) {
	h := start(t, script{})
	w := h.dial(nil)
	for _, ref := range []string{`0`, `-1.50e3`, `"\u00e9 x"`, `[1,{"a":null}]`, `false`} {
		w.send(`{"type":"dance","ref":%s}`, ref)
		if r, _ := w.next(); string(r.Ref) != ref || r.Status != 400 {
			t.Errorf("ref %s came back as %s", ref, r.Ref)
		}
	}
	w.send(`{"type":"ping","ref":"%s"}`, strings.Repeat("x", refLimitBytes))
	if r, _ := w.next(); r.Type != "error" || !strings.Contains(r.Message, "`ref`") {
		t.Errorf("a long ref: %+v", r)
	}
	for message, want := range map[string]string{
		`{"type":"subscribe","after":"x"}`: "field `after`: expected an unsigned integer, got string",
		`{"type":"subscribe","after":-1}`:  "field `after`: expected an unsigned integer, got number -1",
		`{"type":"subscribe","job":7}`:     "field `job`: expected a string, got number",
		`[]`:                               "it must be a JSON object",
	} {
		w.send("%s", message)
		if r, _ := w.next(); r.Message != "Failed to parse the message: "+want {
			t.Errorf("%s: %q", message, r.Message)
		}
	}
}

// TestBodies: bodies that are cut off, and more of them than there is room for.
func TestBodies(t *testing.T) {
	h := start(t, script{})
	address := strings.TrimPrefix(h.url, "http://")
	for name, request := range map[string]string{
		"cut off":      "Content-Length: 100\r\n\r\n" + `{"operation":`,
		"broken chunk": "Transfer-Encoding: chunked\r\n\r\nzz\r\n",
		"cut in chunk": "Transfer-Encoding: chunked\r\n\r\n5\r\n{\"op",
	} {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(conn, "POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"+request)
		conn.(*net.TCPConn).CloseWrite()
		conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		text, _ := io.ReadAll(response.Body)
		if response.StatusCode != 400 || !strings.HasPrefix(string(text), "Failed to buffer the request body") {
			t.Errorf("%s: %d %s", name, response.StatusCode, text)
		}
		conn.Close()
	}
}
