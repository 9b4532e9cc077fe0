package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"waggle/internal/api"
	"waggle/internal/beacon"
	"waggle/internal/builtin"
	"waggle/internal/bus"
	"waggle/internal/engine"
	"waggle/internal/events"
	"waggle/internal/job"
	"waggle/internal/metrics"
	"waggle/internal/queue"
	"waggle/internal/store"
	"waggle/internal/webhook"
	"waggle/web"
)

type serveCommand struct {
	Keep       time.Duration `default:"24h" help:"How long jobs and pictures are kept."`
	KeepJobs   int           `default:"10000" help:"Most ended jobs that are kept."`
	KeepMiB    int           `name:"keep-mib" default:"8192" help:"Most space for finished pictures, in MiB; the oldest go."`
	Queue      int           `name:"queue-limit" default:"1000" help:"Most jobs that wait or run at a time."`
	Checkpoint time.Duration `name:"checkpoint-every" default:"2s" help:"Shortest time between two checkpoints of a picture."`
	MaxBatch   int           `name:"max-batch" default:"4" help:"Most pictures of one size that are drawn together, step by step."`
	WorkerID   string        `env:"WORKER_ID" help:"Name of this worker; its jobs come back to it after a restart."`

	listenFlags  `kong:"embed,set='port=8080',set='portenv=PORT'"`
	busFlags     `embed:""`
	modelFlags   `embed:""`
	webhookFlags `embed:""`
	workerFlags  `embed:"" group:"worker"`

	place place // of the adapter, by workerFlags
}

// Run serves until ctx ends.
func (c *serveCommand) Run(ctx context.Context) error {
	return c.logged(func() error { return c.serve(ctx) })
}

func (c *serveCommand) serve(ctx context.Context) error {
	w, err := c.worker(ctx)
	if err != nil {
		return err
	}
	defer w.close()
	fmt.Printf("Waggle %s is at %s://%s\n", version, c.scheme(), w.address())
	return w.run(ctx)
}

// worker is the running service: what Run builds, in the order in which a request meets it.
type worker struct {
	listener net.Listener
	api      *api.Server
	bus      *bus.Bus
	queue    *queue.JetStream
	events   *events.JetStream
	store    *store.Objects
	kept     *store.Checkpoints
	node     *engine.Node
	engines  []*engine.Engine
	catalog  *catalog
	webhooks *webhook.Sender // nil: none are sent
	meters   *metrics.Worker
	beacon   *beacon.Beacon // nil: no queen is told
}

func (c *serveCommand) worker(ctx context.Context) (*worker, error) {
	if err := c.checkLimits(); err != nil {
		return nil, err
	}
	listener, to, err := c.listen()
	if err != nil {
		return nil, err
	}
	w := &worker{listener: listener, meters: metrics.NewWorker(version)}
	log := c.logger()
	c.noteUnused(log)
	if err := w.open(ctx, c, log); err != nil {
		w.close()
		return nil, errors.Join(err, listener.Close())
	}
	node := c.node(listener.Addr().(*net.TCPAddr).Port)
	w.draw(c, node, log)
	if w.beacon, err = c.report(node, log); err != nil {
		w.close()
		return nil, errors.Join(err, listener.Close())
	}
	w.node.Watch(w.beacon.Tell)
	w.measure(c.Queue)
	to.Witness = w.meters
	w.api = api.New(api.Config{
		Queue: w.queue, Events: w.events, Store: w.store, NodeID: node.ID, Log: log,
		Tokenize: w.catalog.tokenize, Webhook: w.webhooks.Check, Metrics: w.meters.Handler(log),
		Reachable: w.bus.Connected, Door: to, Docs: web.Docs, Version: version, Page: web.Handler(web.Options{Examples: c.examples(), Version: version}),
	})
	return w, nil
}

// draw makes the engines, one for each adapter.
func (w *worker) draw(c *serveCommand, node job.Node, log *slog.Logger) {
	w.catalog = newCatalog(c.modelFlags, log)
	w.node = engine.NewNode(w.queue, node, w.catalog.own, log)
	w.node.SetModels(w.catalog.list())
	adapters, choose := c.adapters(log)
	for _, name := range adapters {
		w.engines = append(w.engines, engine.New(engine.Config{
			Queue: w.queue, Events: w.events, Store: w.store, Checkpoints: w.kept, CheckpointEvery: c.Checkpoint, Node: w.node,
			Adapter: name, Open: func() (engine.Device, error) { return w.catalog.openDevice(name, choose, len(adapters)) },
			MaxBatch: c.MaxBatch, Memory: int64(c.MaxVRAM), Precision: "f32", Version: version, Log: log, Meter: w.meters,
		}))
	}
}

// open opens what lies on the bus: pictures and events first, as the queue may
// have news of jobs for them at once.
func (w *worker) open(ctx context.Context, c *serveCommand, log *slog.Logger) (err error) {
	if err := c.folder(c.WorkerID); err != nil {
		return err
	}
	if w.bus, err = c.busFlags.open(ctx, log); err != nil {
		return err
	}
	js, replicas := w.bus.JetStream, w.bus.Replicas
	if w.store, err = store.Open(ctx, js, store.Options{Expiry: c.Keep, Bytes: int64(c.KeepMiB) << 20, Replicas: replicas, Log: log}); err != nil {
		return err
	}
	if w.kept, err = store.OpenCheckpoints(ctx, js, 7*c.Keep, replicas); err != nil {
		return err
	}
	if w.events, err = events.Open(ctx, js, events.Options{Expiry: c.Keep, Replicas: replicas, Alone: w.bus.Alone(), Log: log}); err != nil {
		return err
	}
	w.queue, err = queue.Open(ctx, js, queue.Options{
		Length: c.Queue, Finished: c.KeepJobs, Expiry: c.Keep, Room: w.bus.Room, Replicas: replicas, Log: log,
		Ended:   w.tellEnd(log),
		Changed: changed(w.meters.Jobs, log),
		Dropped: func(ctx context.Context, id job.ID) {
			warn(log, "drop an old job", id, errors.Join(w.events.Forget(ctx, id), w.store.Remove(ctx, id)))
		},
	})
	if err != nil {
		return err
	}
	w.webhooks, err = c.webhookFlags.open(ctx, w.bus, w.queue, c.Keep, c.KeepJobs, log)
	return err
}

func warn(log *slog.Logger, what string, id job.ID, err error) {
	if err != nil {
		log.Warn(what, "job", id, "error", err)
	}
}

// checkLimits looks at what an engine may use.
func (c *serveCommand) checkLimits() error {
	if c.MaxBatch < 1 || c.MaxBatch > job.BatchLimit {
		return fmt.Errorf("--max-batch %d: want 1 to %d", c.MaxBatch, job.BatchLimit)
	}
	return nil
}

func (c *serveCommand) node(port int) job.Node {
	id := c.WorkerID
	if id == "" {
		id = c.busFlags.nodeID(port)
	}
	return job.Node{ID: id, ModelID: c.Model, Port: port, Status: job.Starting, Implementation: "waggle", Version: version, TLSName: c.pair.Name(c.Hosts)}
}

// examples are prompts for the page: those of the built-in model, where it serves.
func (c *serveCommand) examples() []string {
	if c.Model == builtin.Name {
		return builtin.ExamplePrompts
	}
	return nil
}

func (w *worker) address() string { return w.listener.Addr().String() }

// run serves and draws until ctx ends or serving fails.
func (w *worker) run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var reading sync.WaitGroup
	reading.Go(func() { w.catalog.run(ctx, w.node) })
	drawn := make(chan error, 1)
	go func() { drawn <- engine.Run(ctx, w.node, w.engines...) }()
	err := w.api.Serve(ctx, w.listener)
	stop()
	if drawErr := <-drawn; !errors.Is(drawErr, engine.ErrStepRunning) {
		err = errors.Join(err, drawErr)
	}
	reading.Wait()
	return err
}

// close closes what was opened, the last first.
func (w *worker) close() {
	w.beacon.Stop()
	defer w.beacon.Close()
	w.webhooks.Close()
	if w.queue != nil {
		w.queue.Close()
	}
	if w.events != nil {
		w.events.Close()
	}
	if w.store != nil {
		w.store.Close()
	}
	if w.bus != nil {
		w.bus.Close()
	}
}
