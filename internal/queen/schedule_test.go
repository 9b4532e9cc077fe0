package queen

import (
	"testing"

	"waggle/internal/job"
)

// worker is a ready, idle worker at a port of this machine, changed as a row wants it.
func worker(port string, change ...func(*Worker)) Worker {
	w := Worker{IDs: []string{"llm-" + port}, URL: addressOf("127.0.0.1", port), Models: []string{"m"}, Status: job.Ready, Idle: true}
	for _, f := range change {
		f(&w)
	}
	return w
}

func TestChoose(t *testing.T) {
	working := func(w *Worker) { w.Idle = false }
	jobs := func(n int) func(*Worker) { return func(w *Worker) { w.Jobs = n } }
	turn := func(n uint64) func(*Worker) { return func(w *Worker) { w.Assigned = n } }
	status := func(s job.Status) func(*Worker) { return func(w *Worker) { w.Status = s } }
	model := func(names ...string) func(*Worker) { return func(w *Worker) { w.Models = names } }
	of := func(hive string) func(*Worker) { return func(w *Worker) { w.hives = append(w.hives, hive) } }
	named := func(name string) func(*Worker) { return func(w *Worker) { w.IDs = append(w.IDs, name) } }
	hives := []Hive{{ID: "localhost"}, {ID: "garden"}}

	for _, row := range []struct {
		name    string
		workers []Worker
		want    wanted
		tried   string
		port    string // of the choice; empty for none
	}{
		{"nobody", nil, wanted{model: "m"}, "", ""},
		{"another model", []Worker{worker("1", model("M"))}, wanted{model: "m"}, "", ""},
		{"either of its models", []Worker{worker("1", model("x", "m"))}, wanted{model: "m"}, "", "1"},
		{"no model", []Worker{worker("1", model())}, wanted{model: ""}, "", ""},
		{"idle first", []Worker{worker("1", working), worker("2", turn(9))}, wanted{model: "m"}, "", "2"},
		{"a job of ours is work too", []Worker{worker("1", jobs(1)), worker("2", working)}, wanted{model: "m"}, "", "2"},
		{"fewest jobs", []Worker{worker("1", jobs(2)), worker("2", jobs(1), turn(9))}, wanted{model: "m"}, "", "2"},
		{"oldest turn", []Worker{worker("1", turn(7)), worker("2", turn(3))}, wanted{model: "m"}, "", "2"},
		{"never had one", []Worker{worker("1", turn(7)), worker("2")}, wanted{model: "m"}, "", "2"},
		{"a busy one is taken", []Worker{worker("1", status(job.Busy), working, jobs(5))}, wanted{model: "m"}, "", "1"},
		{"starting ones are not", []Worker{worker("1", status(job.Starting)), worker("2", status(job.Stopping))}, wanted{model: "m"}, "", ""},
		{"by the hive's name for it", []Worker{worker("1"), worker("2", working)}, wanted{model: "m", workerID: "llm-2"}, "", "2"},
		{"by its own name", []Worker{worker("1"), worker("2", named("bee"))}, wanted{model: "m", workerID: "bee"}, "", "2"},
		{"by a name, but another model", []Worker{worker("1", model("x"))}, wanted{model: "m", workerID: "llm-1"}, "", ""},
		{"by a known hive", []Worker{worker("1", of("localhost")), worker("2", of("garden"), working)}, wanted{model: "m", hiveID: "garden"}, "", "2"},
		{"by either of its hives", []Worker{worker("1", of("garden"), of("localhost"))}, wanted{model: "m", hiveID: "garden"}, "", "1"},
		{"a known hive without any", []Worker{worker("1", of("localhost"))}, wanted{model: "m", hiveID: "garden"}, "", ""},
		{"an unknown hive means any", []Worker{worker("1", of("garden"))}, wanted{model: "m", hiveID: "shed"}, "", "1"},
		{"localhost means any", []Worker{worker("1", of("garden"))}, wanted{model: "m", hiveID: "localhost"}, "", "1"},
		{"not the one that was tried", []Worker{worker("1"), worker("2", working)}, wanted{model: "m"}, "1", "2"},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, ok := choose(row.workers, hives, row.want, map[string]bool{addressOf("localhost", row.tried): true})
			want := ""
			if row.port != "" {
				want = addressOf("localhost", row.port)
			}
			if got.URL != want || ok != (row.port != "") {
				t.Errorf("chose %q, %v, want %q", got.URL, ok, want)
			}
		})
	}
}
