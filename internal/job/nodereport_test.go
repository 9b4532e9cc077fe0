package job

import "testing"

// TestReportNodes: a job that waits is counted where it could be drawn: at the
// nodes that have its model, at all if none that works has it.
func TestReportNodes(t *testing.T) {
	models := func(names ...string) (list []ModelInfo) {
		for _, name := range names {
			list = append(list, ModelInfo{Name: name})
		}
		return list
	}
	nodes := []Node{
		{ID: "a", Status: Ready, Models: models("one", "two"), Samplers: []Choice{{Name: "euler"}}},
		{ID: "b", Status: Busy, Models: models("two"), Load: Load{Running: 3}},
		{ID: "c", Status: Stopping, Models: models("three")},
	}
	var waiting []Record
	for _, model := range []string{"one", "two", "two", "three", "nobody's"} {
		waiting = append(waiting, Record{Request: Request{Model: model}})
	}
	list := ReportNodes(nodes, waiting)
	for i, want := range []int{1 + 2 + 2, 2 + 2, 2} {
		if got := list[i]; got.Load.Waiting != want || got.Kind != QueueNode || got.Samplers != nil {
			t.Errorf("%s: %d wait, want %d; kind %s, samplers %v", got.ID, got.Load.Waiting, want, got.Kind, got.Samplers)
		}
	}
	if list[1].Load.Running != 3 || nodes[0].Load.Waiting != 0 {
		t.Errorf("b runs %d; the records given have %d", list[1].Load.Running, nodes[0].Load.Waiting)
	}
}
