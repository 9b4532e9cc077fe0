package job

// Report is a record as clients see it: without the pictures that were sent
// and what only the queue needs, with how far the job has come.
type Report struct {
	Record
	Step  int `json:"step,omitempty"`  // of a job that is not over: the last step reported, 1…Total
	Total int `json:"total,omitempty"` // steps of all its pictures

	ElapsedMS int64 `json:"elapsed_ms,omitempty"` // that it was computed
	// Nanoseconds hides the record's own member, which has no unit in its name.
	Nanoseconds *struct{} `json:"elapsed,omitempty"`
}

// NewReport returns the report of a record, without its steps.
func NewReport(r Record) Report {
	r.Request = r.Request.WithoutPictures()
	r.Digest = ""
	return Report{Record: r, ElapsedMS: r.Elapsed.Milliseconds()}
}
