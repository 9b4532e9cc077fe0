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
)

// TestSlowBodies: a body that does not come to its end in time is answered and
// cut off, also where no handler wants it, and however little is missing.
func TestSlowBodies(t *testing.T) {
	h := start(t, script{}, func(c *Config) { c.BodyTime = 200 * time.Millisecond })
	for _, row := range []struct {
		name, request string
		sent          int // of 1000 bytes
		status        int
	}{
		{"a byte is missing", "POST /v1/jobs", 999, 400},
		{"nothing comes", "POST /v1/jobs", 0, 400},
		{"nobody wants it", "DELETE /v1/jobs/none", 10, 404},
		{"of no route", "PUT /v1/jobs", 10, 405},
		{"of a stranger", "POST /v1/jobs/none/pause HTTP/1.1\r\nOrigin: http://evil.example\r\nX:", 10, 403},
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
