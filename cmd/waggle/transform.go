package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"waggle/internal/job"
	"waggle/internal/picture"
)

// serverModel names a model of a server.
type serverModel struct {
	Model string `env:"WAGGLE_MODEL" help:"Model of the server; its first one otherwise. A queen may have to be told."`
}

// transformCommand makes a picture out of another.
type transformCommand struct {
	pictureFlags `embed:""`
	serverModel  `embed:""`

	Input    string  `required:"" type:"path" placeholder:"FILE" help:"Picture to begin with: PNG, JPEG or WebP, which gives the size."`
	Strength float64 `default:"0.8" help:"How much of it may change, 0 to 1."`
}

// Run has a server do it.
func (c *transformCommand) Run(ctx context.Context) error {
	return c.elsewhere(ctx, job.Transform, c.Model, func(r *job.Request) (err error) {
		r.Strength = c.Strength
		r.InputImage, err = readPicture("--input", c.Input, job.SizeMin)
		return err
	})
}

// inpaintCommand paints a part of a picture anew.
type inpaintCommand struct {
	pictureFlags `embed:""`
	serverModel  `embed:""`

	Input string `required:"" type:"path" placeholder:"FILE" help:"Picture to repaint a part of: PNG, JPEG or WebP, which gives the size."`
	Mask  string `required:"" type:"path" placeholder:"FILE" help:"Picture of that part: white is painted anew, black stays."`
}

// Run has a server do it.
func (c *inpaintCommand) Run(ctx context.Context) error {
	return c.elsewhere(ctx, job.Inpaint, c.Model, func(r *job.Request) (err error) {
		if r.InputImage, err = readPicture("--input", c.Input, job.SizeMin); err != nil {
			return err
		}
		r.MaskImage, err = readPicture("--mask", c.Mask, 1)
		return err
	})
}

// elsewhere makes pictures that only servers make. All that can be wrong with the flags is found before the server is asked.
func (f *pictureFlags) elsewhere(ctx context.Context, op job.Operation, model string, special func(*job.Request) error) error {
	if f.Server == "" {
		return errors.New("this program draws from nothing only, so far: name a server that does this with --server")
	}
	if err := f.check(); err != nil {
		return err
	}
	r, err := f.request(op, model, job.Defaults{}, special)
	if err != nil {
		return err
	}
	if n := (len(r.InputImage) + len(r.MaskImage)) / 3 * 4; n > job.BodyLimitBytes-spareBytes {
		return fmt.Errorf("the pictures have %d MB as they are sent, servers take %d MB at most: make them smaller", n>>20, job.BodyLimitBytes>>20)
	}
	return f.remote(ctx, op, model, func(to *job.Request) error {
		to.Strength, to.InputImage, to.MaskImage = r.Strength, r.InputImage, r.MaskImage
		return nil
	})
}

// spareBytes is room for all of a request but its pictures.
const spareBytes = 1 << 20

// readPicture reads a picture as the protocol takes it: PNG and JPEG as they are, WebP as a PNG of the same pixels. smallest is the
// least of a side, in pixels.
func readPicture(flag, path string, smallest int) ([]byte, error) {
	file, err := readLimited(path, picture.DefaultLimits.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", flag, path, err)
	}
	img, err := picture.Decode(file, picture.DefaultLimits)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", flag, path, err)
	}
	size := img.Bounds().Size()
	low, high := min(size.X, size.Y), max(size.X, size.Y)/job.SizeMultiple*job.SizeMultiple
	if low < smallest || high > job.SizeMax {
		return nil, fmt.Errorf("%s %s: the picture is %d×%d pixels, each side must have %d to %d", flag, path, size.X, size.Y, smallest, job.SizeMax)
	}
	if string(file[:min(len(file), 4)]) != "RIFF" {
		return file, nil
	}
	return picture.EncodePNG(img)
}

// readLimited reads a file of at most limit bytes. Errors do not name it.
func readLimited(path string, limit int) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	switch {
	case err != nil:
		return nil, errors.Unwrap(err)
	case len(data) > limit:
		return nil, fmt.Errorf("the file has more than %d MB", limit>>20)
	}
	return data, nil
}
