package door

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestSlowBodies: a body that does not come to its end in time is answered and
// cut off, also where no handler wants it, and however little is missing.
func TestSlowBodies(t *testing.T) {
	h := open(t, Config{BodyTime: 200 * time.Millisecond})
	for _, row := range []struct {
		name, request string
		sent          int // of 1000 bytes
		status        int
	}{
		{"a byte is missing", "POST /read", 999, 400},
		{"nothing comes", "POST /read", 0, 400},
		{"nobody wants it", "DELETE /who", 10, 200},
		{"of no route", "PUT /read", 10, 405},
		{"of a stranger", "POST /read HTTP/1.1\r\nOrigin: http://evil.example\r\nX:", 10, 403},
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(h.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n%s",
			row.request, strings.Repeat(" ", row.sent))
		from := bufio.NewReader(conn)
		answer, err := http.ReadResponse(from, nil)
		if err != nil {
			t.Errorf("%s: %v", row.name, err)
			continue
		}
		io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
		if _, err := from.ReadByte(); answer.StatusCode != row.status || err == nil || strings.Contains(err.Error(), "timeout") {
			t.Errorf("%s: %s, then %v; want %d and the end of the connection", row.name, answer.Status, err, row.status)
		}
	}
}

// A stranger, or another site's page, has seconds to send what nobody will read, not the minutes of a picture.
func TestStrangersBodies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := New(Config{Keys: []Key{{Secret: "honey"}}})
		client := dial(t, d, d.Guard(http.NewServeMux()))
		began := time.Now()
		io.WriteString(client, "POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n ")
		answer, _ := io.ReadAll(client)
		if took := time.Since(began); took > 2*strangerTimeout || !strings.Contains(string(answer), "401 Unauthorized") {
			t.Errorf("after %v: %q", took, answer)
		}
	})
}

// TestEndlessBody: who sends too much is told so at once, and not when the rest has come.
func TestEndlessBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := New(Config{})
		m := http.NewServeMux()
		m.HandleFunc("POST /v1/jobs", func(w http.ResponseWriter, r *http.Request) {
			_, release, _ := d.ReadJSON(w, r, 1000)
			release()
		})
		client := dial(t, d, d.Guard(m))
		began := time.Now()
		go io.WriteString(client, "POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n"+strings.Repeat(" ", 1001)+"\r\n")
		answer, err := http.ReadResponse(bufio.NewReader(client), nil)
		if took := time.Since(began); err != nil || answer.StatusCode != http.StatusRequestEntityTooLarge || took > time.Second {
			t.Fatalf("after %v: %v, %v", took, answer, err)
		}
		io.ReadAll(answer.Body)
		if io.ReadAll(client); time.Since(began) > 2*strangerTimeout {
			t.Errorf("closed after %v", time.Since(began))
		}
	})
}

// TestReadJSON: what is read, and why not.
func TestReadJSON(t *testing.T) {
	h := open(t, Config{})
	large := strings.Repeat(" ", 100<<10)
	for _, row := range []struct {
		name, kind, body string
		status           int
		text             string
	}{
		{"an object", "application/json", "{}", 200, "2\n"},
		{"with a parameter", "application/json; charset=utf-8", "{}", 200, "2\n"},
		{"of a kind of JSON", "application/problem+json", "{}", 200, "2\n"},
		{"a text", "text/plain", "{}", 415, "Expected request with `Content-Type: application/json`\n"},
		{"of no type", "", "{}", 415, "Expected"},
		{"of half a type", "application/json;", "{}", 200, "2\n"},
		{"too large", "application/json", strings.Repeat(" ", 1<<20+1), 413, "Failed to buffer the request body: more than 1048576 bytes"},
	} {
		if a := h.call("POST", "/read", row.body, "Content-Type: "+row.kind); a.StatusCode != row.status || !strings.HasPrefix(a.text, row.text) {
			t.Errorf("%s: %d %q, want %d %q", row.name, a.StatusCode, a.text, row.status, row.text)
		}
	}
	h.door.bodies.used.Store(budgetBytes)
	if a := h.call("POST", "/read", large, "Content-Type: application/json"); a.StatusCode != 503 || a.Header.Get("Retry-After") == "" {
		t.Errorf("a large body while there is no room: %d %q", a.StatusCode, a.text)
	}
	h.door.bodies.used.Store(0)
	if a := h.call("POST", "/read", large, "Content-Type: application/json"); a.StatusCode != 200 || h.door.bodies.used.Load() != 0 {
		t.Errorf("a large body: %d %q, %d bytes still counted", a.StatusCode, a.text, h.door.bodies.used.Load())
	}
}

// TestBudget: large bodies have room for so many bytes together; small ones need none.
func TestBudget(t *testing.T) {
	var b budget
	const others = budgetBytes - 1<<20 // of bodies that are there already
	b.used.Store(others)
	zeros := func(n int64) io.Reader { return io.LimitReader(zero{}, n) }
	_, full, err := b.read(zeros(1<<20 - 1000 + smallBytes))
	if err != nil {
		t.Fatal(err)
	}
	if _, release, err := b.read(zeros(smallBytes)); err != nil {
		t.Errorf("a small body beside large ones: %v", err)
	} else {
		release()
	}
	_, release, err := b.read(zeros(smallBytes + 1<<20))
	if release(); !errors.As(err, &Problem{}) {
		t.Errorf("one too many: %v", err)
	}
	full()
	if n := b.used.Load(); n != others {
		t.Errorf("%d bytes are counted, not %d", n, others)
	}
	if body, release, err := b.read(zeros(smallBytes + 1<<20)); err != nil || len(body) != smallBytes+1<<20 {
		t.Errorf("afterwards: %d bytes, %v", len(body), err)
	} else {
		release()
	}
}

type zero struct{}

func (zero) Read(p []byte) (int, error) { clear(p); return len(p), nil }
