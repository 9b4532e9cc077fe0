package main

import (
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

// busFlags say where jobs, events and pictures are kept.
type busFlags struct {
	Data string `type:"path" env:"WAGGLE_DATA" help:"Folder for jobs and pictures (default: one of the user's own, another for each --worker-id)."`
	Sync string `default:"kernel" enum:"kernel,always" help:"kernel: a kill loses nothing; always: a power cut neither, at the price of speed."`

	NATS        []string `name:"nats" env:"WAGGLE_NATS" help:"Servers of a NATS cluster that keeps everything instead (nats://host:4222); repeatable."`
	Credentials string   `name:"nats-creds" type:"path" help:"File with the credentials for the cluster."`
	CA          string   `name:"nats-ca" type:"path" help:"File with the certificates that the cluster's must come from."`
	Cert        string   `name:"nats-cert" type:"path" help:"File with our own certificate for the cluster."`
	Key         string   `name:"nats-key" type:"path" help:"File with its key."`
}

// open starts the server in this process, or connects to the cluster.
func (f *busFlags) open(log *slog.Logger) (*bus.Bus, error) {
	if (f.Cert == "") != (f.Key == "") {
		return nil, errors.New("--nats-cert and --nats-key go together")
	}
	b, err := bus.Open(bus.Options{
		Dir: f.Data, SyncAlways: f.Sync == "always",
		URLs: f.NATS, Credentials: f.Credentials, CA: f.CA, Cert: f.Cert, Key: f.Key,
		Name: "waggle", Log: log,
	})
	if errors.Is(err, bus.ErrInUse) {
		return nil, fmt.Errorf("%w: stop that one, or give this one another folder with --data", err)
	}
	if errors.Is(err, bus.ErrFull) {
		return nil, fmt.Errorf("%w: make room, or name a folder on another disk with --data", err)
	}
	return b, err
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
