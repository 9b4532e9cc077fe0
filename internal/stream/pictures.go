package stream

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"image"
	"sync"

	"golang.org/x/image/draw"

	"waggle/internal/job"
	"waggle/internal/picture"
)

// withPicture puts into an event the picture the log leaves out: a preview
// that is no longer kept becomes plain progress, and a job whose picture is
// gone ends in an error.
func (s *Jobs) withPicture(ctx context.Context, id job.ID, e job.Event) job.Event {
	switch e.Type {
	case job.PreviewEvent:
		data, err := s.previewPNG(ctx, id, e.Step)
		if err != nil {
			s.Log.Debug("preview left out", "job", id, "step", e.Step, "error", err)
			e.Type = job.ProgressEvent
			return e
		}
		e.Image, e.Format = base64.StdEncoding.EncodeToString(data), "png"
	case job.CompleteEvent:
		if err := s.fillPictures(ctx, id, &e); err != nil {
			s.Log.Error("picture missing", "job", id, "error", err)
			return job.Event{Number: e.Number, Type: job.ErrorEvent, Kind: job.Internal, Message: "The picture is no longer stored"}
		}
	}
	return e
}

// fillPictures reads the pictures of a complete event from the store.
func (s *Jobs) fillPictures(ctx context.Context, id job.ID, e *job.Event) error {
	images := make([]job.Image, len(e.Images)) // the event's own is shared with other readers
	for i, image := range e.Images {
		data, err := s.Store.Get(ctx, id, i)
		if err != nil {
			return err
		}
		images[i] = job.Image{Image: base64.StdEncoding.EncodeToString(data), Seed: image.Seed}
	}
	if len(images) > 0 {
		e.Images, e.Image = images, images[0].Image
		return nil
	}
	data, err := s.Store.Get(ctx, id, 0)
	e.Image = base64.StdEncoding.EncodeToString(data)
	return err
}

var errNoPreview = errors.New("no preview of this step is kept")

// previewPNG draws the preview of a step at the size of the output.
func (s *Jobs) previewPNG(ctx context.Context, id job.ID, step int) ([]byte, error) {
	p, ok := s.Events.Preview(ctx, id, step)
	if !ok {
		return nil, errNoPreview
	}
	return s.Draw(ctx, id, p)
}

// Draw draws a preview with the colours of the model that runs its job.
func (s *Jobs) Draw(ctx context.Context, id job.ID, p job.Preview) ([]byte, error) {
	r, err := s.Queue.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	nodes, err := s.Queue.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	for _, n := range nodes {
		if m, ok := n.Model(r.Request.Model); ok && n.ID == r.Node {
			return s.previews.png(p.Latent, m.Preview)
		}
	}
	return nil, fmt.Errorf("node %q has no model to draw latents with", r.Node)
}

// previewsDrawn is how many drawn previews are kept for other readers.
const previewsDrawn = 16

// previewCache draws each preview once, however many readers want it.
type previewCache struct {
	mu    sync.Mutex
	drawn []*drawnPreview // the oldest first
}

type drawnPreview struct {
	latent *uint16 // first value of the latent it was drawn from
	png    func() ([]byte, error)
}

func (c *previewCache) png(l job.Latent, colours job.LatentRGB) ([]byte, error) {
	if n := l.Channels * l.Height * l.Width; n == 0 || len(l.Data) != n {
		return nil, fmt.Errorf("latent of %d×%d×%d has %d values", l.Channels, l.Height, l.Width, len(l.Data))
	}
	return c.entry(l, colours).png()
}

func (c *previewCache) entry(l job.Latent, colours job.LatentRGB) *drawnPreview {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range c.drawn {
		if d.latent == &l.Data[0] {
			return d
		}
	}
	d := &drawnPreview{&l.Data[0], sync.OnceValues(func() ([]byte, error) { return drawLatent(l, colours) })}
	c.drawn = append(c.drawn, d)
	if len(c.drawn) > previewsDrawn {
		c.drawn = append([]*drawnPreview(nil), c.drawn[1:]...)
	}
	return d
}

// drawLatent draws a latent as a PNG, enlarged to the picture's size.
func drawLatent(l job.Latent, colours job.LatentRGB) ([]byte, error) {
	small := image.NewNRGBA(image.Rect(0, 0, l.Width, l.Height))
	for y := range l.Height {
		for x := range l.Width {
			rgb := colours.Color(l, y, x)
			i := small.PixOffset(x, y)
			small.Pix[i], small.Pix[i+1], small.Pix[i+2], small.Pix[i+3] = byte255(rgb[0]), byte255(rgb[1]), byte255(rgb[2]), 255
		}
	}
	scale := max(colours.Downscale, 1)
	large := image.NewNRGBA(image.Rect(0, 0, l.Width*scale, l.Height*scale))
	draw.ApproxBiLinear.Scale(large, large.Bounds(), small, small.Bounds(), draw.Src, nil)
	return picture.EncodePreview(large)
}

// byte255 maps 0…1 to 0…255; not a number gives black.
func byte255(v float32) byte {
	if !(v > 0) {
		return 0
	}
	return byte(min(v, 1)*255 + 0.5)
}
