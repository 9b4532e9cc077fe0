package queen

import (
	"cmp"
	"slices"
)

// wanted is what an operation asks of its worker.
type wanted struct {
	model    string
	workerID string // only this one
	hiveID   string // only workers of this hive, if it is a known one and not "localhost"
}

// choose returns the worker for an operation: an idle one, then the one with
// the fewest of our jobs, then the one whose last turn is the longest ago. A
// busy worker is a valid choice, as workers have queues.
func choose(workers []Worker, hives []Hive, want wanted, tried map[string]bool) (Worker, bool) {
	hive := ""
	if narrows(hives, want) {
		hive = want.hiveID
	}
	var able []Worker
	for _, w := range workers {
		if w.Status.Available() && !tried[w.URL] && slices.Contains(w.Models, want.model) &&
			(want.workerID == "" || slices.Contains(w.IDs, want.workerID)) && (hive == "" || slices.Contains(w.hives, hive)) {
			able = append(able, w)
		}
	}
	if len(able) == 0 {
		return Worker{}, false
	}
	return slices.MinFunc(able, compareWorkers), true
}

// narrows reports whether only workers of one hive are wanted.
func narrows(hives []Hive, want wanted) bool {
	return want.hiveID != "localhost" && slices.ContainsFunc(hives, func(h Hive) bool { return h.ID == want.hiveID })
}

func compareWorkers(a, b Worker) int {
	return cmp.Or(
		cmp.Compare(busy(a), busy(b)),
		cmp.Compare(a.Jobs, b.Jobs),
		cmp.Compare(a.Assigned, b.Assigned),
		cmp.Compare(a.URL, b.URL),
	)
}

// busy is 1 for a worker with something under way, by its own report or ours.
func busy(w Worker) int {
	if w.Idle && w.Jobs == 0 {
		return 0
	}
	return 1
}
