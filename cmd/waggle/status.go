package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"waggle/internal/client"
	"waggle/internal/job"
	"waggle/internal/queen"
)

type statusCommand struct {
	fleetFlags `embed:""`
}

// Run tells how a queen and her workers are, or one worker.
func (c *statusCommand) Run(ctx context.Context) error {
	server, err := c.connect(c.Server, c.Token)
	if err != nil {
		return err
	}
	defer server.Close()
	info, err := server.Queen(ctx)
	var found interface{ show(io.Writer, string) error }
	switch {
	case err == nil:
		found, err = askQueen(ctx, server, info)
	case client.Missing(err):
		found, err = askWorker(ctx, server)
	}
	switch {
	case err != nil:
		return c.unreachable(err)
	case c.JSON:
		return json.NewEncoder(os.Stdout).Encode(found)
	}
	return found.show(os.Stdout, c.Server)
}

// queenStatus is what a queen tells of herself and those she knows.
type queenStatus struct {
	Server  string             `json:"server"` // queen
	Version string             `json:"version"`
	Hives   int                `json:"hives"`
	List    []queen.HiveStatus `json:"hive_list,omitempty"`
	Workers []job.NodeReport   `json:"workers"`
	Jobs    []jobStatus        `json:"jobs"`              // under way
	Problem string             `json:"problem,omitempty"` // why some workers may be missing

	told  bool     // in a form for programs
	words []string // what she says to people
}

// jobStatus is a job as a queen sees it.
type jobStatus struct {
	ID      job.ID    `json:"id"`
	State   job.State `json:"state"`
	Model   string    `json:"model"`
	Step    int       `json:"step,omitempty"`
	Total   int       `json:"total,omitempty"`
	Created time.Time `json:"created"`
	Worker  string    `json:"worker,omitempty"`
}

// jobsShown is how many of a queen's jobs are looked at, the newest.
const jobsShown = 100

func askQueen(ctx context.Context, server *client.Client, info client.QueenInfo) (*queenStatus, error) {
	s := &queenStatus{Server: "queen", Version: info.Version, Workers: []job.NodeReport{}, Jobs: []jobStatus{}}
	if err := server.Operate(ctx, "status", s.hear); err != nil {
		return nil, err
	}
	fleet, err := server.Nodes(ctx)
	if err == nil {
		s.Workers, s.Problem, s.told = append([]job.NodeReport{}, fleet.Nodes...), fleet.Problem, true
	} else if !client.Missing(err) {
		return nil, err
	}
	jobs, err := server.Jobs(ctx, "", "", jobsShown)
	if err != nil && !client.Missing(err) {
		return nil, err
	}
	for _, j := range jobs {
		if !j.State.Final() {
			s.Jobs = append(s.Jobs, jobStatus{j.ID, j.State, j.Request.Model, j.Step, j.Total, j.Created, j.Node})
		}
	}
	return s, nil
}

// hear takes the status out of what a queen says.
func (s *queenStatus) hear(n client.Narration) {
	if n.Type != "data" {
		s.words = append(s.words, plainText(n.Human))
		return
	}
	var payload struct {
		Hives   int
		List    []queen.HiveStatus `json:"hive_list"`
		Workers []struct {
			IDs    []string
			Hive   string `json:"hive_id"`
			URL    string
			Models []string
			Device string
			Status job.Status
			Jobs   int
		}
	}
	if n.Action != "status" || json.Unmarshal(n.Payload, &payload) != nil {
		return
	}
	s.told, s.Hives, s.List = true, payload.Hives, payload.List
	for _, w := range payload.Workers {
		r := job.NodeReport{URL: w.URL, Hive: w.Hive}
		r.Device, r.Status, r.Load.Running = w.Device, w.Status, w.Jobs
		if len(w.IDs) > 0 {
			r.ID, r.Names = w.IDs[0], w.IDs[1:]
		}
		for _, name := range w.Models {
			r.Models = append(r.Models, job.ModelInfo{Name: name})
		}
		s.Workers = append(s.Workers, r)
	}
}

// show writes tables of workers and of jobs under way; the words of a queen who has nothing else.
func (s *queenStatus) show(w io.Writer, address string) error {
	if !s.told {
		_, err := fmt.Fprintf(w, "queen %s at %s\n%s\n", plainText(s.Version), address, strings.Join(s.words, "\n"))
		return err
	}
	fmt.Fprintf(w, "queen %s at %s: %s, %s, %s under way\n", plainText(s.Version), address,
		count(s.Hives, "hive"), count(len(s.Workers), "worker"), count(len(s.Jobs), "job"))
	if s.Problem != "" {
		fmt.Fprintln(w, plainText(s.Problem))
	}
	for _, rows := range [][][]string{s.hiveRows(), nodeRows(s.Workers), s.jobRows()} {
		if len(rows) == 1 {
			continue
		}
		fmt.Fprintln(w)
		if err := writeColumns(w, rows, terminalWidth()); err != nil {
			return err
		}
	}
	return nil
}

func (s *queenStatus) hiveRows() [][]string {
	rows := [][]string{{"HIVE", "STATE", "FOR", "WORKERS", "ADDRESS", "PROBLEM"}}
	for _, h := range s.List {
		state := "lost"
		if h.Online {
			state = "online"
		}
		rows = append(rows, []string{plainText(h.ID), state, age(time.Since(h.Since)), fmt.Sprint(h.Workers), plainText(h.URL), plainText(h.Problem)})
	}
	return rows
}

func (s *queenStatus) jobRows() [][]string {
	rows := [][]string{{"JOB", "STATE", "STEP", "MODEL", "AGE", "WORKER"}}
	for _, j := range s.Jobs {
		rows = append(rows, []string{string(j.ID), string(j.State), stepOf(j.Step, j.Total), plainText(j.Model), age(time.Since(j.Created)), plainText(j.Worker)})
	}
	return rows
}

// count is a number of things in words.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// workerStatus is what a worker tells of itself.
type workerStatus struct {
	Server string         `json:"server"` // worker
	Ready  bool           `json:"ready"`
	Reason string         `json:"reason,omitempty"` // why it is not ready
	Node   job.NodeReport `json:"node"`
}

func askWorker(ctx context.Context, server *client.Client) (*workerStatus, error) {
	s := &workerStatus{Server: "worker"}
	err := server.Ready(ctx)
	var refused *client.Error
	switch {
	case err == nil:
		s.Ready = true
	case errors.As(err, &refused) && refused.Status == http.StatusServiceUnavailable:
		s.Reason = refused.Message
	case client.Missing(err):
		return nil, errors.New("the server is neither a queen nor a worker: it has no /v1/info and no /ready")
	default:
		return nil, err
	}
	if s.Node.Node, err = server.Node(ctx); err != nil && !client.Missing(err) {
		return nil, err
	}
	fleet, err := server.Nodes(ctx)
	if err != nil && !client.Missing(err) {
		return nil, err
	}
	for _, n := range fleet.Nodes {
		if n.ID == s.Node.ID {
			s.Node = n
		}
	}
	return s, nil
}

// show writes what there is to know, a line each.
func (s *workerStatus) show(w io.Writer, address string) error {
	ready := "ready"
	if !s.Ready {
		ready = "not ready: " + plainText(s.Reason)
	}
	n := s.Node
	fmt.Fprintf(w, "worker %s at %s: %s\n", plainText(n.ID), address, ready)
	since := ""
	if !n.Since.IsZero() {
		since = n.Since.Local().Format(time.DateTime)
	}
	for _, row := range [][2]string{{"state", plainText(string(n.Status))}, {"devices", adapters(n.Node)}, {"models", plainText(modelNames(n.Node))},
		{"load", load(n.Load)}, {"since", since}, {"version", plainText(n.Implementation + " " + n.Version)}} {
		if strings.TrimSpace(row[1]) != "" {
			fmt.Fprintf(w, "%-8s %s\n", row[0], row[1])
		}
	}
	return nil
}
