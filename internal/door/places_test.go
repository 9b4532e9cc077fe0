package door

import (
	"net/http/httptest"
	"testing"
)

// TestPlaces: no more than there are, no more for one client than its share,
// and a place that was left is free again.
func TestPlaces(t *testing.T) {
	p := NewPlaces(3, 2)
	take := func(client string, want bool) (leave func()) {
		t.Helper()
		w := httptest.NewRecorder()
		leave, ok := p.Take(w, client)
		if ok != want || !ok && (w.Code != 503 || w.Header().Get("Retry-After") == "") {
			t.Errorf("a place for %s: %v, answered %d", client, ok, w.Code)
		}
		return leave
	}
	leave := take("anna", true)
	take("anna", true)
	take("anna", false)
	other := take("bert", true)
	take("bert", false)
	leave()
	take("anna", true)
	other()
	take("anna", false)
	take("carl", true)
	if n := p.Taken(); n != 3 || len(p.of) != 2 {
		t.Errorf("%d are taken, %v", n, p.of)
	}
}
