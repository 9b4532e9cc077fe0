package queen

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"waggle/internal/job"
)

// Who speaks in narrations.
const (
	actorJobs  = "job_server"
	actorQueen = "queen"
)

// start runs a job if nobody has yet.
func (q *Queen) start(t *task) {
	ctx, cancel := context.WithCancelCause(q.ctx)
	if !q.shelf.begin(t, cancel) {
		cancel(nil)
		return
	}
	if !q.spawn(func() {
		defer cancel(nil)
		q.run(ctx, t)
	}) {
		cancel(nil)
	}
}

// run does a job from its first word to its last. When the queen closes, the
// job stays as it is.
func (q *Queen) run(ctx context.Context, t *task) {
	q.tell(t, actorJobs, "execute", "Executing job %s", t.ID)
	err := q.do(ctx, t)
	switch {
	case ctx.Err() != nil || errors.Is(err, errPassed):
	case err == nil:
		q.shelf.end(t, job.Complete, "")
	case job.KindOf(err) == job.CancelledByUser:
		q.shelf.end(t, job.Cancelled, "")
	default:
		failure := plain(err.Error(), 2000)
		q.Log.Info("job failed", "job", t.ID, "error", failure)
		q.shelf.end(t, job.Failed, failure)
	}
}

// tell narrates.
func (q *Queen) tell(t *task, actor, action, format string, args ...any) {
	q.shelf.say(t, narrate(string(t.ID), actor, action, fmt.Sprintf(format, args...)))
}

// do reads the operation and does what it asks.
func (q *Queen) do(ctx context.Context, t *task) error {
	op, err := parseOperation(q.shelf.bodyOf(t))
	if err != nil {
		return err
	}
	q.shelf.change(t, func(j *Job) { j.Operation, j.Model = op.name, plain(op.model, nameLimit) })
	q.tell(t, actorQueen, "route_job", "Executing operation: %s", op.name)
	switch op.name {
	case "image_generation", "image_transform", "image_inpaint":
		return q.send(ctx, t, op, "image")
	case "infer":
		return q.send(ctx, t, op, "infer")
	case "status":
		q.status(ctx, t)
		return nil
	case "queen_check":
		return q.check(ctx, t)
	}
	return job.Errorf(job.InvalidInput, "Unhandled operation: '%s'", op.name)
}

const (
	checks     = 25
	checkPause = 60 * time.Millisecond
)

// check tries out a client: narrations of all kinds of text, at a pace.
func (q *Queen) check(ctx context.Context, t *task) error {
	texts := []string{
		"plain words", "quotes \" and \\ backslashes", "letters: äöü ßéñ", "other scripts: 蜂 пчела नमस्ते", "signs: 🐝 👑 ✅",
		"JSON in it: {\"a\":[1,2]}", "markup in it: <b>&amp;</b>", "two\nlines", "tab\tstops", "a longer one, " + longText,
	}
	for i := range checks {
		q.tell(t, "queen_check", fmt.Sprintf("check_%02d", i+1), "Check %d of %d: %s", i+1, checks, texts[i%len(texts)])
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(checkPause):
		}
	}
	return nil
}

const longText = "as long as a paragraph may be, so that a client which cuts its lines or counts its bytes by characters shows it: " +
	"the bees dance in figures of eight, and the angle of the dance to the sun is the way to the flowers."

// noWorker says why nobody does an operation.
func (q *Queen) noWorker(ctx context.Context, op operation) error {
	c, err := q.shared()
	if c != nil && op.workerID != "" {
		nodes, _ := c.Jobs.Queue.Nodes(ctx)
		if slices.ContainsFunc(nodes, func(n job.Node) bool { return n.ID == op.workerID }) {
			return job.Errorf(job.InvalidInput, "Scheduling failed: '%s' is a node of the cluster, whose nodes take jobs from one queue; leave worker_id out", plain(op.workerID, nameLimit))
		}
	}
	text := fmt.Sprintf("Scheduling failed: No available worker found for model '%s'. "+
		"Make sure a worker is running and has sent heartbeats to queen.", plain(op.model, nameLimit))
	if err != nil && op.image() {
		text += " " + plain(err.Error(), 500) + "."
	}
	return job.Errorf(job.ModelNotFound, "%s", text)
}
