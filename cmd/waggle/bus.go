package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"

	"waggle/internal/bus"
	"waggle/internal/job"
)

// replicasLimit is what JetStream allows.
const replicasLimit = 5

// busFlags say where jobs, events and pictures are kept.
type busFlags struct {
	Data string `type:"path" env:"WAGGLE_DATA" help:"Folder for jobs and pictures (default: one of the user's own, another for each --worker-id)."`
	Sync string `default:"kernel" enum:"kernel,always" help:"kernel: a kill loses nothing; always: a power cut neither, at the price of speed."`

	natsFlags `embed:""`
	Replicas  int `name:"nats-replicas" default:"0" help:"On how many of the cluster's servers all is kept; 0: three, where there are as many."`
}

// natsFlags say where a cluster is and how it and we know each other.
type natsFlags struct {
	NATS        []string `name:"nats" env:"WAGGLE_NATS" help:"Servers of a NATS cluster that keeps jobs, events and pictures (nats://host:4222); repeatable."`
	Credentials string   `name:"nats-creds" type:"path" help:"File with the credentials for the cluster."`
	CA          string   `name:"nats-ca" type:"path" help:"File with the certificates that the cluster's must come from."`
	Cert        string   `name:"nats-cert" type:"path" help:"File with our own certificate for the cluster."`
	Key         string   `name:"nats-key" type:"path" help:"File with its key."`
}

func (f *natsFlags) check() error {
	if (f.Cert == "") != (f.Key == "") {
		return errors.New("--nats-cert and --nats-key go together")
	}
	return nil
}

// options are those of a connection to the cluster.
func (f *natsFlags) options(log *slog.Logger) bus.Options {
	return bus.Options{URLs: f.NATS, Credentials: f.Credentials, CA: f.CA, Cert: f.Cert, Key: f.Key, Name: "waggle", Log: log}
}

// open starts the server in this process, or connects to the cluster.
func (f *busFlags) open(ctx context.Context, log *slog.Logger) (*bus.Bus, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	if f.Replicas < 0 || f.Replicas > replicasLimit {
		return nil, fmt.Errorf("--nats-replicas %d: want 1, 3 or 5, or 0 to leave it to us", f.Replicas)
	}
	o := f.options(log)
	o.Dir, o.SyncAlways, o.Replicas = f.Data, f.Sync == "always", f.Replicas
	b, err := bus.OpenContext(ctx, o)
	return b, advised(err)
}

// advised adds to an error of the bus what can be done about it.
func advised(err error) error {
	for cause, advice := range map[error]string{
		bus.ErrInUse:     "stop that one, or give this one another folder with --data",
		bus.ErrFull:      "make room, or name a folder on another disk with --data",
		bus.ErrNoAnswer:  "start the servers, or name others with --nats",
		bus.ErrRefused:   "see --nats-creds, --nats-cert and --nats-key, or give user and password in --nats",
		bus.ErrUntrusted: "name the file with the certificates to trust with --nats-ca",
	} {
		if errors.Is(err, cause) {
			return fmt.Errorf("%w: %s", err, advice)
		}
	}
	return err
}

// folder settles on a data folder, where one is needed. A worker that has a name has one of its own, as several may be
// started on a machine with nothing but names.
func (f *busFlags) folder(worker string) error {
	if f.Data != "" || len(f.NATS) > 0 {
		return nil
	}
	dir, err := dataHome()
	if err != nil {
		return fmt.Errorf("no folder for jobs and pictures: %w; name one with --data", err)
	}
	f.Data = filepath.Join(dir, "waggle", "server")
	if worker != "" {
		f.Data = filepath.Join(dir, "waggle", "workers", folderName(worker))
	}
	return nil
}

// folderName is a name that can be a folder's: what cannot is replaced by its digest.
func folderName(name string) string {
	if job.ValidID(name) {
		return name
	}
	return digest(name)
}

// digest is a short name for a text.
func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:4])
}

// dataHome is where programs of this user keep their data.
func dataHome() (string, error) {
	if runtime.GOOS != "linux" {
		return os.UserConfigDir()
	}
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) { // XDG Base Directory Specification
		return dir, nil
	}
	home, err := os.UserHomeDir()
	return filepath.Join(home, ".local", "share"), err
}

// nodeID is a name that stays over restarts: of the data folder, or in a
// cluster of the machine and its port.
func (f *busFlags) nodeID(port int) string {
	host, _ := os.Hostname() // the rest will do
	of := fmt.Sprint(host, "\n", f.Data)
	if len(f.NATS) > 0 {
		of = fmt.Sprint(host, "\n", port)
	}
	return "waggle-" + digest(of)
}
