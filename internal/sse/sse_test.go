package sse

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// all reads a stream to its end.
func all(r io.Reader, limit int) (list []string, err error) {
	in := NewReader(r, limit)
	for {
		e, err := in.Next()
		if err != nil {
			return list, err
		}
		list = append(list, show(e))
	}
}

func show(e Event) string { return fmt.Sprintf("%s#%s=%q", e.Name, e.ID, e.Data) }

func TestReader(t *testing.T) {
	for _, row := range []struct {
		name, text string
		want       []string
		err        error
	}{
		{"nothing", "", nil, io.EOF},
		{"as we write it", "event: a\nid: 7\ndata: {}\n\n", []string{`a#7="{}"`}, io.EOF},
		{"without spaces, CRLF", "event:a\r\nid:7\r\ndata:{}\r\n\r\n", []string{`a#7="{}"`}, io.EOF},
		{"a space of its own", "data:  x \n\n", []string{`#=" x "`}, io.EOF},
		{"several lines of data", "data: 1\ndata\ndata:3\n\n", []string{`#="1\n\n3"`}, io.EOF},
		{"empty data", "data\n\ndata:\n\n", []string{`#=""`, `#=""`}, io.EOF},
		{"comments", ":\n\n: hello\ndata: 1\n:\n\n:\n", []string{`#="1"`}, io.EOF},
		{"an event without data", "event: lost\nid: 1\n\ndata: 2\n\n", []string{`#="2"`}, io.EOF},
		{"fields nobody knows", "nonsense\nretry: 7\nData: 1\ndata: 4\n\n", []string{`#="4"`}, io.EOF},
		{"an id with a zero byte", "id: a\x00b\ndata: 1\n\n", []string{`#="1"`}, io.EOF},
		{"the last name and id", "event: a\nid: 1\nevent: b\nid: 2\ndata: 1\n\n", []string{`b#2="1"`}, io.EOF},
		{"half an event", "data: 1\n\ndata: half\n", []string{`#="1"`}, io.ErrUnexpectedEOF},
		{"half a line", "data: 1\n\nda", []string{`#="1"`}, io.ErrUnexpectedEOF},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := all(strings.NewReader(row.text), 100)
			if !slices.Equal(got, row.want) || !errors.Is(err, row.err) {
				t.Errorf("read %q, %v; want %q, %v", got, err, row.want, row.err)
			}
		})
	}
}

func TestReaderIsBounded(t *testing.T) {
	for _, row := range []struct {
		name, text string
		fits       bool
	}{
		{"a line that just fits", "data: " + strings.Repeat("x", 94) + "\n\n", true},
		{"a line too long", "data: " + strings.Repeat("x", 95) + "\n\n", false},
		{"a line without an end", strings.Repeat("x", 101), false},
		{"a comment too long", ":" + strings.Repeat("x", 100) + "\n\n", false},
		{"too many lines", strings.Repeat("data: x\n", 15) + "\n", false},
		{"too many lines nobody knows", strings.Repeat("nonsense\n", 15) + "data: x\n\n", false},
		{"many comments", strings.Repeat(":\n", 200) + "data: x\n" + strings.Repeat(":\n", 200) + "\n", true},
		{"many events", strings.Repeat("data: x\n\n", 200), true},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := all(strings.NewReader(row.text), 100)
			if errors.Is(err, io.EOF) != row.fits {
				t.Errorf("with a limit of 100 bytes: %v", err)
			}
			if !row.fits && err.Error() != "an event has more than 100 bytes" {
				t.Errorf("the error says %q", err)
			}
		})
	}
}

func TestReaderPassesErrorsOn(t *testing.T) {
	broken := errors.New("the cable is cut")
	_, err := all(io.MultiReader(strings.NewReader("data: 1\n"), iotest.ErrReader(broken)), 100)
	if !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}

// What a reader is given does not change when more is read.
func TestEventsKeepTheirData(t *testing.T) {
	r := NewReader(strings.NewReader("data: first\n\ndata: other\n\n"), 100)
	first, _ := r.Next()
	if _, err := r.Next(); err != nil || string(first.Data) != "first" {
		t.Errorf("after the second event the first is %q, %v", first.Data, err)
	}
}

func TestWriter(t *testing.T) {
	w := httptest.NewRecorder()
	out := NewWriter(w)
	if !w.Flushed {
		t.Error("the headers wait for the first event")
	}
	for _, e := range []Event{{Name: "progress", ID: "7", Data: []byte(`{"step":1}`)}, {Data: []byte("two\nlines")}, {}} {
		if err := out.Event(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Comment(); err != nil {
		t.Fatal(err)
	}
	want := "event: progress\nid: 7\ndata: {\"step\":1}\n\ndata: two\ndata: lines\n\ndata: \n\n:\n\n"
	if got := w.Body.String(); got != want {
		t.Errorf("wrote %q, want %q", got, want)
	}
	for name, want := range map[string]string{"Content-Type": "text/event-stream", "Cache-Control": "no-cache", "X-Accel-Buffering": "no"} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// narrow takes one chunk and then fails.
type narrow struct {
	http.ResponseWriter
	largest int
	left    int
}

func (n *narrow) Write(p []byte) (int, error) {
	n.largest = max(n.largest, len(p))
	if n.left -= len(p); n.left < 0 {
		return 0, io.ErrClosedPipe
	}
	return len(p), nil
}

func (n *narrow) Unwrap() http.ResponseWriter { return n.ResponseWriter }

// A large event goes out in pieces, each with its own time, and no more are tried once one was not taken.
func TestWriterStopsWithItsReader(t *testing.T) {
	w := &narrow{ResponseWriter: httptest.NewRecorder(), left: 3 * chunkBytes}
	err := NewWriter(w).Event(Event{Data: make([]byte, 10*chunkBytes)})
	if !errors.Is(err, io.ErrClosedPipe) || w.largest > chunkBytes || w.left < -chunkBytes {
		t.Errorf("%v after pieces of up to %d bytes, %d left", err, w.largest, w.left)
	}
}

// No bytes make the reader panic, give more than it may, or depend on how they arrive.
func FuzzReader(f *testing.F) {
	f.Add([]byte("event: progress\nid: 4\ndata: {\"step\":1}\n\n:\n\ndata: [DONE]\n\n"), 64)
	f.Add([]byte("data\ndata:\r\n\r\ndata: half"), 9)
	f.Fuzz(func(t *testing.T, b []byte, limit int) {
		limit = max(0, limit%1000)
		whole, err := all(bytes.NewReader(b), limit)
		for _, e := range whole {
			if len(e) > 8*limit+100 { // quoted
				t.Errorf("an event of %d bytes with a limit of %d", len(e), limit)
			}
		}
		bits, bitsErr := all(iotest.OneByteReader(bytes.NewReader(b)), limit)
		if !slices.Equal(whole, bits) || err.Error() != bitsErr.Error() {
			t.Errorf("at once %q, %v; byte by byte %q, %v", whole, err, bits, bitsErr)
		}
	})
}

// What is written can be read again, and no text breaks out of its field.
func FuzzRoundTrip(f *testing.F) {
	f.Add("progress", "7", "{}")
	f.Add("", "", "a\nb\r\nevent: complete\r\rdata: [DONE]\n\n")
	f.Add("a\nb", "1\n\ndata: 2", "")
	f.Fuzz(func(t *testing.T, name, id, data string) {
		w := httptest.NewRecorder()
		if err := NewWriter(w).Event(Event{name, id, []byte(data)}); err != nil {
			t.Fatal(err)
		}
		want := Event{oneLine(name), oneLine(id), []byte(strings.ReplaceAll(data, "\r", ""))}
		if strings.Contains(id, "\x00") {
			want.ID = ""
		}
		if got, err := all(w.Body, 1<<20); !errors.Is(err, io.EOF) || !slices.Equal(got, []string{show(want)}) {
			t.Fatalf("wrote %s, read %q, %v", show(want), got, err)
		}
	})
}
