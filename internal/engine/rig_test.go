package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image/color"
	"image/png"
	"log/slog"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"waggle/internal/events"
	"waggle/internal/job"
	"waggle/internal/queue"
)

// rig is a node with everything it needs, in fake time.
type rig struct {
	*script
	t       *testing.T
	queue   *queue.Memory
	events  events.Log
	store   *pictures
	kept    *drawer
	node    *Node
	engines int
	stop    func() error // ends the node and returns what Run returned
}

// rigged calls test with a running node of one engine.
func rigged(t *testing.T, test func(*testing.T, *rig), change ...func(*rig, *Config)) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.events.Close()
		defer r.queue.Close()
		log := slog.New(slog.NewTextHandler(t.Output(), nil))
		r.node = NewNode(r.queue, job.Node{ID: "n", ModelID: "scripted"}, "scripted", log)
		c := Config{Queue: r.queue, Events: r.events, Store: r.store, Checkpoints: r.kept, Node: r.node, Version: "1.2", Log: log}
		for _, f := range change {
			f(r, &c)
		}
		r.start(c)
		defer r.stop()
		test(t, r)
	})
}

func newRig(t *testing.T) *rig {
	return &rig{t: t, queue: queue.NewMemory(queue.Options{}), events: events.NewMemory(0), engines: 1,
		store: &pictures{files: map[string][]byte{}}, kept: &drawer{kept: map[string][]byte{}},
		script: &script{trouble: map[string][]func() error{}, loadErr: map[string]error{}, openErr: map[string][]error{}}}
}

func (r *rig) start(c Config) {
	var engines []*Engine
	for i := range r.engines {
		c.Adapter = fmt.Sprint("gpu", i)
		name := c.Adapter
		c.Open = func() (Device, error) { return r.open(name) }
		engines = append(engines, New(c))
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, r.node, engines...) }()
	r.stop = func() error {
		cancel()
		err := <-ended
		ended <- err
		return err
	}
}

// submit puts a job of 4 steps and seed 7 in line.
func (r *rig) submit(prompt string, change ...func(*job.Request)) job.ID {
	r.t.Helper()
	request := job.NewRequest(job.Generation, "scripted", prompt)
	seed := uint64(7)
	request.Seed, request.Steps, request.Width, request.Height = &seed, 4, 64, 64
	for _, f := range change {
		f(&request)
	}
	record, err := r.queue.Submit(r.t.Context(), request)
	if err != nil {
		r.t.Fatal(err)
	}
	return record.ID
}

// Changes of a request.
func steps(n int) func(*job.Request)             { return func(q *job.Request) { q.Steps = n } }
func batchOf(n int) func(*job.Request)           { return func(q *job.Request) { q.Batch = n } }
func priority(p job.Priority) func(*job.Request) { return func(q *job.Request) { q.Priority = p } }
func wide(n int) func(*job.Request)              { return func(q *job.Request) { q.Width = n } }
func onModel(name string) func(*job.Request)     { return func(q *job.Request) { q.Model = name } }
func named(id job.ID) func(*job.Request)         { return func(q *job.Request) { q.ID = id } }
func stopAt(n int) func(*job.Request)            { return func(q *job.Request) { q.StopAtStep = n } }
func seeded(n uint64) func(*job.Request)         { return func(q *job.Request) { q.Seed = &n } }

// wait follows a job to its end and returns its record and its events.
func (r *rig) wait(id job.ID) (job.Record, []job.Event) {
	r.t.Helper()
	list := r.follow(id, nil)
	return r.record(id), list
}

// follow returns a job's events up to its end, or to the first that is enough.
func (r *rig) follow(id job.ID, enough func(job.Event) bool) (list []job.Event) {
	r.t.Helper()
	reader, err := r.events.Read(r.t.Context(), id, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	defer reader.Close()
	for {
		e, err := reader.Next(r.t.Context())
		if errors.Is(err, events.ErrEnd) {
			return list
		}
		if err != nil {
			r.t.Fatal(err)
		}
		list = append(list, e)
		if enough != nil && enough(e) {
			return list
		}
	}
}

// atStep waits until a job has told of a step.
func (r *rig) atStep(id job.ID, step int) {
	r.t.Helper()
	r.follow(id, func(e job.Event) bool { return e.Step == step })
	synctest.Wait()
}

// until waits until a job is in a state.
func (r *rig) until(id job.ID, s job.State) job.Record {
	r.t.Helper()
	for range 10_000 {
		if record := r.record(id); record.State == s {
			return record
		}
		time.Sleep(stepTime / 2)
	}
	r.t.Fatalf("%s is %s, want %s", id, r.record(id).State, s)
	return job.Record{}
}

func (r *rig) record(id job.ID) job.Record {
	r.t.Helper()
	record, err := r.queue.Get(r.t.Context(), id)
	if err != nil {
		r.t.Fatal(err)
	}
	return record
}

func (r *rig) told() job.Node {
	r.t.Helper()
	synctest.Wait()
	nodes, err := r.queue.Nodes(r.t.Context())
	i := slices.IndexFunc(nodes, func(n job.Node) bool { return n.ID == "n" })
	if err != nil || i < 0 {
		r.t.Fatalf("%d node records, %v", len(nodes), err)
	}
	return nodes[i]
}

// latent is the bits of the latent that a stored picture was made of.
func (r *rig) latent(id job.ID, index int) color.Color {
	r.t.Helper()
	file, err := r.store.Get(r.t.Context(), id, index)
	if err != nil {
		r.t.Fatalf("picture %d of %s: %v", index, id, err)
	}
	img, err := png.Decode(bytes.NewReader(file))
	if err != nil {
		r.t.Fatal(err)
	}
	return color.NRGBAModel.Convert(img.At(1, 0))
}

// undisturbed is the latent of a picture that was drawn in one go.
func undisturbed(seed uint64, steps int) color.Color {
	value := float32(seed)
	for step := 1; step <= steps; step++ {
		value = value*1.37 + float32(step)
	}
	bits := math.Float32bits(value)
	return color.NRGBA{byte(bits), byte(bits >> 8), byte(bits >> 16), 255}
}

// completes checks that a job is complete with the pictures of an undisturbed
// run and one event for each step.
func (r *rig) completes(id job.ID, seed uint64, steps int) {
	r.t.Helper()
	record, list := r.wait(id)
	if record.State != job.Complete {
		r.t.Errorf("%s is %s: %s %s", id, record.State, record.Kind, record.Message)
		return
	}
	for i := range record.Request.Pictures() {
		if got, want := r.latent(id, i), undisturbed(seed+uint64(i), steps); got != want {
			r.t.Errorf("%s, picture %d: latent %v, want %v", id, i, got, want)
		}
	}
	for i, step := range stepsOf(list) {
		if step != i+1 {
			r.t.Errorf("%s: steps %v, want 1, 2, 3, …", id, stepsOf(list))
			break
		}
	}
	if n := len(stepsOf(list)); n != steps*record.Request.Pictures() {
		r.t.Errorf("%s: %d steps were told of, want %d", id, n, steps*record.Request.Pictures())
	}
}

func stepsOf(list []job.Event) (steps []int) {
	for _, e := range list {
		if e.Step > 0 {
			steps = append(steps, e.Step)
		}
	}
	return steps
}

func statesOf(list []job.Event) string {
	var states []string
	for _, e := range list {
		if e.Type == job.ChangeEvent {
			states = append(states, string(e.State))
		}
	}
	return strings.Join(states, " ")
}
