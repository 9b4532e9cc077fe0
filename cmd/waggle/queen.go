package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"

	"waggle/internal/client"
	"waggle/internal/metrics"
	"waggle/internal/queen"
	"waggle/web"
)

type queenCommand struct {
	Hives       []string `name:"hive" placeholder:"NAME=URL" help:"Hive to listen to from the start; others announce themselves. Repeatable."`
	WorkerToken string   `env:"WAGGLE_WORKER_TOKEN" help:"Bearer token to show to workers; needs --token."`

	natsFlags   `embed:""`
	trustFlags  `embed:""`
	listenFlags `kong:"embed,set='port=7833',set='portenv=QUEEN_PORT'"`
}

// Run routes operations to workers until ctx ends or somebody asks for shutdown.
func (c *queenCommand) Run(ctx context.Context) error {
	return c.logged(func() error { return c.serve(ctx) })
}

func (c *queenCommand) serve(ctx context.Context) error {
	trust, err := c.trust()
	if err != nil {
		return err
	}
	listener, to, err := c.listen()
	if err != nil {
		return err
	}
	if c.WorkerToken != "" && len(to.Keys) == 0 {
		listener.Close()
		return errors.New("--worker-token is shown to every worker that reports: give a --token too, so that strangers cannot pass for one")
	}
	log, meters := c.logger(), metrics.NewQueen(version)
	to.Witness = meters
	cluster, err := c.cluster(ctx, meters.Jobs, log)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	q := queen.New(queen.Config{
		Version: version, Built: built(), WorkerToken: c.WorkerToken, Trust: trust, Door: to,
		Docs: web.Docs,
		Page: func(now func() queen.Snapshot) http.Handler {
			return web.QueenHandler(version, func() web.Fleet { return fleetView(now()) })
		},
		Cluster: cluster, Metrics: meters.Handler(log), Ended: ended(meters, log), Log: log,
	})
	c.measure(meters, q)
	if err := c.subscribe(q); err != nil {
		q.Close()
		return errors.Join(err, listener.Close())
	}
	fmt.Printf("Waggle %s's queen is at %s://%s\n", version, c.scheme(), listener.Addr())
	return q.Serve(ctx, listener)
}

// subscribe listens to the hives that are named: they announce themselves only when they start, which may have been before.
func (c *queenCommand) subscribe(q *queen.Queen) error {
	for _, text := range c.Hives {
		name, url, ok := strings.Cut(text, "=")
		if !ok {
			return fmt.Errorf("--hive %s: want NAME=URL, like localhost=http://127.0.0.1:7835", client.Shown(text))
		}
		if err := q.Subscribe(name, url); err != nil {
			return fmt.Errorf("--hive %s: %w", client.Shown(text), err)
		}
	}
	return nil
}

// built is when the source of this program was committed, as its build recorded it; empty if it did not.
func built() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.time" {
			return s.Value
		}
	}
	return ""
}
