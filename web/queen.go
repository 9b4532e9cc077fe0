package web

import (
	"bytes"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"time"
)

// Fleet is what the queen's page shows: a moment in the life of hives, workers and jobs.
type Fleet struct {
	Time    time.Time
	Hives   []FleetHive
	Workers []FleetWorker
	Cluster *FleetCluster // nil where there is none
	Jobs    []FleetJob    // those under way first
}

// FleetCluster is the queue that nodes share, and they.
type FleetCluster struct {
	Nodes   []FleetNode
	Problem string // why it cannot be asked; then there are no nodes
}

// FleetNode is one row of the nodes.
type FleetNode struct {
	ID, Device, State string // the state as a worker's
	Models            []string
	Running, Waiting  int           // jobs it has begun, and those in line that it could take
	For               time.Duration // since its start; 0 where not known
}

// FleetHive is one row of the hives.
type FleetHive struct {
	ID, URL string
	Online  bool
	For     time.Duration // that it has been so
	Workers int
	Problem string // why it is not online
}

// FleetWorker is one row of the workers.
type FleetWorker struct {
	Names  []string // the first is shown
	Hive   string   // empty for one that reports by itself
	URL    string
	Models []string
	Device string
	State  string // idle, busy, starting or stopping

	GPUPercent           float64
	MemoryMiB, MemoryMax uint64 // of the GPU; 0 where not known
	Jobs                 int    // given to it from here and not done
}

// FleetJob is one row of the jobs.
type FleetJob struct {
	ID, Operation, Model string
	State                string // queued, running, complete, failed or cancelled
	Worker               string
	InLine               bool // it is in the queue of the cluster
	Step, Total          int
	For                  time.Duration // under way, or from start to end
	Message              string        // why it failed
}

// The most rows that are shown.
const (
	jobRows   = 50
	fleetRows = 200
)

// queenData is what the queen's page is made of.
type queenData struct {
	Fleet
	Version                    string
	Style, Own, Script, Picked string // addresses; Own is the style of this page alone, Picked its icon
}

// QueenHandler serves the queen's page at GET /, made anew from now at each request, and GET /static/….
func QueenHandler(version string, now func() Fleet) http.Handler {
	h, err := newQueenHandler(version, now, embedded)
	if err != nil {
		panic("web: " + err.Error()) // the files are part of the program
	}
	return h
}

func newQueenHandler(version string, now func() Fleet, source fs.FS) (http.Handler, error) {
	files, err := loadAssets(source)
	if err != nil {
		return nil, fmt.Errorf("load the page's files: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /static/", files)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		var html bytes.Buffer
		data := queenData{now(), version, files.url("app.css"), files.url("queen.css"), files.url("queen.js"), files.url("icon.svg")}
		if err := queenPage(data).Render(r.Context(), &html); err != nil {
			http.Error(w, "internal error", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		w.Write(html.Bytes())
	})
	return strict(mux), nil
}

// summary is the fleet in one line.
func (f Fleet) summary() string {
	online, idle, running := 0, 0, 0
	for _, h := range f.Hives {
		if h.Online {
			online++
		}
	}
	for _, w := range f.Workers {
		if w.State == "idle" {
			idle++
		}
	}
	for _, j := range f.Jobs {
		if j.State == "running" {
			running++
		}
	}
	nodes := ""
	if f.Cluster != nil {
		nodes = " · " + count(len(f.Cluster.Nodes), "node")
	}
	return fmt.Sprintf("%s online · %s, %d idle%s · %s running", count(online, "hive"), count(len(f.Workers), "worker"), idle, nodes, count(running, "job"))
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// span is a length of time for people, in its largest unit.
func span(d time.Duration) string {
	switch {
	case d < 0:
		return "0 s"
	case d < time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%d min", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", d/time.Hour)
	}
	return fmt.Sprintf("%d days", d/(24*time.Hour))
}

// memory is used and whole memory, in GiB.
func (w FleetWorker) memory() string {
	if w.MemoryMax == 0 {
		return ""
	}
	return fmt.Sprintf("%.1f of %.0f GiB", float64(w.MemoryMiB)/1024, float64(w.MemoryMax)/1024)
}

func (w FleetWorker) name() string {
	if len(w.Names) == 0 {
		return w.URL
	}
	return w.Names[0]
}

// about is what else is known of a worker, for who points at its name.
func (w FleetWorker) about() string {
	return strings.TrimSpace(strings.Join(append(w.Names[min(1, len(w.Names)):], w.URL, w.Device), " "))
}

// doing is a job's state in words.
func (j FleetJob) doing() string {
	switch {
	case j.State == "running" && j.Total > 0:
		return fmt.Sprintf("step %d of %d", j.Step, j.Total)
	case j.State == "queued" && j.InLine:
		return "in line"
	case j.State == "queued":
		return "waits for a reader"
	}
	return j.State
}

func hiveState(h FleetHive) string {
	if h.Online {
		return "online"
	}
	return "lost"
}

// operationTitle is an operation for people.
func operationTitle(name string) string {
	if name == "" {
		return "not read yet"
	}
	return strings.ReplaceAll(name, "_", " ")
}
