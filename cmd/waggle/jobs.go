package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"

	"waggle/internal/client"
	"waggle/internal/job"
)

// jobsCommand holds what all its verbs share: which server they speak to.
type jobsCommand struct {
	Server string `default:"http://127.0.0.1:8080" env:"WAGGLE_SERVER" placeholder:"URL" help:"The server, as http://host:port or https://host:port."`
	Token  string `env:"WAGGLE_TOKEN" help:"Its bearer token."`
	JSON   bool   `name:"json" help:"Print JSON."`

	trustFlags `embed:""`

	List   listCommand  `cmd:"" help:"List jobs, the newest first."`
	Show   showCommand  `cmd:"" help:"Show all that is known of jobs."`
	Watch  watchCommand `cmd:"" help:"Follow a job to its end."`
	Cancel cancelJobs   `cmd:"" help:"End jobs that wait, are paused or run."`
	Pause  pauseJobs    `cmd:"" help:"Let jobs wait with what they have; a running one stops at its next step."`
	Resume resumeJobs   `cmd:"" help:"Let paused jobs go on where they stopped."`
	Front  frontJobs    `cmd:"" help:"Move waiting jobs to the front of their client's line."`
	Rm     removeJobs   `cmd:"" help:"Forget jobs that have ended, with their pictures."`
}

// jobIDs are the arguments of the verbs that change jobs.
type jobIDs struct {
	IDs []string `arg:"" name:"id" help:"Ids of jobs, or their beginnings."`
}

// jobOrder asks a server for a change and returns what became of the job.
type jobOrder func(ctx context.Context, server *client.Client, id job.ID) (status string, err error)

// each carries out an order for one job after the other, up to the first that fails.
func (c *jobsCommand) each(ctx context.Context, ids jobIDs, do jobOrder) error {
	server, err := c.connect(c.Server, c.Token)
	if err != nil {
		return err
	}
	defer server.Close()
	for _, text := range ids.IDs {
		id, err := server.Find(ctx, text)
		if err != nil {
			return err
		}
		status, err := do(ctx, server, id)
		if noRoute(err) {
			return fmt.Errorf("%s: the server takes no such order; a queen shows and cancels jobs, no more", id)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", id, plainAnswer(err))
		}
		if err := c.tell(id, status); err != nil {
			return err
		}
	}
	return nil
}

// noRoute reports that a server does not know what is asked of it at all.
func noRoute(err error) bool {
	var refused *client.Error
	return client.Missing(err) && errors.As(err, &refused) && refused.Message == http.StatusText(refused.Status)
}

// plainAnswer leaves the number out of a server's refusal: its text says it all.
func plainAnswer(err error) error {
	var refused *client.Error
	if errors.As(err, &refused) {
		return errors.New(refused.Message)
	}
	return err
}

func (c *jobsCommand) tell(id job.ID, status string) (err error) {
	if c.JSON {
		return json.NewEncoder(os.Stdout).Encode(map[string]any{"job_id": id, "status": status})
	}
	_, err = fmt.Println(id, status)
	return err
}

type cancelJobs struct {
	jobIDs `embed:""`
}

// Run cancels jobs.
func (c *cancelJobs) Run(ctx context.Context, jobs *jobsCommand) error {
	return jobs.each(ctx, c.jobIDs, func(ctx context.Context, server *client.Client, id job.ID) (string, error) {
		return "cancelled", server.Cancel(ctx, id)
	})
}

type pauseJobs struct {
	jobIDs `embed:""`
}

// Run pauses jobs.
func (c *pauseJobs) Run(ctx context.Context, jobs *jobsCommand) error {
	return jobs.each(ctx, c.jobIDs, func(ctx context.Context, server *client.Client, id job.ID) (string, error) {
		return server.Pause(ctx, id)
	})
}

type resumeJobs struct {
	jobIDs `embed:""`
}

// Run resumes jobs.
func (c *resumeJobs) Run(ctx context.Context, jobs *jobsCommand) error {
	return jobs.each(ctx, c.jobIDs, func(ctx context.Context, server *client.Client, id job.ID) (string, error) {
		return server.Resume(ctx, id)
	})
}

type frontJobs struct {
	Before string `placeholder:"ID" help:"Not to the very front: right before this waiting job of the same client and priority."`
	jobIDs `embed:""`
}

// Run moves jobs; the last one named comes to stand first.
func (c *frontJobs) Run(ctx context.Context, jobs *jobsCommand) error {
	return jobs.each(ctx, c.jobIDs, func(ctx context.Context, server *client.Client, id job.ID) (string, error) {
		var before job.ID
		if c.Before != "" {
			var err error
			if before, err = server.Find(ctx, c.Before); err != nil {
				return "", err
			}
		}
		return "moved", server.Front(ctx, id, before)
	})
}

type removeJobs struct {
	jobIDs `embed:""`
}

// Run forgets jobs.
func (c *removeJobs) Run(ctx context.Context, jobs *jobsCommand) error {
	return jobs.each(ctx, c.jobIDs, func(ctx context.Context, server *client.Client, id job.ID) (string, error) {
		return "removed", server.Remove(ctx, id)
	})
}

type showCommand struct {
	jobIDs `embed:""`
}

// Run prints one report after the other.
func (c *showCommand) Run(ctx context.Context, jobs *jobsCommand) error {
	server, err := jobs.connect(jobs.Server, jobs.Token)
	if err != nil {
		return err
	}
	defer server.Close()
	for i, text := range c.IDs {
		id, err := server.Find(ctx, text)
		if err != nil {
			return err
		}
		report, err := server.Job(ctx, id)
		if err != nil {
			return err
		}
		if i > 0 && !jobs.JSON {
			fmt.Println()
		}
		if err := jobs.print(report); err != nil {
			return err
		}
	}
	return nil
}

func (c *jobsCommand) print(r job.Report) error {
	if c.JSON {
		return json.NewEncoder(os.Stdout).Encode(r)
	}
	return showReport(os.Stdout, r)
}

type watchCommand struct {
	ID string `arg:"" help:"Id of a job, or its beginning."`
}

// Run follows a job; interrupting it does nothing to the job.
func (c *watchCommand) Run(ctx context.Context, jobs *jobsCommand) error {
	server, err := jobs.connect(jobs.Server, jobs.Token)
	if err != nil {
		return err
	}
	defer server.Close()
	id, err := server.Find(ctx, c.ID)
	if err != nil {
		return err
	}
	_, err = follow(ctx, server, id, jobs.watcher(id))
	if ctx.Err() != nil {
		return &interruptedError{"; " + string(id) + " goes on"}
	}
	return err
}

// watcher shows a job's events: as they are, but for their pictures, to programs.
func (c *jobsCommand) watcher(id job.ID) watcher {
	if c.JSON {
		return eventLines{json.NewEncoder(os.Stdout)}
	}
	return untilComplete{newProgress(false), id}
}

// untilComplete is progress that ends in words.
type untilComplete struct {
	*progress
	id job.ID
}

func (w untilComplete) event(e job.Event) {
	w.progress.event(e)
	if e.Type == job.CompleteEvent {
		fmt.Println(w.id, "complete")
	}
}

// eventLines writes one JSON object a line.
type eventLines struct{ *json.Encoder }

func (l eventLines) event(e job.Event) {
	e.Image, e.Format = "", ""
	for i := range e.Images {
		e.Images[i].Image = ""
	}
	l.Encode(struct {
		ID uint64 `json:"id"`
		job.Event
	}{e.Number, e})
}

func (l eventLines) said(n client.Narration) { l.Encode(n) }
