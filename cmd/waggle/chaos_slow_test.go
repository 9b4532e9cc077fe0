//go:build unix

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// bodyTime is how long the server lets a body take.
const bodyTime = 5 * time.Minute

// TestChaosSlowBodies: clients that send bodies of 64 MiB drop by drop, that stop in the middle, that lie about the length
// or never come to an end. Others are served meanwhile, memory stays bounded, and whoever takes too long is cut off.
func TestChaosSlowBodies(t *testing.T) {
	c := newChaos(t)
	s := c.serveOn(c.TempDir())
	s.ready()
	idle := s.resident()
	stop := make(chan bool)
	var clients sync.WaitGroup
	ends := make([]slowEnd, c.either(20, len(slowKinds)))
	for i := range ends {
		kind := slowKinds[i%len(slowKinds)]
		c.fault("a client that %s", kind.what)
		clients.Go(func() { ends[i] = s.slow(kind, stop) })
	}
	most := make(chan int, 1)
	go func() { most <- s.mostResident(stop) }()
	began := time.Now()
	jobs := c.mixedJobs("beside", c.either(20, 4))
	for i := range jobs {
		c.submit(func() *server { return s }, &jobs[i])
	}
	c.settle(s, 2*time.Minute, jobs...)
	if c.full {
		time.Sleep(time.Until(began.Add(bodyTime + 20*time.Second)))
	}
	close(stop)
	clients.Wait()
	peak := <-most
	c.Logf("resident: %d MiB idle, %d MiB at most with %d such clients", idle>>10, peak>>10, len(ends))
	if limit := idle + slowRoom<<10; peak > limit && !raceDetector {
		c.Errorf("%d MiB resident, want under %d", peak>>10, limit>>10)
	}
	for i, e := range ends {
		kind := slowKinds[i%len(slowKinds)]
		c.Logf("a client that %s: %v after %v", kind.what, e.err, e.after.Round(time.Second))
		if !e.asWanted(kind, c.full) {
			c.Errorf("a client that %s: status %d, %v after %v, want status %d", kind.what, e.status, e.err, e.after, kind.status)
		}
	}
}

// slowRoom is what all of them together may take, in MiB.
const slowRoom = 1024

// slowKind is a client with a body that is slow or wrong.
type slowKind struct {
	what   string
	header string
	first  int           // bytes at once
	rest   int           // bytes every pause, for ever
	pause  time.Duration // 0: nothing after the first
	hangUp bool          // close the connection after the first
	status int           // that it is answered; 0 for none
	late   bool          // only when the body's time is up
}

const slowLength = 64 << 20

var slowKinds = []slowKind{
	{what: "sends drop by drop", header: fmt.Sprint("Content-Length: ", slowLength), first: 1 << 10, rest: 1 << 10, pause: 200 * time.Millisecond, status: 400, late: true},
	{what: "stops before the end", header: fmt.Sprint("Content-Length: ", slowLength), first: slowLength - 1, status: 400, late: true},
	{what: "goes away in the middle", header: fmt.Sprint("Content-Length: ", slowLength), first: 1 << 20, hangUp: true},
	{what: "says a length and sends nothing", header: fmt.Sprint("Content-Length: ", slowLength), status: 400, late: true},
	{what: "says that it sends 16 GiB", header: "Content-Length: 17179869184", first: slowLength + 1, status: 413},
	{what: "never comes to an end", header: "Transfer-Encoding: chunked", first: slowLength + 1, status: 413},
	{what: "sends more than it said", header: "Content-Length: 100", first: 1 << 20, status: 400},
}

// slowEnd is how the server parted from such a client.
type slowEnd struct {
	status int
	err    error
	after  time.Duration
}

func (e slowEnd) asWanted(k slowKind, whole bool) bool {
	switch {
	case k.late && !whole: // it was not waited for
		return e.status == 0
	case k.late && e.status != http.StatusServiceUnavailable && (e.after < bodyTime-time.Second || e.after > bodyTime+15*time.Second):
		return false
	}
	return e.status == k.status || e.status == http.StatusServiceUnavailable && k.first >= slowLength-1 // too many at once
}

// slow is such a client, until it is answered or told to stop.
func (s *server) slow(k slowKind, stop <-chan bool) (end slowEnd) {
	began := time.Now()
	defer func() { end.after = time.Since(began) }()
	where, err := url.Parse(s.url)
	if err != nil {
		return slowEnd{err: err}
	}
	conn, err := net.Dial("tcp", where.Host)
	if err != nil {
		return slowEnd{err: err}
	}
	defer conn.Close()
	done := make(chan bool)
	defer close(done)
	go func() {
		select {
		case <-stop:
			conn.Close()
		case <-done:
		}
	}()
	fmt.Fprintf(conn, "POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n%s\r\n\r\n", k.header)
	answered := make(chan slowEnd, 1)
	if k.hangUp {
		_, err := conn.Write(slowPart(k, k.first))
		return slowEnd{err: err}
	}
	go func() { answered <- readAnswer(conn) }()
	for n := k.first; ; n = k.rest {
		if _, err := conn.Write(slowPart(k, n)); err != nil || k.pause == 0 {
			return <-answered
		}
		select {
		case e := <-answered:
			return e
		case <-time.After(k.pause):
		}
	}
}

// slowPart is a part of a body: the inside of a JSON string.
func slowPart(k slowKind, n int) []byte {
	part := bytes.Repeat([]byte{'a'}, n)
	if n > 0 && n == k.first {
		part[0] = '"'
	}
	if strings.Contains(k.header, "chunked") {
		return append(append([]byte(fmt.Sprintf("%x\r\n", n)), part...), "\r\n"...)
	}
	return part
}

func readAnswer(conn net.Conn) slowEnd {
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return slowEnd{err: err}
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(response.Body)
	return slowEnd{status: response.StatusCode, err: errors.New(strings.TrimSpace(string(text)))}
}

// resident is the server's resident memory in KiB, 0 where that cannot be told.
func (s *server) resident() (kib int) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if n, _ := fmt.Sscanf(line, "VmRSS: %d kB", &kib); n == 1 {
			return kib
		}
	}
	return 0
}

// mostResident looks at it until stop.
func (s *server) mostResident(stop <-chan bool) (most int) {
	for {
		most = max(most, s.resident())
		select {
		case <-stop:
			return most
		case <-time.After(20 * time.Millisecond):
		}
	}
}
