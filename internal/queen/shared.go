package queen

import (
	"context"
	"fmt"
	"net/http"
	"strconv"

	"waggle/internal/job"
	"waggle/internal/queue"
	"waggle/internal/sse"
	"waggle/internal/stream"
)

// sharedJob is a job of the cluster as the queen tells of it: as servers do,
// with what she tells of her own.
type sharedJob struct {
	job.Report
	Operation job.Operation `json:"operation"`
	Model     string        `json:"model"`
}

func (c *Cluster) report(ctx context.Context, r job.Record) sharedJob {
	shown := sharedJob{job.NewReport(r), r.Request.Operation, r.Request.Model}
	if c.Reachable() == nil {
		shown.Report = c.Jobs.Report(ctx, r)
	}
	return shown
}

// brief is what the queen's page shows of a job of the cluster.
func (j sharedJob) brief() Job {
	return Job{
		ID: j.ID, Operation: string(j.Operation), Model: plain(j.Model, nameLimit), State: j.State, Shared: true, Worker: j.Node, Step: j.Step, Total: j.Total,
		Message: plain(j.Message, 2000), Created: j.Created, Started: j.Started, Finished: j.Finished,
	}
}

// sharedRecords are jobs of the cluster, if there is one, the newest first.
func (q *Queen) sharedRecords(ctx context.Context, f queue.Filter) (*Cluster, []job.Record) {
	c, _ := q.shared()
	if c == nil {
		return nil, nil
	}
	records, err := c.Jobs.Queue.List(ctx, f)
	if err != nil {
		q.Log.Warn("list the cluster's jobs", "error", err)
	}
	return c, records
}

// sharedNodes are the nodes of the cluster, if there is one; none while it
// cannot be asked.
func (q *Queen) sharedNodes(ctx context.Context) []job.NodeReport {
	c, err := q.shared()
	if c == nil || err != nil {
		return nil
	}
	nodes, err := c.Jobs.Nodes(ctx)
	if err != nil {
		q.Log.Warn("list the cluster's nodes", "error", err)
	}
	return nodes
}

// streamShared streams a job of the cluster behind an event of it.
func (q *Queen) streamShared(w http.ResponseWriter, r *http.Request, c *Cluster, record job.Record) {
	after, _ := strconv.ParseUint(r.Header.Get("Last-Event-ID"), 10, 64) // 0, all, if it is no number
	ctx, cancel := q.until(r.Context())
	defer cancel()
	reader, err := c.Jobs.Open(ctx, record, after)
	if err != nil {
		q.fail(w, err)
		return
	}
	defer reader.Close()
	out := sse.NewWriter(w)
	if r.Method == http.MethodHead {
		return
	}
	s := sharedStream{q, c, record, out}
	if after == 0 {
		s.begin(ctx)
	}
	s.follow(ctx, reader, r)
}

// goOn continues the stream of a job that has been passed on to the cluster.
func (q *Queen) goOn(out *sse.Writer, r *http.Request, id job.ID) {
	ctx, cancel := q.until(r.Context())
	defer cancel()
	c, record, err := q.find(ctx, id)
	if err != nil {
		q.Log.Warn("go on with a stream", "job", id, "error", err)
		return // without a marker: the reader comes again
	}
	reader, err := c.Jobs.Open(ctx, record, 0)
	if err != nil {
		q.Log.Warn("go on with a stream", "job", id, "error", err)
		return
	}
	defer reader.Close()
	s := sharedStream{q, c, record, out}
	s.line(ctx)
	s.follow(ctx, reader, r)
}

// until returns a context that ends with parent or with the queen.
func (q *Queen) until(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(parent)
	stop := context.AfterFunc(q.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}

// sharedStream is one reader's stream of a job of the cluster.
type sharedStream struct {
	queen   *Queen
	cluster *Cluster
	record  job.Record
	out     *sse.Writer
}

// say narrates. A reader that has gone is noticed at the next event.
func (s sharedStream) say(actor, action, format string, args ...any) {
	e := narrate(string(s.record.ID), actor, action, fmt.Sprintf(format, args...))
	_ = s.out.Event(e.event(0))
}

// begin says what the queen has to say before the first event. It is much the
// same at every queen, at any time.
func (s sharedStream) begin(ctx context.Context) {
	s.say(actorJobs, "execute", "Executing job %s", s.record.ID)
	s.say(actorQueen, "route_job", "Executing operation: %s", s.record.Request.Operation)
	s.say(actorQueen, "image_schedule", "Looking for a worker with model '%s'", plain(s.record.Request.Model, nameLimit))
	s.line(ctx)
}

// line says that the job is in line, and who may take it.
func (s sharedStream) line(ctx context.Context) {
	nodes, _ := s.cluster.able(ctx, s.record.Request.Model) // none, then
	s.say(actorQueen, "image_worker_sel", "The queue of the cluster, where %d nodes have the model", len(nodes))
	s.say(actorQueen, "image_streaming", "Relaying the job's events")
}

// follow writes the job's events, the queen's last words and the end marker.
func (s sharedStream) follow(ctx context.Context, reader stream.Reader, r *http.Request) {
	last, err := s.cluster.Jobs.Relay(ctx, s.out, reader, s.record)
	if err == nil {
		err = s.end(ctx, last)
	}
	if err == nil || s.queen.ctx.Err() != nil || r.URL.Query().Get("cancel_on_disconnect") != "1" {
		return
	}
	if err := s.cluster.Jobs.Cancel(context.WithoutCancel(ctx), s.record.ID); err != nil {
		s.queen.Log.Debug("cancel after disconnect", "job", s.record.ID, "error", err)
	}
}

func (s sharedStream) end(ctx context.Context, last job.Event) error {
	switch {
	case last.Type == job.CompleteEvent:
		node := s.record.Node
		if now, err := s.cluster.Jobs.Queue.Get(ctx, s.record.ID); err == nil {
			node = now.Node
		}
		s.say(actorQueen, "image_complete", "Node %s is done", plain(node, nameLimit))
	case last.Kind == job.CancelledByUser:
		s.say(actorJobs, "cancelled", "Job %s was cancelled", s.record.ID)
	default:
		s.say(actorJobs, "failed", "Job %s failed: %s", s.record.ID, plain(last.Message, 2000))
	}
	return s.out.Event(sse.Event{Data: []byte(job.EndMarker(last))})
}
