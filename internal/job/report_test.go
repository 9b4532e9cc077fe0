package job

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// TestReport: clients read times in milliseconds and no secrets of the queue;
// the queue's own form, which older data folders hold, is as it was.
func TestReport(t *testing.T) {
	r := Record{ID: "a", State: Complete, Request: NewRequest(Transform, "m", "p"), Digest: "d", Outcome: Outcome{Elapsed: 1500 * time.Millisecond}}
	r.Request.InputImage = []byte("secret")
	report := NewReport(r)
	report.Step, report.Total = 3, 4
	wire, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{`"elapsed_ms":1500`: true, `"step":3,"total":4`: true, `"elapsed":`: false, "digest": false, "input_image": false} {
		if strings.Contains(string(wire), text) != want {
			t.Errorf("%s in %s: want %v", text, wire, want)
		}
	}
	var again Report
	if err := json.Unmarshal(wire, &again); err != nil || again.ElapsedMS != 1500 || again.ID != "a" || again.Step != 3 {
		t.Errorf("read again: %+v, %v", again, err)
	}
	kept, err := json.Marshal(r)
	if err != nil || !strings.Contains(string(kept), `"elapsed":1500000000`) {
		t.Errorf("the queue's form: %s, %v", kept, err)
	}
}
