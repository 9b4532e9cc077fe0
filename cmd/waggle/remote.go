package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"image/png"
	"strings"
	"time"

	"waggle/internal/builtin"
	"waggle/internal/client"
	"waggle/internal/job"
	"waggle/internal/picture"
)

// farewellLimit is how long a program that was interrupted tries to cancel its job.
const farewellLimit = 2 * time.Second

// remote has a server or a queen make the pictures. Who interrupts it means the job, unless it was left there.
func (f *pictureFlags) remote(ctx context.Context, op job.Operation, model string, special func(*job.Request) error) error {
	began := time.Now()
	server, err := f.connect(f.Server, f.Token)
	if err != nil {
		return err
	}
	defer server.Close()
	known, err := chooseModel(ctx, server, model)
	if err != nil {
		return plainAnswer(err)
	}
	r, err := f.request(op, known.Name, known.Defaults, special)
	if err != nil {
		return err
	}
	show := newProgress(f.JSON)
	if known.Defaults.Width == 0 {
		f.noteDefaults(show, r)
	}
	return f.order(ctx, server, r, show, began)
}

// noteDefaults says what the protocol decided, because the server does not tell its model's own defaults.
func (f *pictureFlags) noteDefaults(show *progress, r job.Request) {
	var taken []string
	if f.Steps == nil {
		taken = append(taken, fmt.Sprintf("%d steps", r.Steps))
	}
	if f.Guidance == nil {
		taken = append(taken, fmt.Sprintf("guidance %g", r.GuidanceScale))
	}
	if len(taken) > 0 {
		show.note("the server does not say what suits %s: taking the protocol's %s", plainText(r.Model), strings.Join(taken, ", "))
	}
}

// order submits a job and waits for its pictures. Its id is chosen here, so that it can be cancelled even if the server's
// answer was not waited for; servers that know only their own say so.
func (f *pictureFlags) order(ctx context.Context, server *client.Client, r job.Request, show *progress, began time.Time) error {
	r.ID = job.NewID()
	id, err := server.Submit(ctx, r)
	taken := err == nil
	if taken {
		r.ID = id
	}
	switch {
	case taken && f.Detach:
		err = f.detach(ctx, server, r, show)
	case taken:
		err = f.collect(ctx, server, r, show, began)
	}
	if err == nil || ctx.Err() == nil {
		return plainAnswer(err)
	}
	return abandon(server, r.ID, taken)
}

// detach leaves a job there, once it is sure to be made.
func (f *pictureFlags) detach(ctx context.Context, server *client.Client, r job.Request, show *progress) error {
	if err := server.Start(ctx, r.ID); err != nil {
		return err
	}
	if f.JSON {
		show.start("", r.ID, r)
		return nil
	}
	_, err := fmt.Println(r.ID)
	return err
}

// collect follows a job and writes its pictures.
func (f *pictureFlags) collect(ctx context.Context, server *client.Client, r job.Request, show *progress, began time.Time) error {
	show.start("", r.ID, r)
	last, err := follow(ctx, server, r.ID, show)
	if err != nil {
		return err
	}
	list, err := picturesOf(last, *r.Seed)
	if err != nil {
		return fmt.Errorf("the pictures of %s: %w", r.ID, err)
	}
	show.mixes(last.LoRAs)
	show.widened(last.Float32)
	for i, p := range list {
		path := numbered(f.Output, i, len(list))
		if err := picture.WriteFile(path, p.file); err != nil {
			return err
		}
		show.wrote(path, p.seed, time.Since(began))
	}
	if len(list) != r.Batch {
		return fmt.Errorf("the server made %d pictures instead of %d: it may not know batches", len(list), r.Batch)
	}
	return nil
}

// made is a picture that a server made.
type made struct {
	file []byte // a PNG
	seed uint64
}

// picturesOf takes the pictures out of a job's last event. seed is what the first was asked for with.
func picturesOf(last job.Event, seed uint64) (list []made, err error) {
	if last.Seed != nil {
		seed = *last.Seed
	}
	images := last.Images
	if len(images) == 0 {
		images = []job.Image{{Image: last.Image, Seed: seed}}
	}
	for _, i := range images {
		file, err := base64.StdEncoding.DecodeString(i.Image)
		if err != nil {
			return nil, fmt.Errorf("not base64: %w", err)
		}
		if _, err := png.DecodeConfig(bytes.NewReader(file)); err != nil {
			return nil, fmt.Errorf("no PNG: %w", err)
		}
		list = append(list, made{file, i.Seed})
	}
	return list, nil
}

// watcher is told of a job.
type watcher interface {
	event(job.Event)
	said(client.Narration)
}

// follow shows a job up to its last event, which is an error unless its pictures are there.
func follow(ctx context.Context, server *client.Client, id job.ID, show watcher) (job.Event, error) {
	for e, err := range server.Follow(ctx, id, 0, show.said) {
		if err != nil {
			return e, fmt.Errorf("lost sight of %s, which may go on: %w", id, err)
		}
		show.event(e)
		switch {
		case e.Type == job.CompleteEvent:
			return e, nil
		case e.Kind == job.CancelledByUser || e.Final() && e.Message == job.CancelMessage:
			return e, fmt.Errorf("%s was cancelled", id)
		case e.Final():
			return e, fmt.Errorf("%s failed: %s", id, plainText(e.Message))
		}
	}
	return job.Event{}, fmt.Errorf("the server does not say how %s ended", id)
}

// chooseModel finds a model by name, with zero defaults where the server does not tell them, as queens and workers of other makes
// do not.
func chooseModel(ctx context.Context, server *client.Client, name string) (job.ModelInfo, error) {
	list, known, err := server.Offers(ctx)
	switch {
	case err != nil:
		return job.ModelInfo{}, err
	case !known && name == "":
		return job.ModelInfo{}, errors.New("the server does not say which models it has: name one with --model")
	case !known:
		return job.ModelInfo{Name: name}, nil
	}
	_, notQueen := server.Queen(ctx)
	m, err := pickModel(list, name, notQueen == nil)
	if err == nil && notQueen != nil && m.Defaults.Width == 0 {
		err = fmt.Errorf("the server's model %s is still loading; try again later", m.Name)
	}
	return m, err
}

// pickModel takes a model out of a list. The default of the flag is a model of this program: a server that has not got it makes
// the picture with its own first one, and so with a name that is empty. Among those of a queen's workers none is the first.
func pickModel(list []job.ModelInfo, name string, queen bool) (job.ModelInfo, error) {
	var names []string
	for _, m := range list {
		if names = append(names, m.Name); m.Name == name {
			return m, nil
		}
	}
	unnamed := name == "" || name == builtin.Name
	switch {
	case len(list) == 0:
		return job.ModelInfo{}, errors.New("the server has no model ready; try again later")
	case unnamed && (!queen || len(list) == 1):
		return list[0], nil
	case unnamed:
		return job.ModelInfo{}, fmt.Errorf("the queen's workers have several models, choose one with --model: %s", strings.Join(names, ", "))
	}
	return job.ModelInfo{}, fmt.Errorf("the server has no model %q: want one of %s", name, strings.Join(names, ", "))
}

// abandon cancels the job of a program that was interrupted. taken says whether the server has answered that it has the job.
func abandon(server *client.Client, id job.ID, taken bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), farewellLimit)
	defer cancel()
	err := server.Cancel(ctx, id)
	var refused *client.Error
	switch {
	case err == nil:
		return &interruptedError{"and cancelled " + string(id)}
	case errors.As(err, &refused) && refused.Status == 404 && taken:
		return &interruptedError{"after " + string(id) + " had ended"}
	case errors.As(err, &refused) && refused.Status == 404:
		return &interruptedError{"before the server had the job"}
	}
	return &interruptedError{fmt.Sprintf("but %s could not be cancelled: %v", id, err)}
}
