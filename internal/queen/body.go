package queen

import (
	"encoding/json"
	"net/http"

	"waggle/internal/door"
)

// readJSON reads a whole body of at most limit bytes, or answers why not. The
// body is valid JSON.
func (q *Queen) readJSON(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, bool) {
	body, release, ok := q.door.ReadJSON(w, r, limit)
	release() // what is kept is counted by the shelf
	if !ok || json.Valid(body) {
		return body, ok
	}
	var v any
	door.Problemf(http.StatusBadRequest, "Failed to parse the request body as JSON: %v", json.Unmarshal(body, &v)).Answer(w)
	return nil, false
}
