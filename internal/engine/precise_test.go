package engine

import (
	"bytes"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"waggle/internal/job"
	"waggle/internal/picture"
)

// A job whose networks were computed in float32 says so in its record, its last
// event, its pictures and, once, in the log; another of the same model does not.
func TestInFloat32(t *testing.T) {
	var log bytes.Buffer
	rigged(t, func(t *testing.T, r *rig) {
		r.redone = map[string][]string{"large": {"unet", "decoder"}}
		large, plain := r.submit("large", batchOf(2)), r.submit("plain")
		for id, want := range map[job.ID][]string{large: {"unet", "decoder"}, plain: nil} {
			record, list := r.wait(id)
			if last := list[len(list)-1]; !slices.Equal(record.Float32, want) || !slices.Equal(last.Float32, want) {
				t.Errorf("%s: record %q, last event %q, want %q", id, record.Float32, last.Float32, want)
			}
			for i := range record.Pictures {
				file, _ := r.store.Get(t.Context(), id, i)
				p, _, err := picture.ParametersOf(file)
				if told := strings.Contains(p.String(), `Float32: "unet, decoder"`); err != nil || told != (want != nil) {
					t.Errorf("%s, picture %d: %q, %v", id, i, p.String(), err)
				}
			}
		}
		r.stop() // then nobody writes the log
		if text := log.String(); strings.Count(text, "float32") != 1 || !strings.Contains(text, `networks="unet, decoder"`) {
			t.Errorf("the log says %s", text)
		}
	}, func(_ *rig, c *Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
}
