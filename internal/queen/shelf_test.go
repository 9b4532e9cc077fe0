package queen

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"waggle/internal/job"
)

func smallShelf(l limits) *shelf {
	t := timing{}
	l.fillIn()
	t.fillIn()
	return newShelf(l, t)
}

func mustAdd(t *testing.T, s *shelf, body string) *task {
	t.Helper()
	id, err := s.add(submission{body: []byte(body)})
	if err != nil {
		t.Fatal(err)
	}
	return s.find(id)
}

func TestShelfIsBounded(t *testing.T) {
	s := smallShelf(limits{jobs: 2, keptBytes: 1000})
	a, b := mustAdd(t, s, "a"), mustAdd(t, s, "b")
	if _, err := s.add(submission{body: []byte("c")}); !errors.Is(err, errFull) {
		t.Errorf("a third job: %v", err)
	}
	s.end(b, job.Complete, "")
	c := mustAdd(t, s, "c") // in place of one that is over
	if s.find(b.ID) != nil || s.find(a.ID) == nil {
		t.Error("the wrong job made room")
	}
	s.end(c, job.Complete, "")
	if _, err := s.add(submission{body: make([]byte, 1001)}); !errors.Is(err, errFull) {
		t.Errorf("a job larger than the shelf: %v", err)
	}
	s.end(a, job.Failed, "no\nbees")
	if s.sweep(time.Now().Add(25 * time.Hour)); len(s.tasks) != 0 || len(s.order) != 0 || s.size != 0 {
		t.Errorf("after a day: %d jobs of %d bytes", len(s.tasks), s.size)
	}
}

// Jobs whose stream nobody opens expire soon; those that run do not.
func TestShelfExpiry(t *testing.T) {
	s := smallShelf(limits{})
	waiting, running := mustAdd(t, s, "a"), mustAdd(t, s, "b")
	if first := s.begin(running, func(error) {}); !first || s.begin(running, func(error) {}) {
		t.Error("a job begins once")
	}
	if s.sweep(time.Now().Add(48 * time.Hour)); s.find(waiting.ID) != nil || s.find(running.ID) == nil {
		t.Error("the wrong job has expired")
	}
}

// The first end counts, and nothing is said after it.
func TestShelfEnd(t *testing.T) {
	s := smallShelf(limits{})
	a := mustAdd(t, s, "a")
	var why error
	s.begin(a, func(err error) { why = err })
	if !s.abandon(a.ID) || s.abandon(a.ID) || s.abandon("nobody") {
		t.Error("a job can be cancelled once")
	}
	s.say(a, entry{name: "progress", data: []byte("{}")})
	s.end(a, job.Complete, "")
	said := s.read(a, 0)
	if len(said.entries) != 1 || said.marker != "[CANCELLED]" || !errors.Is(why, errCancelled) || a.State != job.Cancelled {
		t.Errorf("%d entries, %s, run ended by %v", len(said.entries), said.marker, why)
	}
	b := mustAdd(t, s, "b")
	s.end(b, job.Failed, "no bees")
	said = s.read(b, 0)
	if said.marker != "[ERROR] no bees" || !strings.Contains(string(said.entries[0].data), "Job "+string(b.ID)+" failed: no bees") {
		t.Errorf("%s, %s", said.entries[0].data, said.marker)
	}
}

// Of many previews the newest keep their pictures, and every step its event.
func TestShelfSlimsPreviews(t *testing.T) {
	s := smallShelf(limits{previews: 1000})
	a := mustAdd(t, s, "a")
	for step := range 10 {
		s.say(a, entry{name: "preview", data: fmt.Appendf(nil, `{"type":"preview","step":%d,"image":%q,"format":"png"}`, step+1, strings.Repeat("x", 300))})
	}
	s.end(a, job.Complete, "")
	list := s.read(a, 0).entries
	var kinds string
	for i, e := range list {
		kinds += e.name[:4] + " "
		if e.name == "progress" && string(e.data) != fmt.Sprintf(`{"step":%d,"type":"progress"}`, i+1) {
			t.Errorf("step %d: %s", i+1, e.data)
		}
	}
	if want := strings.Repeat("prog ", 8) + strings.Repeat("prev ", 2); kinds != want {
		t.Errorf("%s, want %s", kinds, want)
	}
	if a.fat > 1000 {
		t.Errorf("%d bytes of previews", a.fat)
	}
	sum := int64(0)
	for _, e := range list {
		sum += e.size()
	}
	if s.size != sum {
		t.Errorf("the shelf counts %d bytes, has %d", s.size, sum)
	}
}

// What running jobs are told of is bounded in all: previews go first, then ended jobs, and then there is no room.
func TestShelfIsBoundedWhileJobsRun(t *testing.T) {
	s := smallShelf(limits{keptBytes: 4000})
	old, a, b := mustAdd(t, s, "old"), mustAdd(t, s, "a"), mustAdd(t, s, "b")
	s.end(old, job.Complete, "")
	preview := entry{name: "preview", data: fmt.Appendf(nil, `{"type":"preview","image":%q}`, strings.Repeat("x", 700))}
	for range 5 {
		if err := s.say(a, preview); err != nil {
			t.Fatal(err)
		}
	}
	if s.size > 2500 || s.find(old.ID) == nil {
		t.Errorf("with previews of one job: %d bytes", s.size)
	}
	word := entry{data: make([]byte, 1000)}
	for s.say(b, word) == nil {
		if s.size > 4000 {
			t.Fatalf("%d bytes are kept", s.size)
		}
	}
	if s.find(old.ID) != nil || s.say(b, word) != errFull {
		t.Error("an ended job did not make room, or there is room without end")
	}
}

// The newest preview keeps its picture, however large it is.
func TestShelfKeepsTheNewestPreview(t *testing.T) {
	s := smallShelf(limits{previews: 10})
	a := mustAdd(t, s, "a")
	s.say(a, entry{name: "preview", data: []byte(`{"type":"preview","image":"xxxxxxxx"}`)})
	s.say(a, entry{name: "preview", data: []byte(`{"type":"preview","image":"yyyyyyyy"}`)})
	if list := s.read(a, 0).entries; list[0].name != "progress" || list[1].name != "preview" {
		t.Errorf("kept as %s and %s", list[0].name, list[1].name)
	}
}

// A reader that waits hears of everything.
func TestShelfWakes(t *testing.T) {
	s := smallShelf(limits{})
	a := mustAdd(t, s, "a")
	heard := make(chan int)
	go func() {
		n := 0
		for {
			said := s.read(a, n)
			n += len(said.entries)
			if said.marker != "" {
				heard <- n
				return
			}
			<-said.more
		}
	}()
	for range 100 {
		s.say(a, entry{data: []byte("x")})
	}
	s.end(a, job.Complete, "")
	select {
	case n := <-heard:
		if n != 100 {
			t.Errorf("heard %d of 100", n)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the reader sleeps")
	}
}

func TestHubDropsTheOldest(t *testing.T) {
	h := newHub()
	slow, stop := h.watch()
	for i := range watcherBuffer + 5 {
		h.send(entry{data: fmt.Append(nil, i)})
	}
	stop()
	h.send(entry{data: []byte("late")})
	if got := <-slow; string(got.data) != "5" || len(slow) != watcherBuffer-1 {
		t.Errorf("the oldest kept is %s, with %d after it", got.data, len(slow))
	}
}
