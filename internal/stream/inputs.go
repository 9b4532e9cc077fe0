package stream

import (
	"context"

	"waggle/internal/job"
	"waggle/internal/picture"
)

// inputLimits are those of the pictures of a request, whose headers have been looked at: input pictures are cut down to
// multiples of 8 later. One takes up to 50 MB while it is decoded.
var inputLimits = picture.Limits{
	Bytes: job.BodyLimitBytes, Side: job.SizeMax + job.SizeMultiple - 1, Pixels: (job.SizeMax + job.SizeMultiple) * (job.SizeMax + job.SizeMultiple),
}

// decodedAtATime is how many pictures are decoded at a time for those who ask: of requests, and for thumbnails.
const decodedAtATime = 2

// Decodable decodes the pictures that come with a request, so that whoever sends one that is damaged is told at once, and
// not when the job's turn has come.
func (s *Jobs) Decodable(ctx context.Context, r job.Request) error {
	inputs := []struct {
		what string
		file []byte
	}{{"input image", r.InputImage}, {"mask image", r.MaskImage}}
	for _, c := range r.Controls {
		inputs = append(inputs, struct {
			what string
			file []byte
		}{"control image", c.Image})
	}
	for _, in := range inputs {
		if in.file == nil {
			continue
		}
		if err := s.decode(ctx, in.what, in.file); err != nil {
			return err
		}
	}
	return nil
}

func (s *Jobs) decode(ctx context.Context, what string, file []byte) error {
	leave, err := s.DecodeTurn(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if _, err := picture.Decode(file, inputLimits); err != nil {
		return job.Errorf(job.InvalidInput, "Failed to load image from memory: %s: %w", what, err)
	}
	return nil
}

// DecodeTurn waits for one of the turns to decode a picture; call leave afterwards.
func (s *Jobs) DecodeTurn(ctx context.Context) (leave func(), err error) {
	s.once.Do(func() { s.decoding = make(chan struct{}, decodedAtATime) })
	select {
	case s.decoding <- struct{}{}:
		return func() { <-s.decoding }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
