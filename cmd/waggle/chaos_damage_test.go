//go:build unix

package main

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"waggle/internal/bus"
)

// TestChaosDamage overwrites a record and a checkpoint while the server is down: those two jobs fail and say why, the others
// go on.
func TestChaosDamage(t *testing.T) {
	c := newChaos(t)
	dir := c.TempDir()
	s := c.serveOn(dir, "--checkpoint-every", "1ms")
	jobs := c.mixedJobs("damage", 5)
	for i := range jobs {
		jobs[i].recipe["priority"] = "normal"
		jobs[i].recipe["steps"] = 30
		c.submit(func() *server { return s }, &jobs[i])
	}
	s.replay(jobs[0].stream(), 0, func(e placedEvent) bool { return e.Step == 20 })
	s.kill()
	c.inData(dir, func(ctx context.Context, js jetstream.JetStream) {
		c.damageCheckpoint(ctx, js, jobs[0].id+"/0")
		c.damageRecord(ctx, js, jobs[3].id)
	})
	jobs[0].ends, jobs[0].kind, jobs[0].message = "failed", "internal", "checkpoint is damaged"
	jobs[3].ends, jobs[3].kind, jobs[3].message = "failed", "internal", "record on the server is damaged"
	s = c.serveOn(dir)
	c.settle(s, 2*time.Minute, jobs...)
}

// inData opens the data folder of a server that is down.
func (c *chaos) inData(dir string, do func(context.Context, jetstream.JetStream)) {
	c.Helper()
	b, err := bus.Open(bus.Options{Dir: dir, Name: "test"})
	if err != nil {
		c.Fatal(err)
	}
	do(c.Context(), b.JetStream)
	if err := b.Close(); err != nil {
		c.Fatal(err)
	}
}

// damageRecord cuts a record in half.
func (c *chaos) damageRecord(ctx context.Context, js jetstream.JetStream, id string) {
	c.Helper()
	records, err := js.KeyValue(ctx, "waggle-records")
	if err != nil {
		c.Fatal(err)
	}
	e, err := records.Get(ctx, id)
	if err != nil {
		c.Fatal(err)
	}
	c.fault("record of %s cut to half its length", id)
	if _, err := records.Put(ctx, id, e.Value()[:len(e.Value())/2]); err != nil {
		c.Fatal(err)
	}
}

// damageCheckpoint changes one bit in the middle.
func (c *chaos) damageCheckpoint(ctx context.Context, js jetstream.JetStream, name string) {
	c.Helper()
	checkpoints, err := js.ObjectStore(ctx, "waggle-checkpoints")
	if err != nil {
		c.Fatal(err)
	}
	data, err := checkpoints.GetBytes(ctx, name)
	if err != nil {
		c.Fatal(err)
	}
	c.fault("one bit changed in checkpoint %s", name)
	data = bytes.Clone(data)
	data[len(data)/2] ^= 1
	if _, err := checkpoints.PutBytes(ctx, name, data); err != nil {
		c.Fatal(err)
	}
}
