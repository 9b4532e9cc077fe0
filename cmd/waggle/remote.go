package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"waggle/internal/builtin"
	"waggle/internal/client"
	"waggle/internal/job"
	"waggle/internal/picture"
)

// farewellLimit is how long a program that was interrupted tries to cancel its job.
const farewellLimit = 2 * time.Second

// remote has the pictures made by a server. Who interrupts it means the job, unless it was left there.
func (c *generateCommand) remote(ctx context.Context) error {
	began := time.Now()
	server, err := c.connect(c.Server, c.Token)
	if err != nil {
		return err
	}
	defer server.Close()
	r, err := c.remoteRequest(ctx, server)
	if err != nil {
		return err
	}
	if _, err = server.Submit(ctx, r); err == nil && c.Detach {
		return c.detached(r)
	}
	if err == nil {
		err = c.collect(ctx, server, r, began)
	}
	if ctx.Err() == nil {
		return plainAnswer(err)
	}
	return abandon(server, r.ID)
}

// remoteRequest is the job that the flags describe, with the defaults of the server's model. Its id is chosen here, so that
// it can be cancelled even if the server's answer was not waited for.
func (c *generateCommand) remoteRequest(ctx context.Context, server *client.Client) (job.Request, error) {
	list, err := server.Models(ctx)
	if err != nil {
		return job.Request{}, err
	}
	model, err := chooseModel(list, c.Model)
	if err != nil {
		return job.Request{}, err
	}
	r, err := c.request(model.Name, model.Defaults)
	r.ID = job.NewID()
	return r, err
}

// chooseModel finds a model by name. The default of the flag is a model of this program; a server that has not got it
// makes the picture with its own first one.
func chooseModel(list []job.ModelInfo, name string) (job.ModelInfo, error) {
	var names []string
	chosen := -1
	for i, m := range list {
		names = append(names, m.Name)
		if m.Name == name {
			chosen = i
		}
	}
	if chosen < 0 && name == builtin.Name && len(list) > 0 {
		chosen = 0
	}
	switch {
	case len(list) == 0:
		return job.ModelInfo{}, errors.New("the server has no model ready; try again later")
	case chosen < 0:
		return job.ModelInfo{}, fmt.Errorf("the server has no model %q: want one of %s", name, strings.Join(names, ", "))
	case list[chosen].Defaults.Width == 0:
		return job.ModelInfo{}, fmt.Errorf("the server's model %s is still loading; try again later", list[chosen].Name)
	}
	return list[chosen], nil
}

func (c *generateCommand) detached(r job.Request) error {
	if c.JSON {
		newProgress(true).start("", r.ID, r)
		return nil
	}
	_, err := fmt.Println(r.ID)
	return err
}

// collect follows a job and writes its pictures.
func (c *generateCommand) collect(ctx context.Context, server *client.Client, r job.Request, began time.Time) error {
	show := newProgress(c.JSON)
	show.start("", r.ID, r)
	if err := follow(ctx, server, r.ID, show.event); err != nil {
		return err
	}
	for i := range r.Batch {
		file, err := server.Image(ctx, r.ID, i)
		if err != nil {
			return fmt.Errorf("fetch the picture of %s: %w", r.ID, err)
		}
		path := numbered(c.Output, i, r.Batch)
		if err := picture.WriteFile(path, file); err != nil {
			return err
		}
		show.wrote(path, *r.Seed+uint64(i), time.Since(began))
	}
	return nil
}

// follow shows a job's events up to its end, which is an error unless its pictures are there.
func follow(ctx context.Context, server *client.Client, id job.ID, show func(job.Event)) error {
	for e, err := range server.Events(ctx, id, 0) {
		if err != nil {
			return err
		}
		show(e)
		switch {
		case e.Type == job.CompleteEvent:
			return nil
		case e.Kind == job.CancelledByUser:
			return fmt.Errorf("%s was cancelled", id)
		case e.Final():
			return fmt.Errorf("%s failed: %s", id, e.Message)
		}
	}
	return fmt.Errorf("the server does not say how %s ended", id)
}

// abandon cancels the job of a program that was interrupted.
func abandon(server *client.Client, id job.ID) error {
	ctx, cancel := context.WithTimeout(context.Background(), farewellLimit)
	defer cancel()
	err := server.Cancel(ctx, id)
	var refused *client.Error
	switch {
	case err == nil:
		return &interruptedError{"and cancelled " + string(id)}
	case errors.As(err, &refused) && refused.Status == 404:
		return &interruptedError{"after " + string(id) + " had ended"}
	}
	return &interruptedError{fmt.Sprintf("but %s could not be cancelled: %v", id, err)}
}
