package main

import (
	"cmp"
	"errors"
	"log/slog"

	"waggle/internal/metrics"
	"waggle/internal/queen"
)

// ended counts and logs the end of a job of a queen.
func ended(m *metrics.Queen, log *slog.Logger) func(queen.Job) {
	return func(j queen.Job) {
		begun := cmp.Or(j.Started, j.Finished) // one that nobody began took no time
		took := j.Finished.Sub(begun)
		m.Ended(j.State, j.Operation, took)
		log.Info("job ended", "job", j.ID, "state", j.State, "operation", j.Operation, "model", j.Model, "worker", j.Worker, "seconds", took.Seconds())
	}
}

// counted is who there is and what is under way, by state.
func counted(s queen.Snapshot) metrics.Fleet {
	f := metrics.Fleet{Hives: metrics.Count{}, Workers: metrics.Count{}, Nodes: metrics.Count{}, Jobs: metrics.Count{}}
	for _, h := range s.Hives {
		if h.Online {
			f.Hives["online"]++
		} else {
			f.Hives["lost"]++
		}
	}
	for _, w := range s.Workers {
		f.Workers[w.State()]++
	}
	for _, n := range s.Nodes {
		f.Nodes[string(n.Status)]++
	}
	for _, j := range s.Jobs {
		f.Jobs[string(j.State)]++
	}
	return f
}

// measure shows what a queen knows to those who read her metrics.
func (c *queenCommand) measure(m *metrics.Queen, q *queen.Queen) {
	m.Fleet(func() metrics.Fleet { return counted(q.Own()) })
	if len(c.NATS) == 0 {
		return
	}
	m.Connected(func() error {
		if why := q.Own().Problem; why != "" {
			return errors.New(why)
		}
		return nil
	})
}
