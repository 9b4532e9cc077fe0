package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image/png"
	"net/http"
	"strconv"

	"waggle/internal/door"
	"waggle/internal/job"
	"waggle/internal/picture"
	"waggle/internal/queue"
	"waggle/internal/store"
)

// thumbnails may be this wide or high, in pixels.
const (
	thumbMin = 16
	thumbMax = 1024
)

// getImage is GET /v1/jobs/{id}/image[/{index}][?thumb=pixels].
func (s *Server) getImage(w http.ResponseWriter, r *http.Request) {
	index, err := strconv.Atoi(r.PathValue("index"))
	if err != nil && r.PathValue("index") != "" {
		s.fail(w, store.ErrNotFound)
		return
	}
	data, err := s.Store.Get(r.Context(), job.ID(r.PathValue("id")), index)
	if err == nil && r.URL.Query().Has("thumb") {
		data, err = s.thumbnail(r.Context(), data, r.URL.Query().Get("thumb"))
	}
	if err != nil {
		s.fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "image/png")
	w.Header().Set("Cache-Control", "private, max-age=3600")
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	w.Write(data)
}

// thumbnail shrinks a PNG so that neither side is longer than size.
func (s *Server) thumbnail(ctx context.Context, data []byte, size string) ([]byte, error) {
	n, err := strconv.Atoi(size)
	if err != nil || n < thumbMin || n > thumbMax {
		return nil, job.Errorf(job.InvalidInput, "Invalid input: thumb must be %d to %d, got %q", thumbMin, thumbMax, size)
	}
	leave, err := s.jobs.DecodeTurn(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	m, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("decode stored picture: %w", err)
	}
	return picture.EncodePNG(picture.Thumbnail(m, n))
}

// deletePictures is DELETE /v1/pictures/{id}: a job that has ended, with all
// that is kept of it.
func (s *Server) deletePictures(w http.ResponseWriter, r *http.Request) {
	id := job.ID(r.PathValue("id"))
	err := s.Queue.Remove(r.Context(), id)
	if err == nil || errors.Is(err, queue.ErrNotFound) && job.ValidID(string(id)) {
		err = errors.Join(err, s.Store.Remove(r.Context(), id), s.Events.Forget(r.Context(), id))
	}
	if err != nil {
		s.fail(w, err)
		return
	}
	door.WriteJSON(w, http.StatusOK, job.Changed{JobID: id, Status: "deleted"})
}
