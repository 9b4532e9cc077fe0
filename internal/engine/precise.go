package engine

import (
	"slices"
	"strings"

	"waggle/internal/picture"
)

// redoneOf are the networks of a finished drawing whose weights were computed
// in float32, where it knows any.
func redoneOf(d Drawing) []string {
	if d, ok := d.(interface{ Redone() []string }); ok {
		return d.Redone()
	}
	return nil
}

// InFloat32 is the field of a picture that names these networks.
func InFloat32(stages []string) []picture.Field { return listed("Float32", stages) }

// redone takes note of these networks for the job's end, and logs those that
// are new.
func (e *Engine) redone(r *run, stages []string) {
	fresh := slices.DeleteFunc(slices.Clone(stages), func(s string) bool { return slices.Contains(r.float32, s) })
	if len(fresh) == 0 {
		return
	}
	r.float32 = append(r.float32, fresh...)
	e.Log.Info("computed with weights in float32, as float16 is too narrow for them", "job", r.record.ID, "networks", strings.Join(fresh, ", "))
}
