//go:build unix

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestChaosBlocks(t *testing.T) {
	c := newChaos(t)
	base := c.TempDir()
	s := c.serveOn(base, "--checkpoint-every", "1ms")
	jobs := c.mixedJobs("block", 8)
	for i := range jobs {
		jobs[i].recipe["priority"] = "normal"
		c.submit(func() *server { return s }, &jobs[i])
	}
	s.replay(jobs[3].stream(), 0, func(e placedEvent) bool { return e.Step == 8 })
	s.kill()
	out, _ := filepath.Glob(base + "/jetstream/*/streams/*/msgs/*")
	for _, o := range out {
		i, _ := os.Stat(o)
		c.Log(o, i.Size())
	}
	streams, _ := filepath.Glob(base + "/jetstream/*/streams/*")
	for _, st := range streams {
		for _, how := range []string{"flip", "cut", "zero"} {
			rel, _ := filepath.Rel(base, st)
			t.Run(filepath.Base(st)+" "+how, func(t *testing.T) {
				c := &chaos{t, c.full, c.rng}
				dir := c.TempDir() + "/d"
				if err := os.CopyFS(dir, os.DirFS(base)); err != nil {
					c.Fatal(err)
				}
				blocks, _ := filepath.Glob(filepath.Join(dir, rel, "msgs", "*.blk"))
				if len(blocks) == 0 {
					c.Skip("no blocks")
				}
				for _, b := range blocks {
					data, _ := os.ReadFile(b)
					switch how {
					case "flip":
						data[len(data)/2] ^= 0x10
					case "cut":
						data = data[:len(data)/2]
					case "zero":
						for i := len(data) / 2; i < min(len(data)/2+512, len(data)); i++ {
							data[i] = 0
						}
					}
					os.WriteFile(b, data, 0o600)
				}
				s := c.serveOn(dir)
				deadline := time.Now().Add(30 * time.Second)
				for len(s.list("running"))+len(s.list("queued")) > 0 && time.Now().Before(deadline) {
					time.Sleep(100 * time.Millisecond)
				}
				var states []string
				for _, r := range s.list("") {
					a := s.ask("GET", "/v1/jobs/"+r.ID+"/image", nil)
					states = append(states, fmt.Sprint(r.ID, " ", r.State, " ", r.Message, " ", a.status))
				}
				c.Log(strings.Join(states, "\n"))
				n := c.mixedJobs("new", 1)
				c.submit(func() *server { return s }, &n[0])
				c.settle(s, time.Minute, n[0])
				c.Logf("log:\n%s", s.log)
			})
		}
	}
}
