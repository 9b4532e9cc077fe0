package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"

	"waggle/internal/api"
	"waggle/internal/queen"
	"waggle/web"
)

type queenCommand struct {
	WorkerToken string `env:"WAGGLE_WORKER_TOKEN" help:"Bearer token to show to workers; needs --token."`

	listenFlags `kong:"embed,set='port=7833',set='portenv=QUEEN_PORT'"`
}

// Run routes operations to workers until ctx ends or somebody asks for shutdown.
func (c *queenCommand) Run(ctx context.Context) error {
	listener, keys, err := c.listen()
	if err != nil {
		return err
	}
	if c.WorkerToken != "" && len(keys) == 0 {
		listener.Close()
		return errors.New("--worker-token is shown to every worker that reports: give a --token too, so that strangers cannot pass for one")
	}
	q := queen.New(queen.Config{
		Version: version, Built: built(), Tokens: secrets(keys), WorkerToken: c.WorkerToken, Origins: c.Origins, Hosts: c.Hosts,
		Page: func(now func() queen.Snapshot) http.Handler {
			return web.QueenHandler(version, func() web.Fleet { return fleetView(now()) })
		},
		Log: c.logger(),
	})
	fmt.Printf("Waggle %s's queen is at http://%s\n", version, listener.Addr())
	return q.Serve(ctx, listener)
}

func secrets(keys []api.Key) (list []string) {
	for _, k := range keys {
		list = append(list, k.Secret)
	}
	return list
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
