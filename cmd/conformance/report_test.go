package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// output is what go test -json would write of 40 checks, with lines of some of them replaced; none leaves a check out.
func output(change map[int][]event) string {
	var b strings.Builder
	for n := 1; n <= checks; n++ {
		events, changed := change[n]
		if !changed {
			events = made(fmt.Sprintf("TestCheck%02dName", n), event{Action: "pass"})
		}
		for _, e := range events {
			line, _ := json.Marshal(e)
			b.Write(append(line, '\n'))
		}
	}
	return b.String()
}

// made are the lines of a check, from its start to its end.
func made(name string, end event, more ...event) []event {
	list := append([]event{{Action: "run"}, {Action: "attr", Key: "from", Value: "S"}, {Action: "attr", Key: "title", Value: "title of " + name}}, more...)
	list = append(list, end)
	for i := range list {
		list[i].Test = name
	}
	return list
}

func TestReport(t *testing.T) {
	skipped := made("TestCheck21Name", event{Action: "skip"}, event{Action: "attr", Key: "skipped", Value: "waits"})
	for name, row := range map[string]struct {
		change map[int][]event
		broken bool
		failed int
		want   []string
	}{
		"all pass": {nil, false, 0, []string{" 1  S    title of TestCheck01Name  passed\n", "40  S    title of TestCheck40Name  passed\n\n40 passed, 0 failed, 0 skipped\n"}},
		"one is skipped": {map[int][]event{21: skipped}, false, 0,
			[]string{"title of TestCheck21Name  skipped (waits)\n", "\n39 passed, 0 failed, 1 skipped\n"}},
		"one is skipped, nobody knows why": {map[int][]event{3: made("TestCheck03Name", event{Action: "skip"})}, false, 1, []string{"failed (skipped without a reason)"}},
		"one fails": {map[int][]event{7: made("TestCheck07Name", event{Action: "fail"}, event{Action: "output", Output: "x.go:7: steps [1 2]\n"})}, true, 1,
			[]string{"title of TestCheck07Name  failed\n", "passed\n\nTestCheck07Name\nx.go:7: steps [1 2]\n", "\n39 passed, 1 failed, 0 skipped\n"}},
		"one is missing":      {map[int][]event{30: nil}, false, 1, []string{"30                                 failed (there is no such test)\n"}},
		"one is there twice":  {map[int][]event{8: append(made("TestCheck08Name", event{Action: "pass"}), made("TestCheck08Other", event{Action: "pass"})...)}, false, 1, []string{"title of TestCheck08Name  failed (made more than once)"}},
		"one ran twice":       {map[int][]event{8: append(made("TestCheck08Name", event{Action: "pass"}), made("TestCheck08Name", event{Action: "pass"})...)}, false, 1, []string{"failed (made more than once)"}},
		"one does not end":    {map[int][]event{9: made("TestCheck09Name", event{Action: "output", Output: "panic: 9\n"})}, true, 1, []string{"title of TestCheck09Name  failed (did not end)", "panic: 9\n"}},
		"one has no title":    {map[int][]event{9: {{Action: "run", Test: "TestCheck09Name"}, {Action: "pass", Test: "TestCheck09Name"}}}, false, 1, []string{"failed (TestCheck09Name does not say what it checks)"}},
		"one too many":        {map[int][]event{1: append(made("TestCheck01Name", event{Action: "pass"}), made("TestCheck41Name", event{Action: "pass"})...)}, false, 1, []string{"41  S    TestCheck41Name           failed (there is no such check)"}},
		"parts do not count":  {map[int][]event{1: append(made("TestCheck01Name/part", event{Action: "fail"}), made("TestCheck01Name", event{Action: "pass"})...)}, false, 0, []string{"\n40 passed, 0 failed, 0 skipped\n"}},
		"it fails afterwards": {map[int][]event{40: append(made("TestCheck40Name", event{Action: "pass"}), event{Action: "output", Output: "not gone in time\n"})}, true, 1, []string{"passed\n\nnot gone in time\n\n40 passed, 1 failed, 0 skipped\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := read(strings.NewReader(output(row.change)))
			if err != nil {
				t.Fatal(err)
			}
			r.broken = row.broken
			var b strings.Builder
			if failed := r.write(&b); failed != row.failed {
				t.Errorf("%d failed, want %d", failed, row.failed)
			}
			for _, want := range row.want {
				if !strings.Contains(b.String(), want) {
					t.Errorf("want %q in\n%s", want, b.String())
				}
			}
		})
	}
	if _, err := read(strings.NewReader(`{"Action":"run"}` + "\nnot JSON")); err == nil {
		t.Error("what is no JSON was read")
	}
}
