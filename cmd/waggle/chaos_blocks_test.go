//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestChaosBlocks damages the files in which NATS keeps messages, each stream's in turn, while the server is down, and those in
// which it keeps who has which message. What stood behind the damage is lost, which the log says; the server starts, all
// unfinished jobs end with their pictures, and new ones are taken.
func TestChaosBlocks(t *testing.T) {
	c := newChaos(t)
	dir := c.TempDir()
	s := c.serveOn(dir, "--checkpoint-every", "1ms")
	jobs := c.mixedJobs("block", 8)
	for i := range jobs {
		jobs[i].recipe["priority"] = "normal"
		c.submit(func() *server { return s }, &jobs[i])
	}
	s.replay(jobs[3].stream(), 0, func(e placedEvent) bool { return e.Step == 8 })
	s.kill()
	whole := dir + "-whole"
	if err := os.Rename(dir, whole); err != nil {
		c.Fatal(err)
	}
	wounds := c.wounds(whole)
	c.rng.Shuffle(len(wounds), func(i, j int) { wounds[i], wounds[j] = wounds[j], wounds[i] })
	for _, w := range wounds[:c.either(len(wounds), 1)] {
		if err := os.CopyFS(dir, os.DirFS(whole)); err != nil {
			c.Fatal(err)
		}
		c.wound(dir, w)
		c.heals(dir, w, jobs)
		if err := os.RemoveAll(dir); err != nil {
			c.Fatal(err)
		}
	}
}

// consumerState is not a stream: where NATS keeps which messages are out.
const consumerState = "consumer"

// wound is damage to one file.
type wound struct {
	stream string
	file   string // within the data folder
	how    string
}

// wounds are all that can be done to the files with messages below a data folder.
func (c *chaos) wounds(dir string) (list []wound) {
	streams := filepath.Join(dir, "jetstream", "jetstream", "*", "streams")
	blocks, err := filepath.Glob(filepath.Join(streams, "*", "msgs", "*.blk"))
	consumers, err2 := filepath.Glob(filepath.Join(streams, "waggle-jobs", "obs", "*", "o.dat"))
	if err != nil || err2 != nil || len(blocks) < 5 || len(consumers) == 0 {
		c.Fatalf("NATS' files were looked for and these found: %v, %v", blocks, consumers)
	}
	for _, b := range append(blocks, consumers...) {
		if info, err := os.Stat(b); err != nil || info.Size() == 0 {
			continue
		}
		within, err := filepath.Rel(dir, b)
		if err != nil {
			c.Fatal(err)
		}
		stream := filepath.Base(filepath.Dir(filepath.Dir(b)))
		if filepath.Ext(b) == ".dat" {
			stream = consumerState
		}
		list = append(list, wound{stream, within, "a bit is flipped"}, wound{stream, within, "the second half is cut off"})
	}
	return list
}

func (c *chaos) wound(dir string, w wound) {
	file := filepath.Join(dir, w.file)
	data, err := os.ReadFile(file)
	if err != nil {
		c.Fatal(err)
	}
	c.fault("%s: in the middle of %s, %d bytes, %s", w.stream, filepath.Base(file), len(data), w.how)
	if strings.Contains(w.how, "flipped") {
		data[len(data)/2] ^= 0x10
	} else {
		data = data[:len(data)/2]
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		c.Fatal(err)
	}
}

// heals starts the server on what is left of its data, after three jobs were complete.
func (c *chaos) heals(dir string, w wound, jobs []chaosJob) {
	s := c.serveOn(dir)
	defer s.stop()
	if log := s.log.String(); w.stream != consumerState && (!strings.Contains(log, "what stood behind the damage is lost") || !strings.Contains(log, "stream="+w.stream)) {
		c.Errorf("%s, %s: the log does not say that anything is lost:\n%s", w.stream, w.how, clipped(log))
	}
	want := c.undisturbed(jobs)
	for deadline := time.Now().Add(2 * time.Minute); s.unfinished(jobs) > 0 && time.Now().Before(deadline); {
		time.Sleep(50 * time.Millisecond)
	}
	pictureGone, recordGone := w.stream == "OBJ_waggle-pictures", w.stream == "KV_waggle-records"
	for i, j := range jobs {
		got := s.trace(j)
		if got.missing != "" && i < 3 && recordGone {
			continue
		}
		found := j.compare(got, want[i])
		for _, f := range found {
			events := w.stream == "waggle-events" && f.damage == lost && got.record.State == "complete"
			if !events && !(i < 3 && pictureGone) {
				c.find(f.damage, "%s, %s: job %s: %s", w.stream, w.how, j.id, f.what)
			}
		}
	}
	again := c.mixedJobs("after", 1)
	c.submit(func() *server { return s }, &again[0])
	c.settle(s, time.Minute, again...)
}
