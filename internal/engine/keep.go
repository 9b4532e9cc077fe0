package engine

import (
	"context"
	"fmt"
	"image"
	"slices"
	"time"

	"waggle/internal/job"
	"waggle/internal/picture"
	"waggle/internal/sd"
)

// kept is a canvas whose picture has been stored, or why it could not be made a
// file.
type kept struct {
	canvas  *canvas
	picture job.Picture
	err     error
}

// Between two attempts to store a picture.
const (
	storeAgain     = 250 * time.Millisecond
	storeAgainMost = 5 * time.Second
)

// developed is a picture with what its metadata tells beside the request.
type developed struct {
	image      *image.NRGBA
	loras      []job.LoRAResult
	embeddings []sd.Embedding
	float32    []string // networks whose weights were computed so
}

// develop decodes a picture whose steps are done and has it stored beside the
// drawing of others.
func (e *Engine) develop(ctx context.Context, c *canvas) bool {
	drawing, name, request, loras := c.drawing, c.run.model, c.request, c.run.loras
	got, err := ask(e.owner, e.stopping, callLimit, func(d *desk) (developed, error) {
		m, err := d.model(name)
		if err != nil {
			return developed{}, err
		}
		img, err := m.Finish(drawing)
		if err != nil {
			return developed{}, diagnose(m, request, err)
		}
		return developed{img, loras, embeddingsOf(drawing), redoneOf(drawing)}, nil
	})
	if err != nil {
		e.rescue(ctx, []*canvas{c}, err)
		return false
	}
	c.drawing, c.suspect, c.keeping = nil, false, true
	e.redone(c.run, got.float32)
	e.work.Go(func() {
		k := kept{canvas: c}
		k.picture, k.err = e.store(ctx, c, got)
		select {
		case e.kept <- k:
		case <-c.run.over:
		case <-ctx.Done():
		}
	})
	return true
}

// store writes a picture as often as it takes: a store that cannot be reached,
// or is full, is no reason to lose it.
func (e *Engine) store(ctx context.Context, c *canvas, d developed) (job.Picture, error) {
	record, size := c.run.record, d.image.Bounds().Size()
	seed := record.Seed + uint64(c.index)
	about := Parameters(record.Request, seed, c.run.model, e.Version, d.loras...)
	about.Extra = append(about.Extra, EmbeddingHashes(d.embeddings)...)
	about.Extra = append(about.Extra, InFloat32(d.float32)...)
	file, err := picture.EncodePNG(d.image, picture.Text{Keyword: picture.ParametersKeyword, Value: about.String()})
	if err != nil {
		return job.Picture{}, fmt.Errorf("encode picture: %w", err)
	}
	for wait := storeAgain; ; wait = min(2*wait, storeAgainMost) {
		if err = e.Store.Put(ctx, record.ID, c.index, file); err == nil {
			return job.Picture{Seed: seed, Width: size.X, Height: size.Y}, nil
		}
		e.Log.Warn("store a picture", "job", record.ID, "picture", c.index, "again_after", wait, "error", err)
		select {
		case <-time.After(wait):
		case <-c.run.over:
			return job.Picture{}, err
		case <-ctx.Done():
			return job.Picture{}, err
		}
	}
}

// collect takes note of the pictures stored since it was last called.
func (e *Engine) collect(ctx context.Context) {
	for {
		select {
		case k := <-e.kept:
			e.received(ctx, k)
		default:
			return
		}
	}
}

// rest waits until a picture is stored, or for a while.
func (e *Engine) rest(ctx context.Context) {
	timer := time.NewTimer(restFor)
	defer timer.Stop()
	select {
	case k := <-e.kept:
		e.received(ctx, k)
	case <-timer.C:
	case <-e.stopping:
	}
}

// received takes note of a picture that has been stored.
func (e *Engine) received(ctx context.Context, k kept) {
	c := k.canvas
	c.keeping = false
	if !slices.Contains(e.runs, c.run) {
		return
	}
	if k.err != nil {
		e.fail(ctx, c.run, k.err)
		return
	}
	c.stored = &k.picture
	e.Meter.Drew(c.run.model, time.Since(c.began))
	if c.newest != nil {
		c.newest = nil
		e.saver.remove(c.run.record.ID, c.index)
	}
}

// storing counts the pictures that are being stored.
func (e *Engine) storing() (n int) {
	for _, r := range e.runs {
		for _, c := range r.canvases {
			if c.keeping {
				n++
			}
		}
	}
	return n
}
