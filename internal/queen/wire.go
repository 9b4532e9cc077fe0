package queen

import (
	"time"

	"waggle/internal/job"
)

// hiveReady is what a hive says when it has started.
type hiveReady struct {
	HiveID  string `json:"hive_id" minLength:"1" maxLength:"512"` // its name
	HiveURL string `json:"hive_url" pattern:"^https?://[^/?#@]+"` // where it is; a loopback address means the machine that calls
}

// workerBeat is what a worker says of itself, every 30 s and when its status changes.
type workerBeat struct {
	Worker    workerSelf `json:"worker"`              // who it is
	Timestamp string     `json:"timestamp,omitempty"` // when it said so, by its own clock
}

// workerSelf is a worker in its own words.
type workerSelf struct {
	ID             string     `json:"id" minLength:"1" maxLength:"512"`         // its name
	ModelID        string     `json:"model_id" minLength:"1" maxLength:"512"`   // the model that it has
	Device         string     `json:"device,omitempty" maxLength:"512"`         // what it computes on
	Port           int        `json:"port" minimum:"1" maximum:"65535"`         // where it listens, on the machine that calls
	Status         job.Status `json:"status"`                                   // `stopped` takes it off at once
	Implementation string     `json:"implementation,omitempty" maxLength:"512"` // the program
	Version        string     `json:"version,omitempty" maxLength:"512"`        // of the program
	TLSName        string     `json:"tls_name,omitempty"`                       // host that its certificate is for, if it serves https
}

// node is the worker as a record.
func (w workerSelf) node() job.Node {
	return job.Node{
		ID: w.ID, ModelID: w.ModelID, Device: w.Device, Port: w.Port, Status: w.Status, Implementation: w.Implementation, Version: w.Version,
		TLSName: w.TLSName,
	}
}

// noted is the answer to those who tell of themselves.
type noted struct {
	Status  string `json:"status"`  // always `ok`
	Message string `json:"message"` // what was understood
}

// jobList are the jobs that the queen keeps.
type jobList struct {
	Jobs []any `json:"jobs"` // the newest first: a Job, or a job.Report of one in the cluster
}

// about is what the queen is.
type about struct {
	BaseURL  string   `json:"base_url"`        // where she was asked
	Port     int      `json:"port"`            // where she listens
	Version  string   `json:"version"`         // of the program
	Features []string `json:"features"`        // none so far
	Built    string   `json:"build_timestamp"` // when the program was built, or unknown
}

// hiveBeat passes on what a hive tells of its workers.
type hiveBeat struct {
	Type      string    `json:"type"`      // always `hive_telemetry`
	HiveID    string    `json:"hive_id"`   // whose they are
	Timestamp string    `json:"timestamp"` // by the hive's clock
	Workers   []process `json:"workers"`   // all of them
}

// queenBeat says how many there are, and who.
type queenBeat struct {
	Type             string    `json:"type"`              // always `queen`
	WorkersOnline    int       `json:"workers_online"`    // those that do not stop
	WorkersAvailable int       `json:"workers_available"` // those that are ready or busy
	HivesOnline      int       `json:"hives_online"`      // those whose telemetry comes
	HivesAvailable   int       `json:"hives_available"`   // the same
	WorkerIDs        []string  `json:"worker_ids"`        // of all known
	HiveIDs          []string  `json:"hive_ids"`          // of those online
	Timestamp        time.Time `json:"timestamp"`         // by her clock
}
