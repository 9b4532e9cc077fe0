package queen

import "time"

// hiveStatus is a hive as status tells of it to programs.
type hiveStatus struct {
	ID      string    `json:"hive_id"`
	URL     string    `json:"url"`
	Online  bool      `json:"online"`
	Since   time.Time `json:"since"`             // when it came online or was lost
	Problem string    `json:"problem,omitempty"` // why it is not online
	Workers int       `json:"workers"`           // that it tells of
}

// tellHives narrates who the hives are, and returns the same for programs.
func (q *Queen) tellHives(t *task, hives []Hive) []hiveStatus {
	list := []hiveStatus{}
	for _, h := range hives {
		told := hiveStatus{h.ID, plain(h.URL, nameLimit), h.Online, h.Since, plain(h.Problem, 500), h.Workers}
		state := "online"
		if !told.Online {
			state = "not online: " + told.Problem
		}
		q.tell(t, actorQueen, "status_hive", "hive %s at %s: %s", told.ID, told.URL, state)
		list = append(list, told)
	}
	return list
}
