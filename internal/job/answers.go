package job

import "time"

// Accepted is the answer to an operation that was taken.
type Accepted struct {
	JobID  ID     `json:"job_id"`  // the job that it has become
	SSEURL string `json:"sse_url"` // where the job's events are, on the server that was asked
}

// Accept is the answer for a job.
func Accept(id ID) Accepted { return Accepted{id, "/v1/jobs/" + string(id) + "/stream"} }

// Changed is the answer to an order.
type Changed struct {
	JobID ID `json:"job_id"` // the job that was meant
	// Status is the job's state; `pausing` for a running job that will pause, `deleted` for one that is gone.
	Status string `json:"status"`
}

// ReportList are jobs, the newest first.
type ReportList struct {
	Jobs []Report `json:"jobs"` // the newest first
}

// ModelList are the models that some node has.
type ModelList struct {
	Models []ModelInfo `json:"models"` // each once
}

// NodeList is who computes.
type NodeList struct {
	Nodes   []NodeReport `json:"nodes"`             // those alive
	Problem string       `json:"problem,omitempty"` // why some may be missing
}

// ChoiceList is what an operation may name.
type ChoiceList struct {
	Samplers  []Choice `json:"samplers"`  // none while the node starts
	Schedules []Choice `json:"schedules"` // of noise
}

// Health says that a server answers.
type Health struct {
	Status    string    `json:"status"`    // always `healthy`
	Timestamp time.Time `json:"timestamp"` // now, by the server's clock
}

// Readiness says whether a server can draw now.
type Readiness struct {
	Ready     bool      `json:"ready"`            // whether it can
	Reason    string    `json:"reason,omitempty"` // why it cannot
	Timestamp time.Time `json:"timestamp"`        // now, by the server's clock
}
