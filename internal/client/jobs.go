package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strings"

	"waggle/internal/job"
)

// pageSize is how many jobs are asked for at once.
const pageSize = 500

// Cancel ends a waiting or paused job, or asks a running one to stop.
func (c *Client) Cancel(ctx context.Context, id job.ID) error {
	_, err := c.order(ctx, http.MethodDelete, jobPath(id))
	return err
}

// Pause asks a job to wait with what it has. The status is "paused", or
// "pausing" where the job runs and stops at its next step.
func (c *Client) Pause(ctx context.Context, id job.ID) (status string, err error) {
	return c.order(ctx, http.MethodPost, jobPath(id)+"/pause")
}

// Resume lets a paused job go on, at the end of its client's line.
func (c *Client) Resume(ctx context.Context, id job.ID) (status string, err error) {
	return c.order(ctx, http.MethodPost, jobPath(id)+"/resume")
}

// Front moves a waiting job to the front of its client's line, or right before
// another of its jobs.
func (c *Client) Front(ctx context.Context, id, before job.ID) error {
	path := jobPath(id) + "/front"
	if before != "" {
		path += "?before=" + url.QueryEscape(string(before))
	}
	_, err := c.order(ctx, http.MethodPost, path)
	return err
}

// Remove forgets a job that has ended, with its pictures.
func (c *Client) Remove(ctx context.Context, id job.ID) error {
	_, err := c.order(ctx, http.MethodDelete, "/v1/pictures/"+url.PathEscape(string(id)))
	return err
}

// order is a call that changes a job and is answered with what became of it.
func (c *Client) order(ctx context.Context, method, path string) (status string, err error) {
	var answer struct{ Status string }
	err = c.quick(ctx, method, path, &answer)
	return answer.Status, err
}

// All goes through all jobs, the newest first.
func (c *Client) All(ctx context.Context) iter.Seq2[job.Report, error] {
	return func(yield func(job.Report, error) bool) {
		var before job.ID
		for {
			page, err := c.Jobs(ctx, "", before, pageSize)
			if err != nil {
				yield(job.Report{}, err)
				return
			}
			for _, r := range page {
				if !yield(r, nil) {
					return
				}
				before = r.ID
			}
			if len(page) < pageSize {
				return
			}
		}
	}
}

// Find returns the id of the one job whose id is or begins with text; the
// "job-" of ids that servers make may be left out.
func (c *Client) Find(ctx context.Context, text string) (job.ID, error) {
	if !job.ValidID(text) {
		return "", fmt.Errorf("%.70q is no job's id: want A-Z a-z 0-9 _ -, at most 64", text)
	}
	_, err := c.Job(ctx, job.ID(text))
	var refused *Error
	if !errors.As(err, &refused) || refused.Status != http.StatusNotFound {
		return job.ID(text), err
	}
	var found []job.ID
	for r, err := range c.All(ctx) {
		if err != nil {
			return "", err
		}
		if id := string(r.ID); strings.HasPrefix(id, text) || strings.HasPrefix(id, "job-"+text) {
			found = append(found, r.ID)
		}
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("no job's id begins with %s", text)
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("the ids of %d jobs begin with %s: %s and %s are two of them", len(found), text, found[0], found[1])
}
