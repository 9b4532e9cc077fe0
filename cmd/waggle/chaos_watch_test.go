//go:build unix

package main

import (
	"encoding/json"
	"net/http"
	"time"
)

// list returns the records in a state, of all if it is empty.
func (s *server) list(state string) []chaosRecord {
	var all struct{ Jobs []chaosRecord }
	a, err := s.reach(http.MethodGet, "/v1/jobs?limit=500&state="+state, nil)
	if err != nil || json.Unmarshal(a.body, &all) != nil {
		s.Errorf("list the jobs: %d %s, %v", a.status, a.body, err)
	}
	return all.Jobs
}

// watch are clients that follow one job each through all lives of a server.
type watch struct {
	*chaos
	where func() *server
	stop  chan bool
	heard [][]placedEvent // by job
}

// follow hears all of a job, connecting again behind what it has heard, until the job's end or stop.
func (w *watch) follow(i int, j chaosJob) {
	for {
		ended := false
		_ = w.where().hear(j.stream(), len(w.heard[i]), func(e placedEvent) bool {
			w.heard[i] = append(w.heard[i], e)
			ended = e.Type == "complete" || e.Type == "error"
			return !ended
		})
		select {
		case <-w.stop:
			return
		case <-time.After(30 * time.Millisecond):
		}
		if ended {
			return
		}
	}
}

// compare holds what was heard against what the server says in the end. A preview becomes plain progress when there is a
// newer one.
func (w *watch) compare(s *server, jobs []chaosJob) {
	for i, j := range jobs {
		told := s.trace(j).events
		if len(told) != len(w.heard[i]) {
			w.find(lost, "a watcher of job %s heard %d events of %d", j.id, len(w.heard[i]), len(told))
			continue
		}
		for n, e := range w.heard[i] {
			if e.id != told[n].id || e.Step != told[n].Step || e.Type != told[n].Type && e.Type != "preview" {
				w.find(lost, "a watcher of job %s heard event %d as %s of step %d; now it is %d, %s of step %d",
					j.id, e.id, e.Type, e.Step, told[n].id, told[n].Type, told[n].Step)
				break
			}
		}
	}
}
